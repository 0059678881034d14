"""From the files to the answer: read, take for granted what nobody said, draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from services.cli.faults import Fault
from services.cli.output import Output
from services.cli.reconcile import answer, assumed
from services.cli.reconcile.answer import Answer, File
from services.cli.reconcile.sheets import Read, Record, Sheet, load
from shared.kernel.periods import Period

_MONTHS_MAX = 36


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line says."""

    sheets: tuple[Sheet, ...]
    periods: tuple[Period, ...] | None
    """``None``: the months of the invoices."""
    as_of: date | None
    """``None``: the day after the last period."""
    zone: str
    partial: bool
    settings: Mapping[str, str]


def work(asked: Asked, out: Output) -> Answer:
    """The answer. Raises :class:`Fault`."""
    reads, notes = _read(asked, out)
    records = [record for one in reads for record in one.records]
    periods = asked.periods or _periods(records)
    as_of = asked.as_of or periods[-1].end
    clients, products = assumed.known(records)
    taken = assumed.mappings(assumed.identifiers(records), assumed.mapped(records), clients, products)
    notes += assumed.said(taken)
    records += map(assumed.mapping_record, taken)
    records += _completeness(asked, reads, periods, as_of, notes)
    records += assumed.calendar_records(periods, as_of, asked.zone)
    records += [assumed.setting_record(key, value) for key, value in asked.settings.items()]
    verdicts = answer.draw(records)
    return Answer(
        periods=tuple(periods),
        as_of=as_of,
        files=tuple(map(_file, reads)),
        assumed=tuple(notes),
        statements=answer.statements(verdicts, periods),
        discrepancies=answer.discrepancies(verdicts, periods),
        rejected=tuple(one for read in reads for one in read.rejected),
        clients=clients.names,
        products=products.names,
    )


def _read(asked: Asked, out: Output) -> tuple[list[Read], list[str]]:
    """Mappings first: whose identifiers they speak of may say whose word a file is."""
    notes: list[str] = []
    total = sum(one.path.stat().st_size for one in asked.sheets if one.path.is_file())
    with out.progress("reading", total) as advance:
        deciding = [load(one, asked.zone, advance) for one in asked.sheets if one.kind == "mappings"]
        named = {record["data"]["source"] for one in deciding for record in one.records}
        others = _adopted([one for one in asked.sheets if one.kind != "mappings"], named, notes)
        reads = [load(one, asked.zone, advance) for one in others]
    return [*reads, *deciding], notes


def _adopted(sheets: Sequence[Sheet], named: set[str], notes: list[str]) -> list[Sheet]:
    """The files, each with its source: the only one that the mappings name, where it has none of its own."""
    found = []
    free = sorted(named - {one.source for one in sheets})
    for one in sheets:
        if one.kind in ("usage", "vendor-bills") and not one.named and one.source not in named and len(free) == 1:
            notes.append(f"{one.name} is read as {free[0]}'s, the only source that the mappings name")
            one = replace(one, source=free[0])
        found.append(one)
    return found


def _periods(records: Sequence[Record]) -> list[Period]:
    found = assumed.periods_of(records)
    if not found:
        raise Fault("no file says which month it is about", fix="--period 2026-10")
    if len(found) > _MONTHS_MAX:
        raise Fault(f"the invoices are of {len(found)} months", fix="--period 2026-10, or 2026-08..2026-10")
    return found


def _completeness(
    asked: Asked, reads: Sequence[Read], periods: Sequence[Period], as_of: date, notes: list[str]
) -> list[Record]:
    """That the usage files hold everything, unless it was said or seen that they do not."""
    usage = [one for one in reads if one.sheet.kind == "usage"]
    if asked.partial or not usage:
        return []
    sources = sorted({one.sheet.source for one in usage})
    spoilt = sorted({one.sheet.source for one in usage if one.rejected})
    whole = [source for source in sources if source not in spoilt]
    if whole:
        files = ", ".join(one.sheet.name for one in usage if one.sheet.source in whole)
        notes.append(f"{files} holds all usage of the period (--partial: it does not)")
    if spoilt:
        notes.append(f"usage of {', '.join(spoilt)} is not taken as complete: rows of it could not be read")
    return [assumed.complete_record(source, periods, as_of, asked.zone) for source in whole]


def _file(one: Read) -> File:
    of = one.sheet
    return File(of.name, of.kind, of.profile.name, of.source, one.rows, len(one.records), one.rows_rejected)
