"""Files become records: each is read by its profile, and what cannot be read is kept with the fix."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.cli.faults import Fault
from services.ingestion.domain.profiles import BadHeader, Profile, UnknownProfile, heading, profile
from services.ingestion.domain.reader import Made, Spoilt, fields_of, read
from services.ingestion.domain.rows import Record as RowRecord
from services.ingestion.domain.rows import TooManyDocuments
from services.ingestion.domain.table import BadTable, Table

TENANT = "reconcile"
"""Whose records they are: the command knows one tenant."""
SAID_AT = datetime(2000, 1, 1, tzinfo=UTC)
"""When every file's word was given: no clock is read. Of files of one kind a later one outranks an earlier one."""
_ROWS_MAX = 10_000_000
NO_LIMIT = datetime(2199, 12, 31, tzinfo=UTC)
"""No file claims to be later."""
COMPARED = ("contracts", "usage", "invoices", "vendor-bills", "time")
"""The kinds that hold a side of the comparison."""
_PROFILES = {"time": "time-entries"}
"""The plain profile of a kind, where it is not called the same."""
_WORKBOOK = b"PK"

Record = dict[str, Any]
"""CloudEvents fields, as the fold reads them."""


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """A file, what it is, and whose word."""

    kind: str
    path: Path
    profile: Profile
    source: str
    named: bool = False
    """Whether the source was said, and not taken from the profile."""
    run: int = 1
    """Its place among the files of its kind: what a later one says of the same thing holds."""

    @property
    def name(self) -> str:
        return self.path.name


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row of which something cannot be read."""

    file: str
    row: int
    field: str
    reason: str
    fix: str
    cells: str = ""
    """The row as it stands (but for its private columns), as JSON."""


@dataclass(slots=True)
class Read:
    """What a file holds."""

    sheet: Sheet
    rows: int = 0
    records: list[Record] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    @property
    def rows_rejected(self) -> int:
        return len({one.row for one in self.rejected})


def sheet(kind: str, given: str, profile_name: str | None, run: int = 1) -> Sheet:
    """A file as the command line names it: ``PATH`` or ``SOURCE=PATH``; ``run`` is its place among those of its kind.
    Raises :class:`Fault`."""
    source, mark, path = given.partition("=")
    named = bool(mark) and not Path(given).exists()
    try:
        declared = profile(profile_name or _PROFILES.get(kind, kind))
    except UnknownProfile as error:
        raise Fault(str(error), fix="`plumbline ingest profiles` lists them") from None
    return Sheet(kind, Path(path if named else given), declared, source if named else declared.source, named, run)


def load(of: Sheet, zone: str, advance: Callable[[int], None]) -> Read:
    """The records of a file and its rejects. ``advance`` is told the bytes that were read. Raises :class:`Fault` for a
    file that is no table of its profile."""
    found = Read(of)
    try:
        rows = read(of.profile, _lines(of.path, advance), asserted_at=NO_LIMIT, zone=zone)
        numbers = set()
        for number, record in rows:
            numbers.add(number)
            _take(found, record)
        found.rows = len(numbers)
        if found.rejected:
            _keep(found)
    except (BadHeader, BadTable) as error:
        raise Fault(f"{of.path}: {error.reason}", fix=_fix(of.path, error.fix)) from error
    except TooManyDocuments as error:
        raise Fault(f"{of.path}: {error}", fix="split the file") from error
    except OSError as error:
        raise Fault(f"{of.path} cannot be read: {error.strerror}", fix="check the path") from error
    return found


def _lines(path: Path, advance: Callable[[int], None] = lambda _: None) -> Iterator[bytes]:
    with path.open("rb") as handle:
        for line in handle:
            advance(len(line))
            yield line


def _fix(path: Path, fix: str) -> str:
    with path.open("rb") as handle:
        return "save the workbook's sheet as CSV UTF-8" if handle.read(2) == _WORKBOOK else fix


def _take(found: Read, record: RowRecord) -> None:
    if isinstance(record, Made):
        of = found.sheet
        fields = fields_of(record, tenant=TENANT, source=of.source, asserted_at=SAID_AT, run=of.run)
        # Of decisions the row is the version: those of a later file stand above those of an earlier one.
        fields["streamversion"] += (of.run - 1) * _ROWS_MAX
        found.records.append(fields)
        return
    found.rejected += rejected(found.sheet, record)


def rejected(of: Sheet, record: RowRecord) -> list[Rejected]:
    """What is wrong with a row."""
    assert isinstance(record, Spoilt)
    return [
        Rejected(of.name, record.row, fault.field.removeprefix("data."), fault.reason, fault.fix)
        for fault in record.faults
    ]


def _keep(found: Read) -> None:
    """Put the rows themselves beside what is wrong with them."""
    wanted = defaultdict(list)
    for place, one in enumerate(found.rejected):
        wanted[one.row].append(place)
    declared = found.sheet.profile
    hidden = [column for column in declared.columns if column.private]
    private = {heading(name) for column in hidden for name in (column.name, *column.aliases)}
    table = Table((line.decode("utf-8-sig") for line in _lines(found.sheet.path)), declared.delimiter)
    shown = [heading(name) not in private for name in table.header]
    for row in table.rows():
        if row.number in wanted:
            cells = {name: cell for name, cell, may in zip(table.header, row.cells, shown, strict=False) if may}
            for place in wanted[row.number]:
                one = found.rejected[place]
                found.rejected[place] = Rejected(
                    one.file, one.row, one.field, one.reason, one.fix, json.dumps(cells, ensure_ascii=False)
                )
