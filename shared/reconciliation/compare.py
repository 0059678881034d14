"""The verdict on one group: its cases line by line, each through the rules in their order of precedence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import NamedTuple

from shared.events.discrepancies import Code, Direction, DiscrepancyBody
from shared.reconciliation import words
from shared.reconciliation.billed import invoiced
from shared.reconciliation.case import Case, Charge
from shared.reconciliation.exact import exact
from shared.reconciliation.inputs import GroupInputs, ScopeTotal
from shared.reconciliation.labour_group import draw_labour, with_labour
from shared.reconciliation.measure import NOTHING
from shared.reconciliation.rules import PRECEDENCE
from shared.reconciliation.rules.base import ZERO, Outcome
from shared.reconciliation.rules.client.tax_rate import tax_rates
from shared.reconciliation.sides import Sides, invoice_waits, next_change, sides_of
from shared.reconciliation.vendor import VendorSide, vendor_side
from shared.reconciliation.verdict import Break, LineState, State, StatementLine, Verdict, Waiting
from shared.reconciliation.views import sample


@exact
def draw_group(inputs: GroupInputs) -> Verdict | None:
    """What holds between what one client used, was agreed and was billed of the products of a group in one month.

    ``None``: there is nothing to compare. Pure: the same facts, in any order, give the same verdict byte for byte.
    """
    if not (inputs.entries or any(line.terms is not None and line.terms.labour is not None for line in inputs.lines)):
        return _draw(inputs)
    hours = draw_labour(inputs)
    return with_labour(_draw(replace(inputs, invoice_lines=hours.rest)), hours)


def _draw(inputs: GroupInputs) -> Verdict | None:
    sides = sides_of(inputs) or Sides(())
    judged = [_judged(case) for case in sides.cases]
    vendor = vendor_side(inputs, _used(sides), _billed(judged)) if _has_vendor(inputs) else VendorSide()
    if not (judged or sides.strays or sides.covered or vendor.breaks or vendor.totals or vendor.waiting):
        return None
    return _verdict(inputs, sides, judged, vendor)


@dataclass(frozen=True, slots=True)
class _Judged:
    """A case, and what the rules made of it."""

    case: Case
    outcomes: tuple[Outcome, ...]
    expected: Decimal | None
    billed: Decimal | None

    @property
    def breaks(self) -> tuple[Break, ...]:
        return tuple(one for outcome in self.outcomes for one in outcome.breaks)

    @property
    def waiting(self) -> tuple[Waiting, ...]:
        return (*self.case.waiting, *(wait for outcome in self.outcomes for wait in outcome.waiting))

    @property
    def broken(self) -> Decimal:
        return sum((outcome.broken for outcome in self.outcomes), ZERO)

    @property
    def explained(self) -> Decimal:
        return sum((outcome.explained for outcome in self.outcomes if not outcome.waiting), ZERO)

    @property
    def pending(self) -> Decimal:
        return sum((outcome.explained for outcome in self.outcomes if outcome.waiting), ZERO)

    @property
    def explained_by(self) -> list[str]:
        return [outcome.explained_by for outcome in self.outcomes if outcome.explained_by]

    @property
    def compared(self) -> bool:
        return self.expected is not None and self.billed is not None


def _judged(case: Case) -> _Judged:
    expected = case.expected.amount
    if case.waiting:
        return _waiting(case)
    if case.exchange is not None and case.exchange.rate is None:
        expected, billed = None, None
    else:
        billed = case.billed.amount if case.billed else ZERO
    judged = case
    outcomes: list[Outcome] = []
    left: Decimal | None = None if expected is None or billed is None else billed - expected
    if left == 0 and case.billed is not None and not case.over and not case.quantity_difference:
        return _Judged(case, (), expected, billed)
    for rule in PRECEDENCE:
        outcome = rule(case, left)
        if outcome is None:
            continue
        outcome = _awaiting(case, outcome)
        outcomes.append(outcome)
        if left is not None:
            left -= outcome.broken + outcome.explained
        if outcome.settled:
            break
        if outcome.taken:
            case = _without(case, outcome.taken)
    return _Judged(judged, tuple(outcomes), expected, billed)


def _waiting(case: Case) -> _Judged:
    """A case that cannot be compared: where both figures are known, all that they differ by is pending."""
    expected, billed = case.expected.amount, _posted(case)
    if expected is None or billed is None:
        return _Judged(case, (), expected, None)
    pending = Outcome(explained=billed - expected, explained_by=f"pending {case.waiting[0].side}", waiting=case.waiting)
    return _Judged(case, (pending,), expected, billed)


def _posted(case: Case) -> Decimal | None:
    """What posted lines bill of it, if that is in its currency."""
    if not case.charges or any(one.line.currency != case.currency for one in case.charges):
        return None
    return sum((one.amount for one in case.charges), ZERO)


def _without(case: Case, taken: Sequence[Charge]) -> Case:
    rest = tuple(charge for charge in case.charges if charge not in taken)
    return replace(case, charges=rest, billed=invoiced(rest, case.expected))


def _awaiting(case: Case, outcome: Outcome) -> Outcome:
    """The outcome of a rule; explained as pending where lines that are still to come could answer it."""
    coming = {what for one in outcome.breaks for what in _could_answer(case, one.body)}
    if not coming:
        return outcome
    return replace(
        outcome,
        breaks=(),
        broken=ZERO,
        explained=outcome.explained + outcome.broken,
        explained_by="pending invoice lines",
        waiting=(*outcome.waiting, *(Waiting("invoice_lines", what, None) for what in sorted(coming))),
    )


def _could_answer(case: Case, body: DiscrepancyBody) -> tuple[str, ...]:
    """Documents nothing of which counts yet, and whose lines could answer a break."""
    invoices = case.inputs.invoices
    if case.mode == "agreement" and case.lines and not case.over:
        return ()  # what an agreement is set to bill no invoice changes
    if body.direction is Direction.WE_OWE_CLIENT:
        return invoices.crediting
    if body.code is Code.PRICE_MISMATCH and not case.amounts_only:
        return ()  # no other line makes the price of this one right
    return invoices.coming


# --- lines ---------------------------------------------------------------------------------------------------------
def _line(judged: _Judged) -> StatementLine:
    case, breaks, waiting = judged.case, judged.breaks, judged.waiting
    state = LineState.MATCHED
    if breaks:
        state = LineState.BREAK
    elif waiting:
        state = LineState.PENDING
    elif judged.explained:
        state = LineState.EXPLAINED
    expected, billed = case.expected, case.billed or invoiced(case.charges)
    by = [*judged.explained_by, *(wait.what for wait in waiting if state is LineState.PENDING)]
    return StatementLine(
        key=case.key,
        product=case.product.id,
        service=case.service,
        state=state,
        currency=case.currency if case.exchange is None or case.exchange.rate is not None else None,
        expected=judged.expected,
        billed=_posted(case) if case.waiting else judged.billed,
        explained=judged.explained if judged.compared else ZERO,
        pending=judged.pending if judged.compared else ZERO,
        broken=judged.broken if judged.compared else ZERO,
        quantity_expected=None if expected.quantity is None else words.shown(expected.quantity),
        quantity_billed=None if billed is None else words.shown(billed.quantity),
        price_expected=None if expected.unit_price is None else words.shown(expected.unit_price),
        price_billed=None if billed is None or billed.shown_price is None else words.shown(billed.shown_price),
        contract_ref=case.contract_ref,
        billed_ref=None if billed is None else billed.ref,
        by=words.clip("; ".join(dict.fromkeys(by))) or None,
        until=max((wait.until for wait in waiting if wait.until is not None), default=None),
        codes=tuple(sorted({one.body.code for one in breaks})),
        steps=case.steps(),
    )


def _lines(inputs: GroupInputs, sides: Sides, judged: Sequence[_Judged]) -> tuple[StatementLine, ...]:
    lines = [_line(one) for one in judged]
    for line, waiting in sides.strays:
        lines.append(
            StatementLine(
                key=("invoice", line.source, line.invoice, line.line),
                product=line.product or inputs.product.id,
                service=line.period,
                state=LineState.PENDING,
                currency=line.currency,
                billed=line.amount,
                quantity_billed=line.quantity,
                billed_ref=words.clip(f"{line.invoice} line {line.line}"),
                by=waiting.what,
                until=waiting.until,
            )
        )
    for product, by_what, name, used in sides.covered:
        lines.append(
            StatementLine(
                key=("usage", product, by_what),
                product=product,
                service=inputs.period,
                state=LineState.EXPLAINED,
                quantity_expected=words.shown(used.value),
                by=words.clip(f"covered by {name}"),
            )
        )
    return tuple(sorted(lines, key=lambda line: line.key))


# --- the group -------------------------------------------------------------------------------------------------------
def _verdict(inputs: GroupInputs, sides: Sides, judged: Sequence[_Judged], vendor: VendorSide) -> Verdict:
    lines = _lines(inputs, sides, judged)
    breaks = sorted(
        [*(one for each in judged for one in each.breaks), *vendor.breaks, *tax_rates(inputs)],
        key=lambda one: one.stream_key,
    )
    # A credit that is here before its invoice changes nothing of what can be said of the lines.
    strays = [waiting for _, waiting in sides.strays if waiting.side != "invoice" or not judged]
    pending = dict.fromkeys([*(wait for one in judged for wait in one.waiting), *strays])
    if not (judged or pending or sides.covered):
        what = f"vendors charge for {words.month(inputs.period)}; no usage, contract or invoice line is here"
        pending[Waiting("usage", what, None)] = None
    known, figures = _figures(judged)
    waiting = dict.fromkeys([*pending, *vendor.waiting, *(invoice_waits(inputs) if judged or sides.strays else ())])
    measured = [one.case.used.value for one in judged if not one.case.flat and one.case.used is not NOTHING]
    return Verdict(
        State.BREAK if breaks else State.NOT_COMPARABLE if pending else State.MATCHED,
        breaks=tuple(breaks),
        waiting=tuple(waiting),
        explained_by=" and ".join(dict.fromkeys(text for one in known for text in one.explained_by)) or None,
        next_change=(
            next_change(inputs, [one.case for one in judged], broken=bool(breaks))
            if judged or inputs.vendor_lines
            else None
        ),
        owed=any(one.case.owed for one in judged),
        sources=sample(source for one in judged for source in one.case.due_sources),
        records=sum(one.case.due_records for one in judged),
        lines=_costed(lines, vendor),
        vendor=vendor.totals,
        measured=measured[0] if len(measured) == 1 else None,
        scope=_scope(judged),
        expected=figures.expected,
        billed=figures.billed,
        explained=figures.explained,
        broken=figures.broken,
        currency=figures.currency,
    )


class _Figures(NamedTuple):
    currency: str | None = None
    expected: Decimal | None = None
    billed: Decimal | None = None
    explained: Decimal = ZERO
    broken: Decimal = ZERO


def _figures(judged: Sequence[_Judged]) -> tuple[list[_Judged], _Figures]:
    """The sums over the lines that were compared; of none of them what is due alone. Amounts of two currencies are not
    added up."""
    compared = [one for one in judged if one.compared]
    of = compared or [one for one in judged if one.expected is not None or one.billed is not None]
    currencies = {one.case.currency for one in of}
    currency = next(iter(currencies)) if len(currencies) == 1 else None
    if not of or len(currencies) > 1:
        return compared, _Figures(currency)
    if compared:
        return compared, _Figures(
            currency,
            sum((one.expected for one in compared if one.expected is not None), ZERO),
            sum((one.billed for one in compared if one.billed is not None), ZERO),
            sum((one.explained + one.pending for one in compared), ZERO),
            sum((one.broken for one in compared), ZERO),
        )
    due = [one.expected for one in of if one.expected is not None]
    billed = [one.billed for one in of if one.billed is not None]
    return compared, _Figures(
        currency, sum(due, ZERO) if due else None, sum(billed, ZERO) if billed and not due else None
    )


def _scope(judged: Iterable[_Judged]) -> tuple[ScopeTotal, ...]:
    """What the contract lines come to, for commitments that cover several."""
    totals: dict[tuple[str, str, str, str, str], Decimal] = {}
    for one in judged:
        if one.case.lines and one.expected is not None and one.case.currency is not None and not one.case.over:
            line = one.case.lines[0]
            key = (line.source, line.contract, line.line, one.case.product.id, one.case.currency)
            totals[key] = totals.get(key, ZERO) + one.expected
    return tuple(ScopeTotal(*key[:4], totals[key], key[4]) for key in sorted(totals))


# --- the vendors' side -----------------------------------------------------------------------------------------
def _has_vendor(inputs: GroupInputs) -> bool:
    """Whether anything of a vendor's side can be said."""
    if inputs.vendor_lines:
        return True
    products = (inputs.product, *inputs.others)
    agreed = any(one.unit_cost is not None for one in products)
    return agreed or any(line.terms is not None and line.terms.cost is not None for line in inputs.lines)


def _used(sides: Sides) -> dict[str, Decimal]:
    """Measured units by product, without those that are not known."""
    cases = sides.cases
    used = {product: of.value for product, _, _, of in sides.covered if of is not NOTHING}
    unknown = {case.product.id for case in cases if case.waiting and not case.used.formula}
    for case in cases:
        if not case.flat and case.product.id not in unknown:
            used[case.product.id] = used.get(case.product.id, ZERO) + case.used.value
    return used


def _billed(judged: Sequence[_Judged]) -> tuple[Decimal, str] | None:
    """What the client is billed for the group once its own breaks are put right, if it is in one currency."""
    of = [one for one in judged if one.billed is not None and one.case.billed is not None]
    currencies = {one.case.currency for one in of}
    currency = next(iter(currencies)) if len(currencies) == 1 else None
    if currency is None:
        return None
    return sum(((one.billed if one.expected is None else one.expected) or ZERO for one in of), ZERO), currency


def _costed(lines: tuple[StatementLine, ...], vendor: VendorSide) -> tuple[StatementLine, ...]:
    """The vendors' cost of a product, shown on its first line."""
    costs = {product: of[0] for product, of in (vendor.cost or {}).items() if len(of) == 1}
    costed = []
    for line in lines:
        cost = costs.pop(line.product, None)
        costed.append(line if cost is None else replace(line, cost=cost[0], cost_currency=cost[1]))
    return tuple(costed)
