"""MIN_COMMIT: a commitment over several contract lines, whose true-up is not billed, or whose maximum was not kept.

What its lines come to is rated in their groups; here only what the commitment adds (the rest to its minimum) or takes
off (beyond its maximum) is due, and a fee of its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from shared.events.discrepancies import Code, Direction, Reached, Side, Source
from shared.kernel.periods import Period
from shared.reconciliation import words
from shared.reconciliation.allocation import Offered, Wanted, allocate
from shared.reconciliation.bodies import DIGITS, body, sayable, step
from shared.reconciliation.chains import Chain, chains
from shared.reconciliation.inputs import ClientInputs, InvoiceLineFacts, ScopeTotal
from shared.reconciliation.rating import apply_commitment, due, fraction, parts, version_at
from shared.reconciliation.rating.model import Component, Part, Service
from shared.reconciliation.rules.client.base import LEVEL, LevelOutcome, frame_of
from shared.reconciliation.sides import overdue_on
from shared.reconciliation.verdict import Break, LineState, StatementLine, Waiting

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Commitment:
    """A part of a commitment, rated."""

    key: tuple[str, ...]
    chain: Chain
    part: Part
    covered: tuple[ScopeTotal, ...]
    components: tuple[Component, ...]
    """Its own fee, and the true-up; discounts of the covered lines are in ``amount`` alone."""
    amount: Decimal | None
    """What it adds to the lines that it covers, signed; ``None``: it waits."""
    waiting: Waiting | None
    final: bool
    """Whether its minimum can no longer change with use."""

    @property
    def period(self) -> Period:
        return Period(self.part.start, self.part.end)

    @property
    def total(self) -> Decimal:
        return sum((one.total for one in self.covered), _ZERO)


def commitments(inputs: ClientInputs) -> tuple[Commitment, ...]:
    """The commitments whose parts start in the month, by key; none of a month that has not begun, or that lies before
    the books were opened, unless it was invoiced."""
    start, as_of, opens = inputs.period.start, inputs.as_of, inputs.opens
    told = bool(inputs.invoices.complete or inputs.commitment_lines)
    if not told and (as_of is None or as_of < start or (opens is not None and start < opens)):
        return ()
    found = [
        _rated(inputs, chain, part)
        for chain in chains(inputs.commitments, inputs.client.time_zone)
        if chain.terms.scope is not None
        for part in parts(chain.service, inputs.period)
    ]
    return tuple(sorted(found, key=lambda one: one.key))


def min_commit(inputs: ClientInputs, found: Sequence[Commitment]) -> LevelOutcome:
    """A line for each commitment; a break where the invoice does not bill what it adds."""
    answers = _answers(inputs, found)
    posted = any(line.kind == "invoice" for line in inputs.commitment_lines)
    invoiced = bool(inputs.invoices.complete or posted)
    outcomes = [_judge(inputs, one, answers[one.key], invoiced) for one in found]
    strangers = answers[()]
    lines = tuple(line for one in outcomes for line in one.lines) + tuple(_unasked(inputs, strangers))
    return LevelOutcome(
        tuple(one for outcome in outcomes for one in outcome.breaks),
        lines,
        tuple(one for outcome in outcomes for one in outcome.waiting),
    )


# --- due -----------------------------------------------------------------------------------------------------------
def _rated(inputs: ClientInputs, chain: Chain, part: Part) -> Commitment:
    key = ("commitment", *chain.key, part.start.isoformat())
    terms = version_at(chain.service, part.start).terms
    over = inputs.as_of is not None and inputs.as_of >= part.end
    covered = tuple(sorted(_covered(inputs, chain), key=lambda one: (one.source, one.contract, one.line, one.product)))
    waiting = _waits(inputs, chain, part, covered)
    if waiting is not None:
        return Commitment(key, chain, part, covered, (), None, waiting, over)
    lines = [
        Component(
            "scope", None, _ZERO, one.total, part.start, part.end, category="flat", steps=(), sources=(), records=0
        )
        for one in covered
    ]
    own = due(_alone(chain.service), None, part, True)
    share = fraction(chain.service, part)
    after = apply_commitment(
        terms.minimum_amount, terms.maximum_amount, [*lines, *own], share, chain.currency, True, part, terms.rounding
    )
    amount = sum((one.total for one in after), _ZERO) - sum((one.total for one in covered), _ZERO)
    kept = tuple(one for one in after if one.component != "scope")
    # Sums only grow with use: a minimum that is reached stays reached.
    return Commitment(key, chain, part, covered, kept, amount, None, over or not _has_minimum(kept))


def _has_minimum(components: Sequence[Component]) -> bool:
    return any(one.category == "commitment" for one in components)


def _alone(service: Service) -> Service:
    """The line without its commitment: a fee of its own is rated like any other."""
    bare = {"scope": None, "minimum_amount": None, "maximum_amount": None}
    return replace(
        service, versions=tuple(replace(one, terms=one.terms.model_copy(update=bare)) for one in service.versions)
    )


def _covered(inputs: ClientInputs, chain: Chain) -> Iterator[ScopeTotal]:
    scope = chain.terms.scope
    for group in inputs.groups:
        for one in group.scope:
            of_contract = scope is not None and scope.contract and (one.source, one.contract) == chain.key[:2]
            if of_contract or (scope is not None and one.product in scope.products):
                yield one


def _waits(inputs: ClientInputs, chain: Chain, part: Part, covered: Sequence[ScopeTotal]) -> Waiting | None:
    if part.end > inputs.period.end:
        what = f"{chain.ref} is a commitment until {part.end}: the months of its period are not added up"
        return Waiting("terms", words.clip(what), None)
    others = sorted({one.currency for one in covered} - {chain.currency})
    if others:
        what = f"{chain.ref} is a commitment in {chain.currency}, what it covers is in {' and '.join(others)}"
        return Waiting("price", words.clip(what), None)
    scope = chain.terms.scope
    unknown = sorted(
        one.product
        for one in inputs.groups
        if one.expected is None and scope is not None and (scope.contract or one.product in scope.products)
    )
    if unknown:
        return Waiting("price", words.clip(f"what {words.more(unknown)} comes to is not known: {chain.ref}"), None)
    return None


# --- billed --------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Answer:
    amount: Decimal = _ZERO
    lines: tuple[InvoiceLineFacts, ...] = ()


def _answers(inputs: ClientInputs, found: Sequence[Commitment]) -> Mapping[tuple[str, ...], _Answer]:
    """What the invoice bills for each commitment, by its key; under ``()`` what answers none."""
    facts = {
        (one.source, one.invoice, one.line): one
        for one in inputs.commitment_lines
        if inputs.period.contains(one.period.start)
    }
    wanted = [
        Wanted(
            one.key, one.chain.source, one.chain.contract, one.chain.line, one.chain.product, one.period, None, None,
            one.amount,
        )
        for one in found
    ]  # fmt: skip
    offered = [
        Offered(
            key, one.source, one.invoice, one.contract, one.contract_line, one.product, one.period, one.quantity,
            one.unit_price, one.amount, one.kind, one.corrects,
        )
        for key, one in facts.items()
    ]  # fmt: skip
    result = allocate(wanted, offered)
    answers: dict[tuple[str, ...], _Answer] = defaultdict(_Answer)
    for share in result.shares:
        _add(answers, share.wanted, share.amount, facts[share.offered[0], share.offered[1], share.offered[2]])
    by_product = {one.chain.product: one.key for one in reversed(found)}
    for left in result.offered:
        # More than was asked for: with the first commitment of its product, where there is one.
        fact = facts[left.key[0], left.key[1], left.key[2]]
        _add(answers, by_product.get(fact.product, ()), left.amount or _ZERO, fact)
    return answers


def _add(
    answers: dict[tuple[str, ...], _Answer], key: tuple[str, ...], amount: Decimal, fact: InvoiceLineFacts
) -> None:
    before = answers[key]
    answers[key] = _Answer(before.amount + amount, (*before.lines, fact))


# --- compared ------------------------------------------------------------------------------------------------------
def _judge(inputs: ClientInputs, one: Commitment, answer: _Answer, invoiced: bool) -> LevelOutcome:
    if one.amount is None:
        assert one.waiting is not None
        line = _line(one, answer, LineState.PENDING, by=one.waiting.what)
        return LevelOutcome((), (line,), (one.waiting,))
    if not sayable(one.amount, answer.amount, one.total):
        line = _line(replace(one, amount=None), _Answer(), LineState.PENDING, by=DIGITS.what)
        return LevelOutcome((), (line,), (DIGITS,))
    residual = answer.amount - one.amount
    tolerance = inputs.settings.tolerance("rounding", currency=one.chain.currency, lines=len(one.covered) + 1)
    if not residual:
        return LevelOutcome((), (_line(one, answer, LineState.MATCHED),))
    if abs(residual) <= tolerance.absolute:
        line = _line(one, answer, LineState.EXPLAINED, explained=residual, by=tolerance.name)
        return LevelOutcome((), (line,))
    waiting = _awaited(inputs, one, invoiced)
    if waiting is not None:
        line = _line(one, answer, LineState.PENDING, pending=residual, by=waiting.what, waiting=waiting)
        return LevelOutcome((), (line,), (waiting,))
    found = _break(inputs, one, answer, residual)
    line = _line(one, answer, LineState.BREAK, broken=residual, code=found.body.code)
    return LevelOutcome((found,), (line,))


def _awaited(inputs: ClientInputs, one: Commitment, invoiced: bool) -> Waiting | None:
    until = overdue_on(inputs.period, inputs.settings.invoice_grace_days)
    if inputs.invoices.incomplete:
        return Waiting("invoice_lines", inputs.invoices.incomplete[0], None)
    if not invoiced:
        return Waiting("invoice", f"no invoice of {words.month(inputs.period)} yet", until)
    if not one.final:
        return Waiting("usage_complete", f"{one.chain.ref} runs until {one.part.end}", one.part.end)
    return None


def _line(
    one: Commitment,
    answer: _Answer,
    state: LineState,
    *,
    explained: Decimal = _ZERO,
    pending: Decimal = _ZERO,
    broken: Decimal = _ZERO,
    by: str | None = None,
    code: Code | None = None,
    waiting: Waiting | None = None,
) -> StatementLine:
    return StatementLine(
        key=one.key,
        product=one.chain.product,
        service=one.period,
        state=state,
        currency=one.chain.currency,
        expected=one.amount,
        billed=answer.amount,
        explained=explained,
        pending=pending,
        broken=broken,
        contract_ref=one.chain.ref,
        billed_ref=words.more([f"{line.invoice} line {line.line}" for line in answer.lines]) or None,
        by=by,
        until=waiting.until if waiting is not None else None,
        codes=(code,) if code is not None else (),
        steps=(step("commitment", _formula(one), one.amount),) if one.amount is not None else (),
    )


def _unasked(inputs: ClientInputs, answer: _Answer) -> Iterator[StatementLine]:
    """Lines of a commitment's product in a month in which it was not in force: they wait for its terms."""
    by_currency: dict[str, list[InvoiceLineFacts]] = defaultdict(list)
    for line in answer.lines:
        by_currency[line.currency].append(line)
    for currency, lines in sorted(by_currency.items()):
        yield StatementLine(
            key=("commitment", "", lines[0].product, currency),
            product=lines[0].product,
            service=inputs.period,
            state=LineState.PENDING,
            currency=currency,
            billed=sum((one.amount for one in lines), _ZERO),
            billed_ref=words.more([f"{one.invoice} line {one.line}" for one in lines]),
            by="no commitment was in force",
        )


def _formula(one: Commitment) -> str:
    currency = one.chain.currency
    terms = version_at(one.chain.service, one.part.start).terms
    texts = [f"{words.price(one.total, currency)} of {len(one.covered)} contract lines"]
    if terms.minimum_amount is not None:
        texts.append(f"at least {words.price(terms.minimum_amount, currency)}")
    if terms.maximum_amount is not None:
        texts.append(f"at most {words.price(terms.maximum_amount, currency)}")
    if not one.part.whole:
        texts.append(f"for {(one.part.end - one.part.start).days} days of the period")
    return ", ".join(texts)


def _break(inputs: ClientInputs, one: Commitment, answer: _Answer, residual: Decimal) -> Break:
    assert one.amount is not None
    currency, frame = one.chain.currency, frame_of(inputs)
    # A fee of its own that no line bills is a contract line without an invoice line.
    fee_only = not answer.lines and bool(one.components) and not _has_minimum(one.components) and one.amount > 0
    records: list[Source] = [line.record for line in answer.lines]
    versions = [held.version.record for held in one.chain.holdings]
    due_text, billed_text = words.price(one.amount, currency), words.price(answer.amount, currency)
    return Break(
        (LEVEL, *one.chain.key, one.part.start.isoformat()),
        body(
            frame,
            Code.MISSING_LINE if fee_only else Code.MIN_COMMIT,
            Direction.CLIENT_OWES_US if residual < 0 else Direction.WE_OWE_CLIENT,
            reached=Reached.CLIENT_INVOICE,
            amount=abs(residual),
            currency=currency,
            expected=Side(amount=one.amount, ref=one.chain.ref),
            billed=Side(
                amount=answer.amount,
                ref=words.more([f"{line.invoice} line {line.line}" for line in answer.lines]) or None,
            ),
            tolerance=inputs.settings.tolerance("rounding", currency=currency, lines=len(one.covered) + 1),
            why=f"{one.chain.ref}: {_formula(one)}: {due_text} due, {billed_text} billed",
            contract_ref=one.chain.ref,
            steps=(
                step("commitment", _formula(one), one.amount, versions),
                step("billed", billed_text, answer.amount, records),
                step("difference", f"{billed_text} - {due_text}", abs(residual)),
            ),
        ),
    )
