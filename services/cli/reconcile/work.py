"""From the files to the answer: read, take for granted what nobody said, draw."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

from services.cli.faults import Fault
from services.cli.output import Output
from services.cli.reconcile import answer, assumed, large, spill
from services.cli.reconcile.answer import Answer, File
from services.cli.reconcile.quick import QUICK
from services.cli.reconcile.sheets import Read, Record, Sheet, load
from shared.kernel.periods import Period

_MONTHS_MAX = 36
SHOWN_BYTES = 2_000_000
"""Less is read before a bar could be seen."""
LARGE_BYTES = 1_000_000
"""Of contracts, usage and invoices together (some 5,000 lines): more is laid out on disk, and what matches keeps its
figures without their arithmetic."""


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


def work(asked: Asked, out: Output, folder: Path, large_bytes: int = LARGE_BYTES) -> Answer:
    """The answer. ``folder`` is empty, and is for what does not fit in memory. Raises :class:`Fault`."""
    reads: list[Read] = []
    notes: list[str] = []
    total = sum(one.path.stat().st_size for one in asked.sheets if one.path.is_file())
    with out.progress("reading", total) if total > SHOWN_BYTES else nullcontext(_unseen) as advance:
        reads += [load(one, asked.zone, advance) for one in asked.sheets if one.kind == "mappings"]
        named = {record["data"]["source"] for one in reads for record in one.records}
        others = _adopted([one for one in asked.sheets if one.kind != "mappings"], named, notes)
        big = [one for one in others if _is_big(one)]
        if sum(one.path.stat().st_size for one in big) <= large_bytes:
            big = []
        reads += [load(one, asked.zone, advance) for one in others if one not in big]
        if big:
            return _Large(asked, reads, dict(enumerate(big)), notes, folder, out).work(advance)
    return _small(asked, reads, notes)


def _unseen(_: int) -> None:
    """Progress that nobody is shown."""


def _is_big(one: Sheet) -> bool:
    return one.kind in QUICK and one.profile.name == one.kind and one.path.is_file()


def _small(asked: Asked, reads: Sequence[Read], notes: list[str]) -> Answer:
    records = [record for one in reads for record in one.records]
    periods = asked.periods or _periods(records)
    as_of = asked.as_of or periods[-1].end
    clients, products = assumed.known(records)
    taken = assumed.mappings(assumed.identifiers(records), assumed.mapped(records), clients, products)
    notes += assumed.said(taken)
    records += map(assumed.mapping_record, taken)
    records += _completeness(asked, {one.sheet: bool(one.rejected) for one in reads}, periods, as_of, notes)
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


@dataclass(slots=True)
class _Large:
    """Inputs that are laid out on disk."""

    asked: Asked
    reads: list[Read]
    big: dict[int, Sheet]
    notes: list[str]
    folder: Path
    out: Output
    laid: dict[int, spill.Laid] = field(default_factory=dict)

    def work(self, advance: Callable[[int], None]) -> Answer:
        gc.disable()  # as in the processes that draw: what they hand back stays until the end
        usage = {n: one for n, one in self.big.items() if one.kind == "usage"}
        with ProcessPoolExecutor(large.PROCESSES) as pool:
            others = {n: one for n, one in self.big.items() if one.kind != "usage"}
            self._lay(pool, others, large.Decided({}, {}), advance)
            periods = self.asked.periods or _checked(self._months())
            as_of = self.asked.as_of or periods[-1].end
            self._lay(pool, usage, large.decided(self._records(), as_of), advance)
        records = self._records()
        clients, products = assumed.known(records)
        for one in self.laid.values():
            for known, found in ((clients, one.clients), (products, one.products)):
                for name in sorted(name.strip() for name in found):
                    known.names.setdefault(name, name)
        seen = [*assumed.identifiers(records), *large.identifiers(self.laid, self.big)]
        taken = assumed.mappings(assumed.merged(seen), assumed.mapped(records), clients, products)
        self.notes += assumed.said(taken)
        records += map(assumed.mapping_record, taken)
        means = large.decided(records, as_of)
        for n in usage.keys() & self.laid.keys():
            spill.relay(self.laid[n], self.big[n], self.folder, means.clients_of(self.big[n].source))
        return self._draw(records, periods, as_of, means, large.Names(clients.names, products.names))

    def _lay(
        self,
        pool: ProcessPoolExecutor,
        sheets: Mapping[int, Sheet],
        means: large.Decided,
        advance: Callable[[int], None],
    ) -> None:
        found = large.lay_out(pool, self.folder, sheets, means, advance)
        for n in sheets.keys() - found.keys():
            # Quotes, another encoding: the profile reads it row by row.
            self.reads.append(load(self.big.pop(n), self.asked.zone, advance))
        self.laid |= found

    def _records(self) -> list[Record]:
        return [record for one in self.reads for record in one.records]

    def _months(self) -> list[Period]:
        laid = large.months_of(self.laid.values())
        read = assumed.periods_of(self._records())
        if laid or not any(one.kind == "invoices" for one in self.big.values()):
            return sorted({*laid, *read})
        return read

    def _draw(
        self,
        records: list[Record],
        periods: Sequence[Period],
        as_of: date,
        means: large.Decided,
        names: large.Names,
    ) -> Answer:
        strange, rejected = large.strangers(self.laid, self.big, self.asked.zone)
        spoilt = {one.sheet: bool(one.rejected) for one in self.reads}
        spoilt |= {self.big[n]: any(one.file == self.big[n].name for one in rejected) for n in self.laid}
        parts = self._parts([*records, *strange], periods, as_of, means, names, spoilt)
        torn = {one.file for part in parts for one in part.rejected}
        late = [one for one, known in spoilt.items() if one.kind == "usage" and one.name in torn and not known]
        if late:
            # Only now it shows that rows of usage cannot be read: what rests on absence has to wait after all.
            parts = self._parts([*records, *strange], periods, as_of, means, names, spoilt | dict.fromkeys(late, True))
        found = {one: name for part in parts for one, name in part.identifiers.items()}
        broken = [one for part in parts for one in part.broken]
        broken += large.unmapped(found, [*records, *strange], means)
        spoilt |= dict.fromkeys(late, True)
        _completeness(self.asked, spoilt, periods, as_of, self.notes)
        rejected = [*(one for read in self.reads for one in read.rejected), *rejected]
        rejected += sorted({one for part in parts for one in part.rejected}, key=lambda one: (one.file, one.row))
        lines_csv = self.folder / "statements.csv"
        return Answer(
            periods=tuple(periods),
            as_of=as_of,
            files=(*map(_file, self.reads), *(_laid_file(self.big[n], one) for n, one in self.laid.items())),
            assumed=tuple(self.notes),
            statements=tuple(large.gather(parts, lines_csv)),
            discrepancies=answer.largest_first(broken),
            rejected=tuple(rejected),
            clients=names.clients,
            products=names.products,
            lines_csv=lines_csv,
        )

    def _parts(
        self,
        records: list[Record],
        periods: Sequence[Period],
        as_of: date,
        means: large.Decided,
        names: large.Names,
        spoilt: Mapping[Sheet, bool],
    ) -> list[large.Part]:
        zone = self.asked.zone
        told = [
            *_completeness(self.asked, spoilt, periods, as_of, []),
            *assumed.calendar_records(periods, as_of, zone),
            *(assumed.setting_record(key, value) for key, value in self.asked.settings.items()),
        ]
        routed = large.routed([*records, *told], means)
        shared = large.shared(self.folder, self.big, self.laid, zone, routed, means)
        parts: list[large.Part] = []
        with self.out.progress("comparing", len(periods) * len(large.shelves(self.laid.values()))) as advance:
            for period in periods:
                parts += large.draw_all(replace(shared, period=period), names, advance)
        return parts


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
    return _checked(assumed.periods_of(records))


def _checked(found: list[Period]) -> list[Period]:
    if not found:
        raise Fault("no file says which month it is about", fix="--period 2026-10")
    if len(found) > _MONTHS_MAX:
        raise Fault(f"the invoices are of {len(found)} months", fix="--period 2026-10, or 2026-08..2026-10")
    return found


def _completeness(
    asked: Asked, spoilt: Mapping[Sheet, bool], periods: Sequence[Period], as_of: date, notes: list[str]
) -> list[Record]:
    """That the usage files hold everything, unless it was said or seen that they do not. ``spoilt``: the files, and
    whether rows of them could not be read."""
    usage = [one for one in spoilt if one.kind == "usage"]
    if asked.partial or not usage:
        return []
    torn = sorted({one.source for one in usage if spoilt[one]})
    whole = sorted({one.source for one in usage} - set(torn))
    if whole:
        files = ", ".join(one.name for one in usage if one.source in whole)
        notes.append(f"{files} holds all usage of the period (--partial: it does not)")
    if torn:
        notes.append(f"usage of {', '.join(torn)} is not taken as complete: rows of it could not be read")
    return [assumed.complete_record(source, periods, as_of, asked.zone) for source in whole]


def _file(one: Read) -> File:
    of = one.sheet
    return File(of.name, of.kind, of.profile.name, of.source, one.rows, len(one.records), one.rows_rejected)


def _laid_file(of: Sheet, one: spill.Laid) -> File:
    return File(of.name, of.kind, of.profile.name, of.source, one.rows, one.rows, 0)
