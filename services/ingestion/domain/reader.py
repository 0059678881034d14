"""A file as records, with no server: no vault, no log, no database. One pass over its lines, in constant memory but for
what is known of each document.

How to call it::

    from services.ingestion.domain.reader import fields_of, read

    with open("invoices.csv", "rb") as lines:               # or any iterable of lines, as bytes or as text
        for row, one in read("invoices", lines, asserted_at=now, zone="Europe/Berlin"):
            if isinstance(one, Spoilt):                      # a problem: one.faults, each with field, reason and fix
                ...
            else:                                            # a record: one.type, one.record_id, one.time, one.data
                fields = fields_of(one, tenant="local", source="psa", asserted_at=now)
                ...                                          # what World.fold and facts.extract take

``row`` is the row's number as a spreadsheet shows it (the header is row 1). The header record of a document comes after
the last row, under the number of the document's first row. What spoils the file as a whole raises: ``BadTable`` and
``BadHeader`` (both with ``reason`` and ``fix``), ``TooManyDocuments``, ``UnknownProfile``. A million rows never stand
in memory at once, so a caller shows progress by counting rows.

The records are those that the service would store, but for three things: a document that does not state its version has
version 1; a header has no digest over its lines, only their number; and persons and notes are left out, for they may
stand in a vault alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from services.ingestion.domain.profiles import Profile, profile
from services.ingestion.domain.rows import Layout, Made, Private, Record, Rows, Spoilt, Survey, Told
from services.ingestion.domain.table import BadTable, Table
from shared.events.base import utc_text

__all__ = ["Made", "Spoilt", "fields_of", "read"]

_BOM = b"\xef\xbb\xbf"


def read(
    declared: Profile | str,
    lines: Iterable[bytes | str],
    *,
    asserted_at: datetime,
    zone: str = "UTC",
    run: int = 1,
) -> Iterator[tuple[int, Record]]:
    """(row number, :class:`Made` or :class:`Spoilt`) for each record that the file makes or should have made.

    ``lines``: with their ends, as an open file gives them. ``asserted_at``: when the file's word was given, aware; it
    ranks what it says against other files, and what claims to be a day later than it is a mistake. ``zone``: of dates
    and local times, unless the profile names another.
    """
    declared = profile(declared) if isinstance(declared, str) else declared
    table = Table(_text(lines), declared.delimiter)
    survey = Survey(Layout(declared, table.header), zone, digests=False)
    rows = Rows(survey, Told(zone, asserted_at, run, asserted_at), None)
    for row in table.rows():
        survey.add(row)
        for record in rows.make(row):
            yield record.row, _without_private(record)
    for record in rows.headers():
        yield record.row, _without_private(record)


def fields_of(made: Made, *, tenant: str, source: str, asserted_at: datetime, run: int = 1) -> dict[str, Any]:
    """A record as a consumer of the log decodes it: what ``shared.reconciliation`` folds. A decision's version in its
    stream is the row: later rows outrank earlier ones."""
    return {
        "type": made.type,
        "id": made.record_id,
        "source": source,
        "tenant": tenant,
        "time": utc_text(made.time),
        "assertedat": utc_text(asserted_at),
        "run": run,
        "streamversion": made.row,
        "data": made.data.model_dump(mode="json", exclude_defaults=True),
    }


def _without_private(record: Record) -> Record:
    held = {*record.private.people, *record.private.notes}
    if not held:
        return record
    if isinstance(record, Made):
        return replace(record, data=record.data.model_copy(update=dict.fromkeys(held)), private=Private())
    data = {name: value for name, value in record.data.items() if name not in held}
    return replace(record, data=data, private=Private())


def _text(lines: Iterable[bytes | str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if isinstance(line, str):
            yield line.removeprefix("\ufeff") if number == 1 else line
            continue
        try:
            yield (line.removeprefix(_BOM) if number == 1 else line).decode()
        except UnicodeDecodeError as error:
            raise BadTable(
                f"the file is not UTF-8 in line {number:,}",
                "save it as CSV UTF-8 (it may be Windows-1252 or another encoding)",
            ) from error
