"""The labour of a group as part of its verdict: the invoice lines that bill hours against the hours that are due."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from shared.events.discrepancies import Code, Direction, Reached, Side, Source, Step
from shared.kernel.money import money
from shared.reconciliation import words
from shared.reconciliation.allocation import Offered, allocate
from shared.reconciliation.bodies import DIGITS, Frame, body, sayable, step
from shared.reconciliation.chains import chains
from shared.reconciliation.exact import exact
from shared.reconciliation.inputs import GroupInputs, InvoiceLineFacts, ScopeTotal
from shared.reconciliation.labour_side import LabourSide, labour_lines, labour_side, wanted
from shared.reconciliation.rules.base import direction_of, exceeds
from shared.reconciliation.rules.client.tax_rate import tax_rates
from shared.reconciliation.rules.labour.base import ZERO, Answer, LabourLine
from shared.reconciliation.sides import overdue_on
from shared.reconciliation.verdict import Break, LineState, State, StatementLine, Verdict, Waiting
from shared.reconciliation.views import sample


@dataclass(frozen=True, slots=True)
class LabourGroup:
    """What the labour of a group comes to."""

    rest: tuple[InvoiceLineFacts, ...]
    """The invoice lines that bill no hours: what the group's other lines are compared with."""
    verdict: Verdict | None
    """Of the hours alone; ``None``: the group has none."""


@exact
def draw_labour(inputs: GroupInputs) -> LabourGroup:
    """Compare the hours of a group with the invoice lines that bill them: those that name a contract line of labour,
    and those of a product that is sold by the hour alone, or has time and no contract line at all."""
    lines = labour_lines(inputs)
    claimed, rest = _claimed(inputs, lines)
    lines = tuple(one for one in lines if _speaks(inputs, one, claimed))
    if not (lines or claimed or inputs.entries):
        return LabourGroup(rest, None)
    home = [one for one in claimed if inputs.period.contains(one.period.start)]
    answers, left = _answers(inputs, lines, home)
    lines = tuple(_at_its_own_price(line, answers.get(line.key)) for line in lines)
    if not _sayable(lines, home):
        return LabourGroup(rest, Verdict(State.NOT_COMPARABLE, waiting=(DIGITS,), owed=True))
    side = labour_side(
        replace(inputs, invoice_lines=tuple(home)), lines, {key: one for key, (one, _) in answers.items()}
    )
    judged = [_judge(inputs, line, side, answers.get(line.key, (None, ""))[0]) for line in lines]
    judged += [_stranger(inputs, fact, quantity, amount) for fact, quantity, amount in left]
    if not (judged or side.breaks):
        return LabourGroup(rest, None)
    # An absence from an invoice that is not here yet is no break.
    compared = {one.line.key for one in judged if one.line.billed is not None}
    told = [one for one in side.breaks if one.side != "client" or _of(one, lines) in compared]
    told += tax_rates(replace(inputs, invoice_lines=tuple(home)))
    return LabourGroup(rest, _verdict(inputs, lines, judged, told))


def _sayable(lines: Sequence[LabourLine], home: Sequence[InvoiceLineFacts]) -> bool:
    """Whether every figure that a break could name fits a record."""
    for line in lines:
        worked = sum((abs(one.minutes) for one in line.entries), ZERO)
        rates = [one.rate for one in line.outcomes]
        worth = [Fraction(worked) * Fraction(rate) for rate in rates if rate is not None]
        if not sayable(worked, line.hours, line.amount, line.would, line.unit_price, *worth):
            return False
    quantity = sum((abs(one.quantity) for one in home), ZERO)
    amount = sum((abs(one.amount) for one in home), ZERO)
    return sayable(quantity, amount, *(quantity * abs(one.unit_price) for one in home))


def _at_its_own_price(line: LabourLine, answer: tuple[Answer, str] | None) -> LabourLine:
    """Hours that no contract prices have the price that the invoice gives them."""
    if line.amount is not None or answer is None or answer[0].hours <= 0 or answer[0].amount <= 0:
        return line
    billed, currency = answer
    each = Fraction(billed.amount) / Fraction(billed.hours)
    return replace(line, unit_price=each, amount=money(Fraction(line.hours) * each, currency), currency=currency)


def with_labour(verdict: Verdict | None, hours: LabourGroup) -> Verdict | None:
    """A group's verdict and that of its labour as one. Amounts of two currencies are not added up: then there are
    none."""
    one, other = verdict, hours.verdict
    if one is None or other is None:
        return one or other
    breaks = tuple(sorted((*one.breaks, *other.breaks), key=lambda each: each.stream_key))
    states = {one.state, other.state}
    dates = [day for day in (one.next_change, other.next_change) if day is not None]
    merged = replace(
        one,
        state=State.BREAK if breaks else State.NOT_COMPARABLE if State.NOT_COMPARABLE in states else State.MATCHED,
        expected=None,
        billed=None,
        explained=ZERO,
        broken=ZERO,
        breaks=breaks,
        waiting=tuple(dict.fromkeys((*one.waiting, *other.waiting))),
        explained_by=" and ".join(dict.fromkeys(by for by in (one.explained_by, other.explained_by) if by)) or None,
        next_change=min(dates, default=None),
        owed=one.owed or other.owed,
        sources=sample((*one.sources, *other.sources)),
        records=one.records + other.records,
        lines=tuple(sorted((*one.lines, *other.lines), key=lambda line: line.key)),
        scope=tuple(sorted((*one.scope, *other.scope), key=lambda of: (of.source, of.contract, of.line, of.product))),
    )
    return _with_figures(merged, one, other)


def _with_figures(merged: Verdict, one: Verdict, other: Verdict) -> Verdict:
    known = [each for each in (one, other) if each.expected is not None or each.billed is not None]
    currencies = {each.currency for each in known}
    if len(currencies) > 1:
        return replace(merged, currency=None)
    compared = [each for each in known if each.expected is not None and each.billed is not None]
    of = compared or known
    due = [each.expected for each in of if each.expected is not None]
    billed = [each.billed for each in of if each.billed is not None]
    return replace(
        merged,
        expected=sum(due, ZERO) if due else None,
        billed=sum(billed, ZERO) if billed and (compared or not due) else None,
        explained=sum((each.explained for each in compared), ZERO),
        broken=sum((each.broken for each in compared), ZERO),
        currency=next(iter(currencies), one.currency),
    )


# --- which lines bill hours ----------------------------------------------------------------------------------------
def _claimed(
    inputs: GroupInputs, lines: Sequence[LabourLine]
) -> tuple[list[InvoiceLineFacts], tuple[InvoiceLineFacts, ...]]:
    found = chains(inputs.lines, inputs.client.time_zone)
    by_hour = {(one.contract, one.line): one.terms.labour is not None for one in found if one.sells}
    hourly = {one.product for one in found if one.sells and one.terms.labour is not None}
    hourly |= {line.product.id for line in lines}
    hourly -= {one.product for one in found if one.sells and one.terms.labour is None}
    claimed: list[InvoiceLineFacts] = []
    rest: list[InvoiceLineFacts] = []
    for fact in inputs.invoice_lines:
        named = by_hour.get((fact.contract or "", fact.contract_line or ""))
        mine = named if named is not None else (fact.product or inputs.product.id) in hourly
        (claimed if mine else rest).append(fact)
    return sorted(claimed, key=_order), tuple(rest)


def _order(fact: InvoiceLineFacts) -> tuple[str, str, str]:
    return (fact.source, fact.invoice, fact.line)


def _speaks(inputs: GroupInputs, line: LabourLine, claimed: Sequence[InvoiceLineFacts]) -> bool:
    """Whether there is anything to compare: time, an invoice line, or something due whatever was worked, in a month
    that has begun and whose invoices are at hand."""
    if line.entries or line.outcomes or claimed:
        return True
    start, as_of, opens = inputs.period.start, inputs.as_of, inputs.opens
    unopened = as_of is None or as_of < start or (opens is not None and start < opens)
    return bool(line.amount) and not (unopened and not inputs.invoices.complete)


_Left = tuple[InvoiceLineFacts, Decimal, Decimal]


def _answers(
    inputs: GroupInputs, lines: Sequence[LabourLine], home: Sequence[InvoiceLineFacts]
) -> tuple[dict[tuple[str, ...], tuple[Answer, str]], list[_Left]]:
    """What the invoice bills for each line, in which currency, and what answers none."""
    facts = {_order(one): one for one in home}
    offered = [
        Offered(
            key, one.source, one.invoice, one.contract, one.contract_line, one.product or inputs.product.id,
            one.period, one.quantity, one.unit_price, one.amount, one.kind, one.corrects,
        )
        for key, one in facts.items()
    ]  # fmt: skip
    result = allocate([wanted(line) for line in lines], offered)
    shares: dict[tuple[str, ...], list[tuple[InvoiceLineFacts, Decimal, Decimal]]] = defaultdict(list)
    for share in result.shares:
        shares[share.wanted].append((facts[_triple(share.offered)], share.quantity, share.amount))
    of_product: dict[str, LabourLine] = {}
    for line in lines:
        of_product.setdefault(line.product.id, line)
    left: list[_Left] = []
    for one in result.offered:
        fact = facts[_triple(one.key)]
        asked = of_product.get(fact.product or inputs.product.id)
        # Hours beyond those that are due stay with the first line of their product.
        (left if asked is None else shares[asked.key]).append((fact, one.quantity or ZERO, one.amount or ZERO))
    answers = {
        key: (
            Answer(
                sum((hours for _, hours, _ in of), ZERO),
                sum((amount for _, _, amount in of), ZERO),
                words.more([f"{fact.invoice} line {fact.line}" for fact, _, _ in of]),
                tuple(fact.record for fact, _, _ in of),
            ),
            of[0][0].currency,
        )
        for key, of in shares.items()
    }
    return answers, left


def _triple(key: tuple[str, ...]) -> tuple[str, str, str]:
    return (key[0], key[1], key[2])


def _of(one: Break, lines: Sequence[LabourLine]) -> tuple[str, ...] | None:
    for line in lines:
        days = () if line.part is None else (line.part.start.isoformat(),)
        if one.key == (*line.stream, *days):
            return line.key
    return None


# --- one line ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Judged:
    line: StatementLine
    breaks: tuple[Break, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    sources: tuple[Source, ...] = ()


def _judge(inputs: GroupInputs, line: LabourLine, side: LabourSide, answer: Answer | None) -> _Judged:
    waiting = list((side.waiting or {}).get(line.key, ()))
    sources = tuple(one.record for one in line.entries)
    held = _held_back(inputs, line, answer)
    if held is not None:
        waiting = [*waiting, held]
        return _Judged(_line(line, None, LineState.PENDING, waiting=waiting), (), tuple(waiting), sources)
    billed = answer or Answer(ZERO, ZERO)
    if _timeless(inputs) and billed.hours > line.hours:
        waiting.append(_no_time(inputs))
    if line.amount is None:
        # Hours without a price: they are compared as hours, and what is billed for them is what they cost.
        known = not any(_unbilled(one, line) for one in side.breaks)
        state = LineState.PENDING if waiting else LineState.MATCHED if known else LineState.BREAK
        return _Judged(
            _line(line, billed, state, waiting=waiting, codes=() if known else (Code.TIME_UNBILLED,)),
            (),
            tuple(waiting),
            sources,
        )
    unbilled = (side.broken or {}).get(line.key, ZERO)
    elsewhere = (side.elsewhere or {}).get(line.key)
    rest = billed.amount - line.amount - unbilled - (elsewhere.amount if elsewhere else ZERO)
    breaks, explained, by = _residual(inputs, line, billed, rest, bool(waiting))
    broken = sum((_signed(one) for one in breaks), ZERO)
    pending = ZERO
    if waiting and explained > 0 and by in ("pending approval", "pending time"):
        pending, explained = explained, ZERO
    if elsewhere is not None:
        explained, by = explained + elsewhere.amount, " and ".join(one for one in (elsewhere.by, by) if one)
    codes = sorted({*(one.body.code for one in breaks), *([Code.TIME_UNBILLED] if unbilled else [])})
    state = (
        LineState.BREAK
        if codes
        else LineState.PENDING
        if waiting
        else LineState.EXPLAINED
        if explained
        else LineState.MATCHED
    )
    told = _line(
        line, billed, state, explained=explained, pending=pending, broken=broken + unbilled, by=by, codes=tuple(codes),
        waiting=waiting,
    )  # fmt: skip
    return _Judged(told, tuple(breaks), tuple(waiting), sources)


def _unbilled(one: Break, line: LabourLine) -> bool:
    return one.body.code is Code.TIME_UNBILLED and one.key[: len(line.stream)] == line.stream


def _signed(one: Break) -> Decimal:
    amount = one.body.amount or ZERO
    return -amount if one.body.direction is Direction.CLIENT_OWES_US else amount


def _held_back(inputs: GroupInputs, line: LabourLine, answer: Answer | None) -> Waiting | None:
    """Why the line cannot be compared yet."""
    if line.period.end > inputs.period.end:
        what = f"{line.ref} bills the hours until {line.period.end} together"
        return Waiting("partial_period", words.clip(what), line.period.end)
    billed, due, invoices = answer.amount if answer is not None else ZERO, line.amount, inputs.invoices
    coming = invoices.coming if due is None or billed < due else invoices.crediting if billed > due else ()
    if coming:
        return Waiting("invoice_lines", coming[0], None)
    if invoices.complete or answer is not None:
        return None
    if invoices.incomplete:
        return Waiting("invoice_lines", inputs.invoices.incomplete[0], None)
    until = overdue_on(inputs.period, inputs.settings.invoice_grace_days)
    return Waiting("invoice", f"no invoice of {words.month(inputs.period)} yet", until)


def _residual(
    inputs: GroupInputs, line: LabourLine, answer: Answer, rest: Decimal, waits: bool
) -> tuple[list[Break], Decimal, str | None]:
    """Breaks of what is left, what is explained of it, and by what."""
    if not rest or line.currency is None or line.amount is None:
        return [], rest, "rounding" if rest else None
    settings, explained = inputs.settings, ZERO
    breaks: list[Break] = []
    by: list[str] = []
    extra = answer.hours - line.hours
    each = line.unit_price if line.unit_price is not None else _average(line)
    if rest > 0 and extra > 0:
        part = rest if each is None else min(money(Fraction(extra) * Fraction(each), line.currency), rest)
        if extra <= settings.tolerance("time", unit="h").absolute:
            explained, by = explained + part, [*by, "tolerance time"]
        elif waits:
            # Hours that are still to come, or that wait for approval, may be those that are billed.
            explained, by = explained + part, [*by, "pending time" if _timeless(inputs) else "pending approval"]
        else:
            breaks.append(_break(inputs, line, answer, Code.QTY_OVER, part, extra))
        rest -= part
    elif rest < 0 and extra < 0 and -extra <= settings.tolerance("time", unit="h").absolute and each is not None:
        part = max(-money(Fraction(-extra) * Fraction(each), line.currency), rest)
        explained, by, rest = explained + part, [*by, "tolerance time"], rest - part
    if not rest:
        return breaks, explained, " and ".join(by) or None
    units = answer.hours or line.hours
    tolerance = settings.tolerance("unit_price", currency=line.currency)
    price = each if each is not None else (Fraction(line.amount) / Fraction(units) if units else None)
    if price is None or (units and exceeds(Fraction(rest) / Fraction(units), price, tolerance)):
        breaks.append(_break(inputs, line, answer, Code.PRICE_MISMATCH, rest, None))
    else:
        explained, by = explained + rest, [*by, "tolerance unit_price"]
    return breaks, explained, " and ".join(by) or None


def _timeless(inputs: GroupInputs) -> bool:
    """Whether no time of the month is here at all: then it is still to come."""
    return not any(inputs.period.contains(one.worked_on) for one in inputs.entries)


def _no_time(inputs: GroupInputs) -> Waiting:
    return Waiting("time", f"no time entries of {words.month(inputs.period)} are here", None)


def _average(line: LabourLine) -> Fraction | None:
    return Fraction(line.amount) / Fraction(line.hours) if line.amount and line.hours else None


def _stranger(inputs: GroupInputs, fact: InvoiceLineFacts, quantity: Decimal, amount: Decimal) -> _Judged:
    """A line that bills hours for which neither time nor a contract asks."""
    reason = None
    if _timeless(inputs):
        reason = _no_time(inputs)
    products = {one.id: one for one in (inputs.product, *inputs.others)}
    product = products.get(fact.product, inputs.product)
    ref = words.clip(f"{fact.invoice} line {fact.line}")
    found: tuple[Break, ...] = ()
    if reason is None and amount:
        hours = f"{words.quantity(quantity)} h billed, no time and no contract line asks for them"
        found = (
            Break(
                (product.id, fact.source, fact.invoice, fact.line),
                body(
                    _frame(inputs),
                    Code.PHANTOM_LINE,
                    direction_of(amount),
                    reached=Reached.CLIENT_INVOICE,
                    product=product,
                    amount=abs(amount),
                    currency=fact.currency,
                    quantity=abs(quantity),
                    expected=Side(amount=ZERO),
                    billed=Side(quantity=words.field(quantity), amount=amount, ref=ref),
                    tolerance=inputs.settings.tolerance("time", unit="h"),
                    why=f"{ref}: {hours}",
                    steps=(step("billed", hours, amount, [fact.record]),),
                ),
            ),
        )
    line = StatementLine(
        key=("invoice", fact.source, fact.invoice, fact.line),
        product=product.id,
        service=fact.period,
        state=LineState.PENDING if reason else LineState.BREAK if found else LineState.MATCHED,
        currency=fact.currency,
        expected=ZERO,
        billed=amount,
        pending=amount if reason else ZERO,
        broken=amount if found else ZERO,
        quantity_billed=words.field(quantity),
        billed_ref=ref,
        by=reason.what if reason else None,
        codes=(Code.PHANTOM_LINE,) if found else (),
    )
    return _Judged(line, found, (reason,) if reason else ())


def _line(
    line: LabourLine,
    answer: Answer | None,
    state: LineState,
    *,
    explained: Decimal = ZERO,
    pending: Decimal = ZERO,
    broken: Decimal = ZERO,
    by: str | None = None,
    codes: tuple[Code, ...] = (),
    waiting: Sequence[Waiting] = (),
) -> StatementLine:
    said = [one for one in (by, *(wait.what for wait in waiting)) if one]
    return StatementLine(
        key=line.key,
        product=line.product.id,
        service=line.period,
        state=state,
        currency=line.currency,
        expected=line.amount,
        billed=None if answer is None else answer.amount,
        explained=explained,
        pending=pending,
        broken=broken,
        quantity_expected=line.hours,
        quantity_billed=None if answer is None else words.field(answer.hours),
        price_expected=None if line.unit_price is None else words.shown(line.unit_price),
        contract_ref=line.ref,
        billed_ref=(answer.ref or None) if answer is not None else None,
        by=words.clip("; ".join(said)) or None,
        until=max((one.until for one in waiting if one.until is not None), default=None),
        codes=codes,
        steps=_steps(line),
    )


def _steps(line: LabourLine) -> tuple[Step, ...]:
    if line.rated is None:
        return ()
    return tuple(
        step(one.component, one.steps[-1].formula if one.steps else one.component, one.total, one.sources)
        for one in line.rated.components
    )


def _frame(inputs: GroupInputs) -> Frame:
    return Frame(client=inputs.client, period=inputs.period, as_of=inputs.as_of, settings=inputs.settings)


def _break(
    inputs: GroupInputs, line: LabourLine, answer: Answer, code: Code, signed: Decimal, extra: Decimal | None
) -> Break:
    assert line.amount is not None
    assert line.currency is not None
    figures = f"{words.quantity(line.hours)} h at {words.price(line.amount, line.currency)} are due, "
    figures += f"{words.quantity(answer.hours)} h at {words.price(answer.amount, line.currency)} billed"
    name = "time" if code is Code.QTY_OVER else "unit_price"
    tolerance = inputs.settings.tolerance("time", unit="h")
    if name == "unit_price":
        tolerance = inputs.settings.tolerance("unit_price", currency=line.currency)
    return Break(
        line.break_key,
        body(
            _frame(inputs),
            code,
            direction_of(signed),
            reached=Reached.CLIENT_INVOICE,
            product=line.product,
            amount=abs(signed),
            currency=line.currency,
            quantity=extra,
            expected=line.side,
            billed=answer.side,
            tolerance=tolerance,
            why=figures,
            contract_ref=line.ref,
            steps=(
                *_steps(line)[:10],
                step("billed", f"{words.quantity(answer.hours)} h", answer.amount, answer.records),
                step("difference", figures, abs(signed)),
            ),
        ),
    )


# --- together ------------------------------------------------------------------------------------------------------
def _verdict(
    inputs: GroupInputs, lines: Sequence[LabourLine], judged: Sequence[_Judged], told: Iterable[Break]
) -> Verdict:
    breaks = sorted([*told, *(one for each in judged for one in each.breaks)], key=lambda one: one.stream_key)
    waiting = tuple(dict.fromkeys(one for each in judged for one in each.waiting))
    rows = [one.line for one in judged]
    known = [one for one in rows if one.expected is not None and one.billed is not None]
    of = known or [one for one in rows if one.expected is not None]
    currencies = {one.currency for one in of}
    single = len(currencies) == 1
    uncompared = [line for line in lines if line.key in {one.key for one in rows if one.billed is None}]
    return Verdict(
        State.BREAK if breaks else State.NOT_COMPARABLE if waiting else State.MATCHED,
        breaks=tuple(breaks),
        waiting=waiting,
        expected=_sum(one.expected for one in of) if single else None,
        billed=_sum(one.billed for one in known) if known and single else None,
        explained=_sum(one.explained + one.pending for one in known) if single else ZERO,
        explained_by=" and ".join(dict.fromkeys(one.by for one in rows if one.by and one.state is LineState.EXPLAINED))
        or None,
        broken=_sum(one.broken for one in known) if single else ZERO,
        currency=next(iter(currencies)) if single else None,
        next_change=_next_change(inputs, lines, bool(uncompared), bool(breaks)),
        owed=any(line.amount is None or line.amount > 0 for line in uncompared),
        sources=sample(source for one in judged for source in one.sources),
        records=sum(len(one.sources) for one in judged),
        lines=tuple(sorted(rows, key=lambda line: line.key)),
        scope=_scope(lines),
    )


def _next_change(inputs: GroupInputs, lines: Sequence[LabourLine], uncompared: bool, broken: bool) -> date | None:
    """The day whose coming changes the answer by itself: an invoice is overdue, time goes stale, money is lost."""
    settings = inputs.settings
    days = [overdue_on(inputs.period, settings.invoice_grace_days)] if uncompared else []
    days += [inputs.period.end + timedelta(days=settings.backbill_days)] if broken else []
    days += [
        entry.worked_on + timedelta(days=settings.time_stale_days + 1)
        for line in lines
        for entry in line.entries
        if entry.billable and (not entry.approved or entry.invoice is None)
    ]
    return min((day for day in days if inputs.as_of is None or day > inputs.as_of), default=None)


def _sum(values: Iterable[Decimal | None]) -> Decimal:
    return sum((one for one in values if one is not None), ZERO)


def _scope(lines: Sequence[LabourLine]) -> tuple[ScopeTotal, ...]:
    totals: dict[tuple[str, str, str, str, str], Decimal] = {}
    for line in lines:
        if line.chain is not None and line.amount is not None and line.currency is not None:
            key = (*line.chain.key, line.product.id, line.currency)
            totals[key] = totals.get(key, ZERO) + line.amount
    return tuple(ScopeTotal(*key[:4], totals[key], key[4]) for key in sorted(totals))
