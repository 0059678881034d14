"""Reads a CSV text as the edge does, without a vault or a database."""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime

from services.ingestion.domain.profiles import Profile, profile
from services.ingestion.domain.rows import Layout, Made, Record, Rows, Spoilt, Survey, Told
from services.ingestion.domain.table import Table

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@dataclass
class Read:
    survey: Survey
    rows: Rows
    records: list[Record]

    @property
    def made(self) -> list[Made]:
        return [record for record in self.records if isinstance(record, Made)]

    @property
    def spoilt(self) -> list[Spoilt]:
        return [record for record in self.records if isinstance(record, Spoilt)]

    def of(self, record_type: str) -> list[Made]:
        return [record for record in self.made if record.type == record_type]


def read(
    name: str | Profile, text: str, *, zone: str = "UTC", run: int = 1, asserted_at: datetime = NOW, version: int = 1
) -> Read:
    declared = profile(name) if isinstance(name, str) else name

    def table() -> Table:
        return Table(io.StringIO(text, newline=""), declared.delimiter)

    first = table()
    survey = Survey(Layout(declared, first.header), zone)
    for row in first.rows():
        survey.add(row)
    rows = Rows(survey, Told(zone, asserted_at, run, NOW), dict.fromkeys(survey.documents, version))
    records = [record for row in table().rows() for record in rows.make(row)]
    return Read(survey, rows, [*records, *rows.headers()])
