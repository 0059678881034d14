"""From a rating document to the engine's values, and from its lines to the answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Literal, NamedTuple

from shared.events.contracts import RateRow, Terms, UnitPrice
from shared.events.discrepancies import Source, Span
from shared.kernel.canonical import decimal_text
from shared.kernel.money import round_to
from shared.kernel.periods import Period, instant_of
from shared.reconciliation.rating.billed import Statement, rate, rate_original, total
from shared.reconciliation.rating.document import (
    AmountGiven,
    BlockShown,
    EntryGiven,
    EntryShown,
    Line,
    RatingAnswer,
    RatingDocument,
    StepShown,
    TaxShown,
    TermsVersion,
)
from shared.reconciliation.rating.grid import parts, version_at, zone_of
from shared.reconciliation.rating.labour import Entry, Outcome, Rated, labour, labour_difference
from shared.reconciliation.rating.model import Amount, Component, Level, Measurement, Number, Part, Service, Version
from shared.reconciliation.rating.tax import TaxedLine, document_tax

_DAY = timedelta(days=1)
_DECIMALS = 18


class Refused(ValueError):
    """A document that is well formed and cannot be rated."""

    def __init__(self, field: str, reason: str, fix: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field
        self.reason = reason
        self.fix = fix


class Question(NamedTuple):
    """A document as the engine reads it."""

    service: Service
    measured: Measurement | tuple[Entry, ...] | None
    part: Part
    final: bool
    billed: tuple[Component, ...]
    tenant_rates: tuple[RateRow, ...] = ()
    outside: int = 0
    """Amounts of the document that occurred outside the part; they are not in ``measured``."""


def question(document: RatingDocument) -> Question:
    """Raises :class:`Refused` where the document's parts do not fit each other."""
    service = _service(document)
    part = _part(document, service)
    if document.measured is None or document.measured.entries is None:  # hours have their terms by their own dates
        _refuse_gap(service, part)
    zone = zone_of(service, _version(service, part).terms)
    end = service.versions[-1].end
    over = part.end >= part.full_end or (end is not None and part.end >= end)
    measured, outside = _measured(document, part, zone)
    return Question(
        service,
        measured,
        part,
        over if document.final is None else document.final,
        tuple(_billed(line, part, n) for n, line in enumerate(document.billed)),
        document.tenant_rates,
        outside,
    )


def answer(asked: Question) -> RatingAnswer:
    """What is to be billed. Raises ``ValueError`` where the measure does not fit the terms: ``reason; fix``."""
    service, part = asked.service, asked.part
    terms = _version(service, part).terms
    hours: Rated | None = None
    if terms.labour is not None or isinstance(asked.measured, tuple):
        hours = _hours(asked)
        lines = labour_difference(hours.components, asked.billed, service.currency)
    elif terms.booking == "original" and asked.billed:
        lines = rate_original(service, asked.measured, part, asked.final, _statements(asked))
    else:
        lines = rate(service, asked.measured, part, asked.final, asked.billed)
    sum_ = total(lines)
    return RatingAnswer(
        lines=tuple(_shown(line) for line in lines),
        total=sum_,
        currency=service.currency,
        part=Span(from_=part.start, to=part.end),
        period=Span(from_=part.full_start, to=part.full_end),
        final=asked.final,
        tax=_tax(lines, terms, service.currency),
        blocks=_blocks(hours),
        entries=_entries(hours),
        outside=asked.outside or None,
    )


def _service(document: RatingDocument) -> Service:
    if isinstance(document.terms, Terms):
        start = document.service.start if document.service else None
        span = document.period or document.part
        if start is None and span is None:
            raise Refused("part", "is missing", 'Add the dates that are billed: {"from": ..., "to": ...}.')
        given = [Version(document.terms, start if start is not None else span.from_)]  # type: ignore[union-attr]
    else:
        given = _versions(document.terms)
    within = document.service
    if within is not None and within.end is not None and within.end <= within.start:
        raise Refused(
            "service.end", "does not lie after service.start", "Send the day after the last; it is exclusive."
        )
    clipped = []
    for version in given:
        start = max(version.start, within.start) if within else version.start
        ends = [day for day in (version.end, within.end if within else None) if day is not None]
        end = min(ends, default=None)
        if end is None or start < end:
            clipped.append(Version(version.terms, start, end, version.record))
    if not clipped:
        raise Refused("terms", "are not in force while the service is", "Correct effective_from, or service.")
    return Service(tuple(clipped), document.currency, document.time_zone)


def _versions(given: Sequence[TermsVersion]) -> list[Version]:
    ordered = sorted(range(len(given)), key=lambda n: given[n].effective_from)
    versions = []
    for n, following in zip(ordered, [*ordered[1:], None], strict=True):
        start, end = given[n].effective_from, given[n].effective_to
        after = given[following].effective_from if following is not None else None
        if end is not None and end <= start:
            raise Refused(f"terms.{n}.effective_to", "does not lie after effective_from", "It is exclusive.")
        if after is not None and ((end is not None and after < end) or after == start):
            raise Refused(
                f"terms.{following}.effective_from",
                f"lies in the version that begins on {start}",
                "Let versions follow each other; effective_to is exclusive.",
            )
        versions.append(Version(given[n], start, end if end is not None else after))
    return versions


def _part(document: RatingDocument, service: Service) -> Part:
    for name, span in (("period", document.period), ("part", document.part)):
        if span is not None and span.to <= span.from_:
            raise Refused(f"{name}.to", "does not lie after from", "Send the day after the last; to is exclusive.")
    if document.period is not None:
        period = document.period
        start, end = max(period.from_, service.versions[0].start), _until(service, period.to)
        if document.part is not None:
            start, end = document.part.from_, document.part.to
        if start < period.from_ or end > period.to:
            raise Refused("part", "reaches beyond period", f"Send dates within {period.from_} and {period.to}.")
        start = _charged_from(service, start)
        if start >= end:
            raise Refused("period", "lies outside the service", "Correct period, or service.")
        return Part(start, end, period.from_, period.to)
    if document.part is None:
        raise Refused(
            "part", "is missing", 'Add the dates that are billed: {"from": "2026-06-01", "to": "2026-07-01"}.'
        )
    asked = document.part
    found = next(iter(parts(service, Period(asked.from_, asked.from_ + _DAY))), None)
    if found is None or asked.to > found.end:
        raise Refused(
            "part",
            "is no part of one billing period of the terms",
            "Begin where a period or the service begins and end within it, or add period with its dates.",
        )
    return Part(asked.from_, asked.to, found.full_start, found.full_end)


def _charged_from(service: Service, start: date) -> date:
    trial_end = service.versions[0].terms.trial_end
    return start if trial_end is None else max(start, trial_end)


def _refuse_gap(service: Service, part: Part) -> None:
    for one, following in pairwise(service.versions):
        end = one.end or following.start
        if end < following.start and part.start < following.start and end < part.end:
            raise Refused(
                "part",
                f"holds days without terms, from {end} to {following.start}",
                "Rate what lies before them and what lies after them each by itself.",
            )


def _until(service: Service, end: date) -> date:
    last = service.versions[-1]
    if last.end is None:
        return end
    return min(end, last.end + _DAY if last.terms.last_day_billed else last.end)


def _version(service: Service, part: Part) -> Version:
    try:
        return version_at(service, part.start)
    except ValueError as error:
        reason, _, fix = str(error).partition("; ")
        raise Refused("part.from", f"lies before the terms: {reason}", f"Correct it: {fix}.") from error


_KINDS: dict[str, Literal["counter", "peak", "cost"]] = {
    "counter": "counter",
    "peak": "peak",
    "transactions": "counter",
    "cost": "cost",
}


def _measured(document: RatingDocument, part: Part, zone: str) -> tuple[Measurement | tuple[Entry, ...] | None, int]:
    """What was measured, and how many of its amounts occurred outside the part."""
    measured = document.measured
    if measured is None:
        return None, 0
    named = [name for name in ("gauge", *_KINDS, "entries") if getattr(measured, name) is not None]
    if len(named) != 1:
        given = f"names {' and '.join(named)}" if named else "names no measure"
        raise Refused("measured", given, f"Send one of gauge, {', '.join(_KINDS)}, entries.")
    if measured.entries is not None:
        return tuple(_entry(entry, n) for n, entry in enumerate(measured.entries)), 0

    def at(moment: date | datetime | None) -> datetime:
        if isinstance(moment, datetime):
            return moment
        return instant_of(part.start if moment is None else moment, zone)

    if measured.gauge is not None:
        levels = [
            Level(at(level.at), level.quantity, None if level.until is None else at(level.until), _sources(level.id))
            for level in measured.gauge
        ]
        for number, level in enumerate(levels):
            if level.until is not None and level.until <= level.at:
                raise Refused(
                    f"measured.gauge.{number}.until", "does not lie after at", "It is exclusive; send a later one."
                )
        return Measurement("gauge", levels=tuple(sorted(levels, key=lambda level: level.at)), unit=measured.unit), 0
    amounts = [
        Amount(at(amount.at), amount.quantity, _sources(amount.id))
        # Those of one instant and value are alike; ids decide the rest.
        for amount in sorted(
            _distinct(getattr(measured, named[0]), named[0]), key=lambda amount: (amount.id or "", amount.quantity)
        )
    ]
    start, end = instant_of(part.start, zone), instant_of(part.end, zone)
    inside = tuple(sorted((a for a in amounts if start <= a.at < end), key=lambda amount: amount.at))
    return Measurement(_KINDS[named[0]], amounts=inside, unit=measured.unit), len(amounts) - len(inside)


def _distinct(given: Sequence[AmountGiven], name: str) -> list[AmountGiven]:
    """A repeated record adds nothing."""
    found: dict[str, AmountGiven] = {}
    anonymous = []
    for number, amount in enumerate(given):
        if amount.id is None:
            anonymous.append(amount)
        elif found.setdefault(amount.id, amount) != amount:
            raise Refused(
                f"measured.{name}.{number}.id",
                f"stands on another record too, which says otherwise: {amount.id}",
                "Send the one that holds, or give each its own id.",
            )
    return [*found.values(), *anonymous]


def _sources(id: str | None) -> tuple[Source, ...]:
    return () if id is None else (Source(type="measured", source="document", id=id),)


def _entry(given: EntryGiven, number: int) -> Entry:
    minutes = given.minutes if given.hours is None else given.hours * 60
    if (given.minutes is not None) + (given.hours is not None) + (given.start is not None) != 1 or (
        (given.start is None) != (given.end is None)
    ):
        raise Refused(
            f"measured.entries.{number}", "has no duration, or several", "Send minutes, hours, or start and end."
        )
    return Entry(
        given.id,
        given.worked_on,
        minutes,
        given.start,
        given.end,
        tuple((pause.start, pause.end) for pause in given.breaks),
        given.billable,
        given.approved,
        given.role,
        given.work_type,
        given.ticket,
        frozenset(given.when),
        None,
        Source(type="measured", source="document", id=given.id),
    )


def _billed(line: Line, part: Part, number: int) -> Component:
    category = line.category or ("commitment" if line.component == "minimum" else "usage")
    component = Component(
        line.component,
        line.unit_price,
        line.quantity,
        line.amount,
        line.period.from_ if line.period else part.start,
        line.period.to if line.period else part.end,
        line.discounts,
        line.charges,
        category,
        booked=line.statement,
    )
    if line.total is not None and line.total != component.total:
        raise Refused(
            f"billed.{number}.total",
            f"is not amount - discounts + charges, which is {component.total:f}",
            "Correct it, or leave it out.",
        )
    return component


def _hours(asked: Question) -> Rated:
    if isinstance(asked.measured, Measurement):
        raise Refused("measured", "holds no time entries, and the terms bill labour", "Send measured.entries.")
    service = asked.service
    terms = _version(service, asked.part).terms
    if terms.labour is None and not isinstance(terms.price, UnitPrice):
        raise Refused(
            "measured.entries",
            f"are hours, and the terms have a {terms.price.kind} price and no labour",
            "Agree labour, or a price of one unit for an hour.",
        )
    blocks = [
        block.start for version in service.versions if version.terms.labour for block in version.terms.labour.blocks
    ]
    first = min([*blocks, *(entry.worked_on for entry in asked.measured or ())], default=asked.part.start)
    earlier = parts(service, Period(first, asked.part.start)) if first < asked.part.start else ()
    return labour(
        service,
        asked.measured or (),
        asked.part,
        asked.final,
        earlier=earlier,
        tenant_rates=asked.tenant_rates,
    )


def _statements(asked: Question) -> list[Statement]:
    """The sub-periods that were billed, and the one that is billed now: what lies after them, be it nothing."""
    booked: dict[Period, list[Component]] = {}
    for line in asked.billed:
        booked.setdefault(Period(line.start, line.end), []).append(line)
    statements = [
        Statement(period, tuple(lines), min(filter(None, (line.booked for line in lines)), default=None))
        for period, lines in booked.items()
    ]
    last = max(period.end for period in booked)
    return [*statements, Statement(Period(min(last, asked.part.end), asked.part.end))]


def _figure(value: Number) -> Decimal:
    """A figure for JSON: at 18 decimals where it has no last digit."""
    if isinstance(value, Fraction) or -int(value.as_tuple().exponent) > _DECIMALS:
        return round_to(value, _DECIMALS)
    return value


def _shown(line: Component) -> Line:
    return Line(
        component=line.component,
        unit_price=None if line.unit_price is None else _figure(line.unit_price),
        quantity=_figure(line.quantity),
        amount=line.amount,
        discounts=line.discounts,
        charges=line.charges,
        total=line.total,
        period=Span(from_=line.start, to=line.end),
        category=line.category,
        corrects=line.corrects,
        sources=tuple(source.id for source in line.sources),
        records=line.records,
        flags=line.flags,
        steps=tuple(
            StepShown(label=step.label, formula=step.formula, result=_figure(step.result), rounding=step.rounding)
            for step in line.steps
        ),
    )


def _tax(lines: Sequence[Component], terms: Terms, currency: str) -> TaxShown | None:
    if terms.tax_pct is None:
        return None
    taxed = document_tax(
        (TaxedLine(f"{n:06}", line.total, terms.tax_pct) for n, line in enumerate(lines)),
        currency,
        split=terms.split,
        order=terms.order,
        rounding=terms.rounding.tax,
    )
    return TaxShown(rate_pct=terms.tax_pct, base=taxed.net, tax=taxed.tax, total=taxed.total)


def _blocks(hours: Rated | None) -> tuple[BlockShown, ...]:
    return tuple(
        BlockShown(
            block=balance.block,
            rolled_from=balance.rolled_from,
            unit=balance.unit,
            held=_figure(balance.held),
            drawn=_figure(balance.drawn),
            rolled_over=_figure(balance.rolled_over),
            expired=_figure(balance.expired),
            left=_figure(balance.left),
        )
        for balance in (hours.balances if hours else ())
    )


def _entries(hours: Rated | None) -> tuple[EntryShown, ...]:
    return tuple(
        EntryShown(
            id=outcome.entry.id,
            state=outcome.state,
            worked_minutes=_figure(outcome.worked),
            billable_minutes=_figure(outcome.billable),
            amount=outcome.amount,
            why=(*outcome.why, *_fates(outcome)),
        )
        for outcome in (hours.outcomes if hours else ())
    )


_FATES = {
    "billed": "billed",
    "block": "from block",
    "carried": "carried to the next block",
    "refused": "refused: BLOCK_OVERDRAWN",
    "over_cap": "OVER_CAP",
}


def _fates(outcome: Outcome) -> list[str]:
    """``6 h from block A``, ``3 h billed beyond block B``."""
    said = []
    for piece in outcome.pieces:
        block = f" {piece.block}" if piece.block else ""
        beyond = " beyond block" if piece.kind == "billed" and block else ""
        said.append(f"{decimal_text(_figure(piece.hours))} h {_FATES[piece.kind]}{beyond}{block}")
    return said
