"""Labour: from time entries and contract lines that bill hours to expected lines, and what is wrong with them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import cast

from shared.kernel.periods import Period
from shared.reconciliation import words
from shared.reconciliation.allocation import Offered, Wanted, allocate
from shared.reconciliation.bodies import Frame
from shared.reconciliation.chains import Chain, chains
from shared.reconciliation.exact import exact
from shared.reconciliation.inputs import GroupInputs, Product, TimeEntry
from shared.reconciliation.rating import parts
from shared.reconciliation.rating.labour import Entry, Rated, When, labour
from shared.reconciliation.rating.model import Part
from shared.reconciliation.rules.labour.base import (
    ZERO,
    Answer,
    Elsewhere,
    LabourCase,
    LabourLine,
    entry_name,
    entry_names,
    hours,
    worked,
)
from shared.reconciliation.rules.labour.block_overdrawn import block_overdrawn
from shared.reconciliation.rules.labour.out_of_scope import out_of_scope
from shared.reconciliation.rules.labour.over_cap import over_cap
from shared.reconciliation.rules.labour.stale_time import stale_time
from shared.reconciliation.rules.labour.time_unbilled import time_unbilled
from shared.reconciliation.sides import overdue_on
from shared.reconciliation.verdict import Break, Waiting

_RULES = (time_unbilled, stale_time, over_cap, block_overdrawn)


@dataclass(frozen=True, slots=True)
class LabourSide:
    """What holds between a group's time and its invoice."""

    breaks: tuple[Break, ...] = ()
    """TIME_UNBILLED is of side ``client``, the others of none; by stream key."""
    waiting: Mapping[tuple[str, ...], tuple[Waiting, ...]] | None = None
    """By the line's key: what a line waits for. Unapproved time is pending, and not nothing."""
    broken: Mapping[tuple[str, ...], Decimal] | None = None
    """By the line's key, signed: what TIME_UNBILLED takes of billed less expected."""
    elsewhere: Mapping[tuple[str, ...], Elsewhere] | None = None
    """By the line's key: what is explained because another invoice bills it."""


@exact
def labour_lines(inputs: GroupInputs) -> tuple[LabourLine, ...]:
    """The expected lines of labour whose home is the month, by key: each part of each contract line with
    ``terms.labour``, and one for each product with approved, billable time that no contract line takes.

    An entry belongs to the line of its product that is in force on its day, of the contract that it names if it names
    one; of several to the first by contract and line.
    """
    found = chains(inputs.lines, inputs.client.time_zone)
    products = {one.id: one for one in (inputs.product, *inputs.others)}
    takers = [chain for chain in found if chain.sells and chain.terms.labour is not None]
    of, homeless = _share_out(inputs, takers)
    lines = [
        _line(inputs, products.get(chain.product, inputs.product), chain, part, of[chain.key, chain.product])
        for chain in takers
        for part in parts(chain.service, inputs.period)
    ]
    excluded = {chain.product for chain in found if chain.terms.excluded}
    for product in sorted({one.product for one in homeless} - excluded):
        entries = tuple(
            one for one in homeless if one.product == product and inputs.period.contains(one.worked_on) and one.billable
        )
        # What the PSA says it has invoiced needs no contract here.
        open_ones = [one for one in entries if one.invoice is None]
        if open_ones:
            lines.append(_unpriced(products.get(product, inputs.product), inputs.period, tuple(open_ones)))
    return tuple(sorted(lines, key=lambda line: line.key))


@exact
def labour_side(
    inputs: GroupInputs,
    lines: Sequence[LabourLine],
    answers: Mapping[tuple[str, ...], Answer] | None = None,
) -> LabourSide:
    """The breaks of labour. ``answers``: what the invoice bills for each line, by its key, as it was allocated with the
    group's other lines; ``None``: the invoice lines of the products are allocated here."""
    frame = Frame(client=inputs.client, period=inputs.period, as_of=inputs.as_of, settings=inputs.settings)
    posted = any(line.kind == "invoice" for line in inputs.invoice_lines)
    given = dict(answers) if answers is not None else _answers(inputs, lines)
    elsewhere = _elsewhere(inputs, lines)
    invoices = inputs.invoices
    invoiced = bool(invoices.complete or posted)
    due = inputs.as_of is not None and inputs.as_of >= overdue_on(inputs.period, inputs.settings.invoice_grace_days)
    overlooked = due and not invoiced and bool(invoices.incomplete or invoices.straddling)
    case = LabourCase(frame, tuple(lines), given, elsewhere, invoiced, overlooked)
    breaks = [one for line in lines for rule in _RULES if (one := rule(case, line)) is not None]
    broken = {line.key: -(one.body.amount or ZERO) for line in lines if (one := time_unbilled(case, line)) is not None}
    breaks += _out_of_scope(inputs, frame, lines)
    waiting = {line.key: found for line in lines if (found := _waits(line))}
    return LabourSide(tuple(sorted(breaks, key=lambda one: one.stream_key)), waiting, broken, elsewhere)


# --- expected ------------------------------------------------------------------------------------------------------
_Taken = dict[tuple[tuple[str, str, str], str], list[TimeEntry]]


def _order(one: TimeEntry) -> tuple[object, ...]:
    return (one.worked_on, one.source, one.entry)


def _share_out(inputs: GroupInputs, takers: Sequence[Chain]) -> tuple[_Taken, list[TimeEntry]]:
    """Each entry to one contract line; the rest have none."""
    taken: _Taken = defaultdict(list)
    homeless = []
    for entry in sorted(inputs.entries, key=_order):
        fit = [one for one in takers if one.product == entry.product and entry.contract in (None, one.contract)]
        held = [one for one in fit if _holds(one, entry)]
        chain = min(held, key=lambda one: (one.source != entry.source, one.key), default=None)
        if chain is None:
            homeless.append(entry)
        else:
            taken[chain.key, chain.product].append(entry)
    return taken, homeless


def _holds(chain: Chain, entry: TimeEntry) -> bool:
    return any(
        one.start <= entry.worked_on and (one.end is None or entry.worked_on < one.end) for one in chain.holdings
    )


def _line(inputs: GroupInputs, product: Product, chain: Chain, part: Part, entries: Sequence[TimeEntry]) -> LabourLine:
    period = Period(part.start, part.end)
    own = tuple(one for one in entries if period.contains(one.worked_on))
    rated = _rated(chain, part, entries)
    due = sum((one.total for one in rated.components), ZERO)
    billed = [
        one for outcome in rated.outcomes for one in outcome.pieces if one.kind == "billed" and period.contains(one.day)
    ]
    rates = {Fraction(one.rate) for one in billed if one.rate is not None}
    would = ZERO
    if any(one.billable and not one.approved for one in own):
        approved = [replace(one, approved=True) if period.contains(one.worked_on) else one for one in entries]
        would = sum((one.total for one in _rated(chain, part, approved).components), ZERO) - due
    return LabourLine(
        ("contract", *chain.key, part.start.isoformat()),
        product,
        chain,
        part,
        period,
        own,
        rated,
        would,
        hours(sum((Fraction(one.hours) for one in billed), Fraction(0))),
        billed[0].rate if len(rates) == 1 else None,
        due,
        chain.currency,
    )


def _rated(chain: Chain, part: Part, entries: Sequence[TimeEntry]) -> Rated:
    first = min((one.worked_on for one in entries), default=part.start)
    earlier = parts(chain.service, Period(first, part.start)) if first < part.start else ()
    names = Counter(map(entry_name, entries))
    return labour(chain.service, [_entry(one, names) for one in entries], part, earlier=earlier)


def _entry(fact: TimeEntry, names: Mapping[str, int]) -> Entry:
    name = entry_name(fact)
    return Entry(
        # Two sources may have one id.
        name if names[name] == 1 else f"{fact.source} {fact.entry}",
        fact.worked_on,
        fact.minutes,
        billable=fact.billable,
        approved=fact.approved,
        role=fact.role,
        work_type=fact.work_type,
        ticket=fact.ticket,
        when=frozenset(cast("When", one) for one in fact.when),
        contract=fact.contract,
        record=fact.record,
    )


def _unpriced(product: Product, period: Period, entries: tuple[TimeEntry, ...]) -> LabourLine:
    approved = [one for one in entries if one.approved]
    return LabourLine(
        ("time", product.id), product, None, None, period, entries, None, ZERO, worked(approved), None, None, None
    )


# --- billed --------------------------------------------------------------------------------------------------------
def wanted(line: LabourLine) -> Wanted:
    """The line as allocation sees it."""
    source, contract, number = line.chain.key if line.chain is not None else ("", None, None)
    return Wanted(
        line.key, source, contract, number, line.product.id, line.period, line.hours, line.unit_price, line.amount
    )


def _answers(inputs: GroupInputs, lines: Sequence[LabourLine]) -> dict[tuple[str, ...], Answer]:
    facts = {(one.source, one.invoice, one.line): one for one in inputs.invoice_lines}
    offered = [
        Offered(
            key,
            one.source,
            one.invoice,
            one.contract,
            one.contract_line,
            one.product or inputs.product.id,
            one.period,
            one.quantity,
            one.unit_price,
            one.amount,
            one.kind,
            one.corrects,
        )
        for key, one in facts.items()
    ]
    found: dict[tuple[str, ...], Answer] = {}
    for share in allocate([wanted(line) for line in lines], offered).shares:
        before = found.get(share.wanted, Answer(ZERO, ZERO))
        fact = facts[share.offered[0], share.offered[1], share.offered[2]]
        found[share.wanted] = Answer(
            before.hours + share.quantity,
            before.amount + share.amount,
            before.ref or f"{fact.invoice} line {fact.line}",
            (*before.records, fact.record),
        )
    return found


def _elsewhere(inputs: GroupInputs, lines: Sequence[LabourLine]) -> dict[tuple[str, ...], Elsewhere]:
    """Approved hours whose entries name an invoice that has no line here: they were billed early or late."""
    here = {one.invoice for one in inputs.invoice_lines}
    found = {}
    for line in lines:
        named = {one.record: one.invoice for one in line.entries if one.invoice is not None and one.invoice not in here}
        outcomes = [one for one in line.outcomes if one.entry.record in named]
        pieces = [one for outcome in outcomes for one in outcome.pieces if one.kind == "billed"]
        if pieces:
            invoices = sorted({str(named[one.entry.record]) for one in outcomes if one.entry.record is not None})
            found[line.key] = Elsewhere(
                hours(sum((Fraction(one.hours) for one in pieces), Fraction(0))),
                -sum((one.amount for one in outcomes), ZERO),
                f"billed on {words.more(invoices)}",
            )
    return found


# --- what is wrong, what waits ------------------------------------------------------------------------------------
def _out_of_scope(inputs: GroupInputs, frame: Frame, lines: Sequence[LabourLine]) -> list[Break]:
    """Work types that a line excludes, and time of products that a contract names to exclude them."""
    found = []
    for line in lines:
        if line.chain is None or line.part is None:
            continue
        ids = {outcome.entry.record for outcome in line.outcomes if outcome.state == "excluded"}
        entries = [one for one in line.entries if one.record in ids and one.invoice is None]
        key = (*line.stream, line.part.start.isoformat())
        found.append(out_of_scope(frame, line.product, line.chain.ref, key, entries))
    products = {one.id: one for one in (inputs.product, *inputs.others)}
    for chain in chains(inputs.lines, inputs.client.time_zone):
        if chain.terms.excluded and chain.product in products:
            entries = [
                one
                for one in inputs.entries
                if one.product == chain.product
                and inputs.period.contains(one.worked_on)
                and one.contract in (None, chain.contract)
                and one.invoice is None
                and _holds(chain, one)
            ]
            product = products[chain.product]
            found.append(out_of_scope(frame, product, chain.ref, (chain.product, *chain.key), entries))
    return [one for one in found if one is not None]


def _waits(line: LabourLine) -> tuple[Waiting, ...]:
    pending = [one for one in line.entries if one.billable and not one.approved]
    waits = []
    if pending:
        what = f"{words.quantity(worked(pending))} h are not approved: {entry_names(pending)}"
        waits.append(Waiting("approval", what, None))
    unpriced = sorted(one.entry.id for one in line.outcomes if one.state == "no_rate")
    if unpriced:
        waits.append(Waiting("price", f"nothing says what an hour of {words.more(unpriced)} costs", None))
    return tuple(waits)
