"""From the rows of a file to records, or to rejects that say which column, why, and what to write.

A file is read twice. The first reading (:class:`Survey`) counts the rows and, where rows are the lines of documents,
finds the documents: how many lines each has and a digest of its content, from which the edge gives it a version. The
second (:class:`Rows`) makes the records. Both are pure: what the file does not say (zone, run, versions) comes in.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from functools import cached_property, lru_cache
from string import Formatter
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from services.ingestion.domain.cells import BadCell, Notation, Type, parse
from services.ingestion.domain.envelope import AHEAD, MAX_FAULTS
from services.ingestion.domain.facts import Fault
from services.ingestion.domain.profiles import Column, Complete, Derived, Profile, RecordRule, match_header, places
from services.ingestion.domain.sense import nonsense
from services.ingestion.domain.table import BadTable, TableRow
from services.ingestion.domain.words import fault_of
from shared.events.base import utc_text
from shared.events.catalogue import CATALOGUE
from shared.events.invoices import lines_digest
from shared.kernel.canonical import canonical, decimal_text
from shared.kernel.money import round_to
from shared.kernel.periods import bounds, instant_of, local_date, month_of

DOCUMENTS_MAX = 100_000
"""Documents of one file: what is known of each is held in memory until the last row."""
_ID_MAX = 180
_EXACT_SUM = Context(prec=80)
_CELLS_MAX = 20_000
"""Cells of one file that are remembered."""
_PRODUCT_DECIMALS = 15
"""As many as a vendor prints of a price."""
# What stands for the vault's names while a record is validated: the edge knows them, this module does not.
_SOMEBODY = "person:00000000-0000-0000-0000-000000000000"
_SOMETHING = "0" * 64

_VERBS = frozenset({"is", "has", "holds", "lies", "names", "stands", "cannot", "does", "belongs", "makes"})
"""What a reason begins with if it can follow its subject."""

DocumentKey = tuple[tuple[str, ...], int | None]
"""The values of the document's key columns, and the version that the file states, if it does."""
Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Told:
    """What holds for the whole file and is not written in it."""

    zone: str
    """The tenant's."""
    asserted_at: datetime
    """When the file's word was given: the rank of what it says."""
    run: int
    now: datetime


@dataclass(frozen=True, slots=True)
class Private:
    """What of a record goes to the vault: the edge puts the vault's names into the fields."""

    people: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    """Field -> (name, e-mail)."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Field -> text."""


@dataclass(frozen=True, slots=True)
class Made:
    """A valid record, but for what the vault has to name."""

    row: int
    type: str
    record_id: str
    time: datetime
    data: BaseModel
    private: Private


@dataclass(frozen=True, slots=True)
class Spoilt:
    """A record that a row should have made and did not: whatever of it could be read, and what is wrong."""

    row: int
    type: str
    record_id: str
    time: datetime | str
    data: dict[str, Any]
    """Nested like the record's ``data``, for canonical JSON; a cell that could not be read stands as it was written."""
    faults: Sequence[Fault]
    private: Private


Record = Made | Spoilt


@dataclass(slots=True)
class Document:
    """One document of the file, as the survey found it."""

    first_row: int
    header: dict[str, str] = field(default_factory=dict)
    """The cells of the header's columns in its first row that can be read."""
    lines: int = 0
    """Distinct lines."""
    content: int = 0
    """All its rows in any order: the sum of their SHA-256, modulo 2**256."""
    stated: set[str] = field(default_factory=set)
    """Line numbers that the file states."""

    def digest(self) -> bytes:
        """32 bytes over the content."""
        return hashlib.sha256(self.content.to_bytes(32, "big") + self.lines.to_bytes(8, "big")).digest()


class TooManyDocuments(ValueError):
    """The file holds more than :data:`DOCUMENTS_MAX` documents."""


class Layout:
    """A profile matched to the header of one file."""

    def __init__(self, declared: Profile, header: Sequence[str]) -> None:
        """Raises :class:`~services.ingestion.domain.profiles.BadHeader`."""
        self.profile = declared
        self.at = match_header(declared, header)
        self.width = len(header)
        self.ignored = [cell.strip() for i, cell in enumerate(header) if i not in self.at.values() and cell.strip()]
        """Headings that the profile does not read."""
        self.columns: dict[str, Column] = {column.name: column for column in declared.columns}
        self.plain = frozenset(c.name for c in declared.columns if c.type == "text" and not c.choices)
        """Columns of which any text is the value."""
        self.empty = frozenset(declared.empty)
        self._fields: dict[str, list[tuple[tuple[str, ...], str, str]]] = {}

    @cached_property
    def header_columns(self) -> list[str]:
        """The columns that a document's header is made of."""
        document = self.profile.document
        if document is None:
            return []
        rule = document.header
        names = (*rule.data.values(), *places(rule.id), *([rule.time] if rule.time else []))
        return sorted(self.profile.columns_behind(*names) & self.at.keys())

    def fields(self, rule: RecordRule) -> list[tuple[tuple[str, ...], str, str]]:
        """(path, its dotted text, name) of each field that a row of this file can fill: of a wide profile a narrow file
        needs few."""
        known = self._fields.get(rule.id + rule.type)
        if known is None:
            known = [(tuple(path.split(".")), path, name) for path, name in rule.data.items() if self._says(name)]
            self._fields[rule.id + rule.type] = known
        return known

    def _says(self, name: str) -> bool:
        behind = self.profile.columns_behind(name)
        return not behind or any(column in self.at or self.columns[column].default is not None for column in behind)

    def texts(self, cells: Sequence[str]) -> dict[str, str]:
        """The cells that the profile reads, by column."""
        if not self.empty:
            return {name: cells[i].strip() for name, i in self.at.items()}
        return {name: "" if (text := cells[i].strip()) in self.empty else text for name, i in self.at.items()}

    def guessed(self, cells: Sequence[str]) -> dict[str, str]:
        """The same of a row that has not the shape of the header."""
        return self.texts([*(cell.replace("\x00", "") for cell in cells), *([""] * self.width)][: self.width])


class Values:
    """What one row says: the values of its columns, and what is derived from them. Empty is ``None``."""

    def __init__(
        self,
        layout: Layout,
        notation: Notation,
        zone: str,
        texts: Mapping[str, str],
        cells: dict[tuple[Type, str], Any],
        times: dict[datetime, str],
    ) -> None:
        """``cells``: what cells of this file were read as, kept between its rows; ``times``: as what they are shown."""
        self._layout = layout
        self._notation = notation
        self._zone = zone
        self._known: dict[str, Any] = {}
        self._cells = cells
        self._times: dict[datetime, str] = times
        self.texts = texts

    def supply(self, **values: Any) -> None:
        """Give the ``@`` values that the file as a whole supplies."""
        self._known.update({f"@{name}": value for name, value in values.items()})

    def get(self, name: str) -> Any:
        """The value of a column, derived or ``@`` value. Raises :class:`BadCell`, which names the column."""
        try:
            return self._known[name]
        except KeyError:
            plain_text = self.texts.get(name) if name in self._layout.plain else None
            value = self._known[name] = plain_text or self._evaluate(name)
            return value

    def applies(self, when: Mapping[str, str]) -> bool:
        """Whether the row meets a ``when``."""
        for name, wanted in when.items():
            value = self.get(name)
            if value is None or (wanted != "*" and plain(value) not in wanted.split("|")):
                return False
        return True

    def filled(self, text: str) -> str | None:
        """A text with its places filled in; ``None`` as soon as one is empty."""
        out = []
        for literal, name, spec in _template(text):
            out.append(literal)
            if name is not None:
                value = self.get(name)
                if value is None:
                    return None
                out.append(format(value, spec) if spec else plain(value))
        return "".join(out)

    def identity(self, text: str) -> str:
        """An id: like :meth:`filled`, but no two different rows meet in one, and an empty place stays empty."""
        out = []
        for literal, name, _ in _template(text):
            value = self.get(name) if name is not None else None
            out.append(literal)
            if value is not None:
                shown = value if isinstance(value, str) else self._shown(value)
                out.append(shown.replace("%", "%25").replace("/", "%2F") if "/" in shown or "%" in shown else shown)
        whole = "".join(out)
        return whole if len(whole) <= _ID_MAX else f"{whole.partition('/')[0]}/{_hash(whole)}"

    def _shown(self, value: Any) -> str:
        if not isinstance(value, datetime):
            return plain(value)
        text = self._times.get(value)
        if text is None:
            if len(self._times) >= _CELLS_MAX:
                self._times.clear()
            text = self._times[value] = plain(value)
        return text

    def _evaluate(self, name: str) -> Any:
        column = self._layout.columns.get(name)
        if column is not None:
            try:
                return self._cell(column)
            except BadCell as bad:
                bad.column = name
                raise
        derived = self._layout.profile.derive.get(name)
        return None if derived is None else self._derived(derived)

    def _cell(self, column: Column) -> Any:
        text = self.texts.get(column.name, "")
        if not text:
            if column.required:
                raise BadCell("is empty", "fill it in")
            if column.default is None:
                return None
            text = self._zone if column.default == "@zone" else column.default
        if column.choices:
            for choice in column.choices:
                if choice.casefold() == text.casefold():
                    return choice
            raise BadCell("is none of the words that it can be", f"write {_either(column.choices)}")
        return text if column.type == "text" else self._read(column.type, text)

    def _read(self, kind: Type, text: str) -> Any:
        """What a cell says. A file says the same days, words and figures over and over, and values never change."""
        key = (kind, text)
        value = self._cells.get(key)
        if value is None:
            if len(self._cells) >= _CELLS_MAX:
                self._cells.clear()
            value = self._cells[key] = parse(kind, text, self._notation)
        return value

    def _derived(self, derived: Derived) -> Any:
        if not self.applies(derived.when):
            return None
        if derived.constant is not None:
            return derived.constant
        if derived.text is not None:
            text = self.filled(derived.text)
            return text if text is None or derived.type == "text" else self._parsed(derived, text)
        if derived.times:
            return self._product(derived.times)
        value = next((value for name in derived.first if (value := self.get(name)) is not None), None)
        return derived.words.get(value.casefold(), value) if derived.words and isinstance(value, str) else value

    def _parsed(self, derived: Derived, text: str) -> Any:
        try:
            return self._read(derived.type, text)
        except BadCell as bad:
            bad.column = places(derived.text or "")[0]
            raise

    def _product(self, names: Sequence[str]) -> Decimal | None:
        product = Fraction(1)
        for name in names:
            factor = self.get(name)
            if factor is None:
                return None
            product *= Fraction(factor)
        return round_to(product, _PRODUCT_DECIMALS).normalize(_EXACT_SUM)


@lru_cache(maxsize=1_000)
def _template(text: str) -> tuple[tuple[str, str | None, str], ...]:
    return tuple((literal, name, spec or "") for literal, name, spec, _ in Formatter().parse(text))


def plain(value: Any) -> str:
    """A value as text: a date as YYYY-MM-DD, an instant in UTC, a decimal in plain notation."""
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return utc_text(value)
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _hash(*parts: str) -> str:
    return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:32]


class _Reading:
    """What both readings of a file do alike: values of a row, its key, its document, its place in it."""

    def __init__(self, layout: Layout, zone: str) -> None:
        self.layout = layout
        self.zone = zone
        profile = layout.profile
        self._notation = Notation(
            profile.decimal_mark,
            profile.thousands_mark,
            profile.date_formats,
            profile.time_formats,
            zone if profile.zone == "tenant" else profile.zone,
        )
        self._occurrences: Counter[bytes] = Counter()
        self._cells: dict[tuple[Type, str], Any] = {}
        self._times: dict[datetime, str] = {}

    def values_of(self, row: TableRow) -> Values:
        return self.values(self.layout.guessed(row.cells) if row.reason else self.layout.texts(row.cells))

    def values(self, texts: Mapping[str, str]) -> Values:
        return Values(self.layout, self._notation, self.zone, texts, self._cells, self._times)

    def row_key(self, texts: Mapping[str, str]) -> str:
        """The hash of what says which charge a row is, and the how many-th of that hash it is in the file."""
        parts = [texts.get(name, "") for name in self.layout.profile.identity]
        key = hashlib.sha256("\x00".join(parts).encode()).digest()[:16]
        self._occurrences[key] += 1
        nth = self._occurrences[key]
        return key.hex() if nth == 1 else f"{key.hex()}-{nth}"

    def document_key(self, values: Values) -> DocumentKey | None:
        """Which document a row belongs to; ``None`` when its cells do not say (the record then says why)."""
        declared = self.layout.profile.document
        if declared is None:
            return None
        try:
            parts = [values.get(name) for name in declared.key]
            version = values.get(declared.version) if declared.version else None
        except BadCell:
            return None
        return None if None in parts else (tuple(map(plain, parts)), version)


class Survey(_Reading):
    """The first reading. Feed it every row; then ask it what the file holds."""

    def __init__(self, layout: Layout, zone: str, *, digests: bool = True) -> None:
        """``digests=False``: nobody asks whether a document's content is the same as before."""
        super().__init__(layout, zone)
        self._digests = digests
        self.rows = 0
        self.documents: dict[DocumentKey, Document] = {}
        self.newest: tuple[TableRow, Values, DocumentKey | None] | None = None
        """The row added last, as it was read: a reading that goes on beside this one reads it once."""

    def add(self, row: TableRow) -> None:
        """Raises :class:`TooManyDocuments`, :class:`~services.ingestion.domain.table.BadTable`."""
        self.rows += 1
        declared = self.layout.profile.document
        if declared is None:
            return
        if row.reason and not row.cells:
            # Without it one of the documents would look whole, and nobody could tell which.
            raise BadTable(f"row {row.number}: {row.reason}", "mend the row: documents are taken with all their lines")
        values = self.values_of(row)
        key = self.document_key(values)
        self.newest = row, values, key
        if key is None:
            return
        document = self.documents.get(key)
        if document is None:
            if len(self.documents) >= DOCUMENTS_MAX:
                raise TooManyDocuments(f"the file holds more than {DOCUMENTS_MAX:,} documents")
            document = self.documents[key] = Document(row.number)
        self._count(document, row, values.texts)

    def _count(self, document: Document, row: TableRow, texts: Mapping[str, str]) -> None:
        if not document.header and not row.reason:
            document.first_row = row.number
            document.header = {name: texts[name] for name in self.layout.header_columns}
        declared = self.layout.profile.document
        stated = texts.get(declared.line, "") if declared and declared.line else ""
        if not stated or stated not in document.stated:
            document.lines += 1
            if stated:
                document.stated.add(stated)
        if not self._digests:
            return
        said = hashlib.sha256("\x00".join(f"{name}\x01{text}" for name, text in sorted(texts.items())).encode())
        document.content = (document.content + int.from_bytes(said.digest(), "big")) % 2**256


@dataclass(slots=True)
class _Drawn:
    """What the second reading gathers of one document."""

    version: int
    found: Document
    rows: int = 0
    digests: set[bytes] = field(default_factory=set)
    """Of the lines that were made. Fewer than there are lines: digest and total of the document are not known."""
    made: int = 0
    """Lines that were made, each row counted."""
    total: Decimal = Decimal(0)
    span: Span | None = None
    """From the earliest start to the latest end of the lines that were made."""


class _Merging(NamedTuple):
    column: str
    """The column of JSON."""
    faults: dict[str, Fault]
    """Where a contradiction goes."""


class Rows(_Reading):
    """The second reading: makes the records. Afterwards :meth:`headers` makes those of the documents."""

    def __init__(self, survey: Survey, told: Told, versions: Mapping[DocumentKey, int] | None) -> None:
        """``versions``: of each document of the survey that does not state its own; ``None``: the survey goes on beside
        this reading (each row is added there first), every such document is version 1, and no lines are digested."""
        super().__init__(survey.layout, survey.zone)
        self._told = told
        self._survey = survey
        self._versions = versions
        self._documents: dict[DocumentKey, _Drawn] = {}
        self._once: dict[str, tuple[int, str]] = {}
        self._behind: dict[str, frozenset[str]] = {}
        self.amounts: dict[str, Decimal] = {}
        """Exact sums of the profile's amount over the rows whose first record was made, by currency."""
        self.covered: Span | None = None
        """From the earliest start to the latest end of the rows that made all their records."""

    def make(self, row: TableRow) -> list[Record]:
        """The records of one row."""
        newest = self._survey.newest
        if newest is not None and newest[0] is row:
            _, values, key = newest
        else:
            values = self.values_of(row)
            key = self.document_key(values)
        texts = values.texts
        document = self._drawn(key) if key else None
        if document:
            document.rows += 1
            values.supply(version=document.version, line=self._line(values, document))
        if self.layout.profile.identity:
            values.supply(key=self.row_key(texts))
        if row.reason:
            return [self._unreadable(row)]
        records = self._records(values, row.number)
        if self.layout.profile.once:
            records = self._said_once(records, values, row, texts)
        if document:
            records = self._agreeing(records, values, document)
        self._account(records, values, document)
        return records

    def headers(self) -> Iterator[Record]:
        """The header of each document, in the order of their first rows."""
        declared = self.layout.profile.document
        if declared is None:
            return
        for drawn in self._documents.values():
            if not drawn.found.header:
                continue  # none of its rows can be read, and each is a reject
            values = self.values(drawn.found.header)
            digested = len(drawn.digests) == drawn.found.lines
            known = digested if self._versions is not None else drawn.made == drawn.found.lines
            values.supply(
                version=drawn.version,
                lines=drawn.found.lines,
                digest=lines_digest(digest.hex() for digest in drawn.digests) if digested else None,
                total=drawn.total if known else None,
                **(dict(zip(("from", "to"), drawn.span, strict=True)) if drawn.span else {}),
            )
            yield self._record(values, declared.header, drawn.found.first_row, {})

    def covers(self) -> Span | None:
        """What a complete file covers; ``None`` when its rows say nothing about that. Never beyond its own word."""
        declared = self.layout.profile.complete
        if declared is None or self.covered is None:
            return None
        start, end = self.covered
        if declared.whole_months:
            # The end is exclusive: one that is a month's first instant belongs to the month before.
            last = max(end - timedelta(microseconds=1), start)
            start = bounds(month_of(local_date(start, self.zone)), self.zone)[0]
            end = bounds(month_of(local_date(last, self.zone)), self.zone)[1]
        return start, min(end, self._told.asserted_at)

    def _drawn(self, key: DocumentKey) -> _Drawn:
        known = self._documents.get(key)
        if known is None:
            version = key[1] if key[1] is not None else self._versions[key] if self._versions is not None else 1
            known = self._documents[key] = _Drawn(version, self._survey.documents[key])
        return known

    def _line(self, values: Values, document: _Drawn) -> str:
        declared = self.layout.profile.document
        assert declared is not None
        return (values.texts.get(declared.line) if declared.line else None) or str(document.rows)

    def _records(self, values: Values, number: int) -> list[Record]:
        records: list[Record] = []
        doubtful: set[str] = set()
        for rule in self.layout.profile.records:
            try:
                if values.applies(rule.when):
                    records.append(self._record(values, rule, number, {}))
            except BadCell as bad:
                # The cell that says which record the row makes cannot be read: one reject says so, not one a rule.
                if bad.column not in doubtful:
                    doubtful.add(bad.column)
                    faults = {bad.column: Fault("type", *_spelled(bad))}
                    records.append(self._record(values, rule, number, faults))
        return records

    def _record(self, values: Values, rule: RecordRule, number: int, faults: dict[str, Fault]) -> Record:
        data: dict[str, Any] = {}
        private = self._private(values, rule, faults)
        for path, dotted, name in self.layout.fields(rule):
            try:
                value = values.get(name)
            except BadCell:
                value = self._read(values, name, dotted, faults)
            if value is None:
                continue
            if len(path) == 1:
                data[dotted] = value
            else:
                _put(data, path, value)
        data = _listed(data)
        for field_name, column in rule.merge.items():
            given = self._read(values, column, field_name, faults) if column in self.layout.at else None
            if isinstance(given, dict):
                self._merge(
                    data.setdefault(field_name, {}),
                    field_name,
                    given,
                    self._defaults(values, rule),
                    _Merging(column, faults),
                )
        if private is not _NOTHING_PRIVATE:
            data |= dict.fromkeys(private.people, _SOMEBODY) | dict.fromkeys(private.notes, _SOMETHING)
        time = self._time(values, rule, faults)
        record_id = self._id(values, rule, number)
        if not faults:
            try:
                model = CATALOGUE[rule.type].model.model_validate(data)
                self._check(model, time, rule, faults)
                if not faults and isinstance(time, datetime):
                    return Made(number, rule.type, record_id, time, model, private)
            except ValidationError as error:
                faults = self._faults(error, rule, data)
        return Spoilt(number, rule.type, record_id, time, data, list(faults.values()), private)

    def _read(self, values: Values, name: str, path: str, faults: dict[str, Fault]) -> Any:
        """A value; of a cell that cannot be read, the cell as it was written (but for a private one), and a fault."""
        try:
            return values.get(name)
        except BadCell as bad:
            column = self.layout.columns[bad.column]
            faults.setdefault(bad.column, Fault(f"data.{path}", *_spelled(bad)))
            text = values.texts.get(bad.column, "")
            return text if bad.column == name and text and not column.private else None

    def _defaults(self, values: Values, rule: RecordRule) -> set[str]:
        """The fields that no cell of the row says: what they have is a default."""
        return {path for path, name in rule.data.items() if not any(map(values.texts.get, self._columns_behind(name)))}

    def _columns_behind(self, name: str) -> frozenset[str]:
        known = self._behind.get(name)
        if known is None:
            known = self._behind[name] = self.layout.profile.columns_behind(name)
        return known

    def _merge(
        self, here: dict[str, Any], path: str, given: Mapping[str, Any], defaults: set[str], told: _Merging
    ) -> None:
        """Add to ``here``, the fields of ``path``, what a cell of JSON holds."""
        for name, value in given.items():
            field = f"{path}.{name}"
            if isinstance(value, dict) and isinstance(here.get(name, {}), dict):
                self._merge(here.setdefault(name, {}), field, value, defaults, told)
            elif name in here and field not in defaults and plain(here[name]) != plain(value):
                reason = f"column {told.column} says {name} too, and something else"
                told.faults.setdefault(field, Fault(f"data.{field}", reason, "Say it in one of the two places."))
            else:
                here[name] = value

    def _faults(self, error: ValidationError, rule: RecordRule, data: dict[str, Any]) -> dict[str, Fault]:
        """What the model finds wrong, one fault for each field, in the file's words."""
        faults = {}
        for detail in error.errors(include_url=False, include_input=False)[:MAX_FAULTS]:
            fault = fault_of({**detail, "loc": ("data", *detail["loc"])}, {"type": rule.type, "data": data}, ())
            field = fault.field.removeprefix("data.")
            faults[field] = Fault(fault.field, self._said(field, fault.reason, rule), fault.fix)
        return faults

    def _said(self, field: str, reason: str, rule: RecordRule) -> str:
        """A reason with the column that it is about."""
        subject = self._subject(field, rule)
        if reason == "is missing":
            return f"{subject} is empty"
        if reason == "is not known here" and subject.startswith("column"):
            return f"{subject} does not go with the row's other columns"
        return f"{subject}{' ' if reason.partition(' ')[0] in _VERBS else ': '}{reason}"

    def _subject(self, field: str, rule: RecordRule) -> str:
        """What a person calls a field: its column, with the place in it if the cell holds more than one value."""
        if field == "data" or any(path.startswith(f"{field}.") for path in rule.data):
            return "the row"
        parts = field.split(".")
        for n in range(len(parts), 0, -1):
            path, place = ".".join(parts[:n]), ".".join(parts[n:])
            name = rule.data.get(path) or rule.merge.get(path)
            if name:
                return f"column {self._column(name)}{f' ({place})' if place else ''}"
        return f"column {field}"

    def _column(self, name: str) -> str:
        """The column that a person would fill in for a value."""
        derived = self.layout.profile.derive.get(name)
        if derived is None or not derived.first:
            return name
        return next((column for column in derived.first if column in self.layout.at), derived.first[0])

    def _private(self, values: Values, rule: RecordRule, faults: dict[str, Fault]) -> Private:
        if not rule.person and not rule.note:
            return _NOTHING_PRIVATE
        people, notes = {}, {}
        for path, columns in rule.person.items():
            name, email = (self._read(values, column, path, faults) for column in columns)
            if name or email:
                people[path] = (name, email)
        for path, column in rule.note.items():
            if text := self._read(values, column, path, faults):
                notes[path] = text
        return Private(people, notes)

    def _time(self, values: Values, rule: RecordRule, faults: dict[str, Fault]) -> datetime | str:
        if rule.time is None:
            return self._told.asserted_at
        try:
            value = values.get(rule.time)
        except BadCell as bad:
            faults[bad.column] = Fault("time", *_spelled(bad))
            return values.texts.get(bad.column, "")
        if isinstance(value, datetime):
            return value
        if value is None:
            faults[rule.time] = Fault("time", f"column {rule.time} is empty", "Fill it in.")
            return ""
        return instant_of(value, self.zone)

    def _id(self, values: Values, rule: RecordRule, number: int) -> str:
        run = f"@{self._told.run}" if rule.run else ""
        try:
            return values.identity(rule.id) + run
        except BadCell:
            # The row's own key cannot be read: its place names it until a person has repaired it.
            return f"{rule.id.partition('/')[0]}/row-{number}@{self._told.run}"

    def _check(self, model: BaseModel, time: datetime | str, rule: RecordRule, faults: dict[str, Fault]) -> None:
        """What the model cannot see: the record's time."""
        if not isinstance(time, datetime):
            return
        if wrong := nonsense(model, time):
            field = wrong.field.removeprefix("data.")
            faults[field] = Fault(wrong.field, self._said(field, wrong.reason, rule), wrong.fix)
        if rule.past and time > self._told.now + AHEAD:
            faults["time"] = Fault("time", f"column {rule.time} lies more than a day ahead", "Correct the date.")

    def _said_once(
        self, records: list[Record], values: Values, row: TableRow, texts: Mapping[str, str]
    ) -> list[Record]:
        """A row that shares with an earlier one what rows may share once, and says something else, is a mistake."""
        columns = self.layout.profile.once
        try:
            key = _hash(*(plain(values.get(name)) for name in columns))
        except BadCell:
            return records  # which says so itself
        said = _hash(*texts.values())  # of the same columns in every row of a file
        first_row, first_said = self._once.setdefault(key, (row.number, said))
        if said == first_said:
            return records
        fault = Fault(
            "",
            f"the row has the same {_and(columns)} as row {first_row}, and says something else",
            f"Keep one of the two rows, or correct the column {columns[-1]} of one, and send the file again.",
        )
        return [_spoilt(record, fault) for record in records]

    def _agreeing(self, records: list[Record], values: Values, document: _Drawn) -> list[Record]:
        """Rows of one document repeat its header; a line whose header says something else is a person's to judge."""
        differing = [
            name
            for name, text in document.found.header.items()
            if values.texts[name] != text and self._differs(values, name, document)
        ]
        if not differing:
            return records
        fault = Fault(
            "",
            f"column {differing[0]} differs from row {document.found.first_row} of the same document",
            "Make the header's columns equal in all rows of a document, or give the row another document number.",
        )
        return [_spoilt(record, fault) for record in records]

    def _differs(self, values: Values, name: str, document: _Drawn) -> bool:
        try:
            return bool(values.get(name) != self.values(document.found.header).get(name))
        except BadCell:
            return True

    def _account(self, records: Sequence[Record], values: Values, document: _Drawn | None) -> None:
        profile = self.layout.profile
        line = records[0] if records else None
        if isinstance(line, Made):
            if profile.amount:
                currency, amount = values.get(profile.amount.currency), values.get(profile.amount.value)
                self.amounts[currency] = _EXACT_SUM.add(self.amounts.get(currency, Decimal(0)), amount)
                if document:
                    document.total = _EXACT_SUM.add(document.total, amount)
            if document:
                document.made += 1
                self._widen(document, values)
            if document and self._versions is not None:
                said = line.data.model_dump(mode="json", exclude_defaults=True)
                document.digests.add(hashlib.sha256(canonical(said)).digest())
        if profile.complete and all(isinstance(record, Made) for record in records):
            self._cover(values, profile.complete)

    def _widen(self, document: _Drawn, values: Values) -> None:
        declared = self.layout.profile.document
        if declared is None or declared.span is None:
            return
        start, end = (values.get(name) for name in declared.span)
        first, last = document.span or (start, end)
        document.span = min(first, start), max(last, end)

    def _cover(self, values: Values, complete: Complete) -> None:
        try:
            start = values.get(complete.start)
            end = next((v for name in complete.end if (v := values.get(name)) is not None), start)
        except BadCell:
            return  # a column of the header alone, which says so itself
        first, last = self.covered or (start, end)
        self.covered = min(first, start), max(last, end)

    def _unreadable(self, row: TableRow) -> Spoilt:
        rule = self.layout.profile.records[0]
        record_id = f"{rule.id.partition('/')[0]}/row-{row.number}@{self._told.run}"
        return Spoilt(
            row.number, rule.type, record_id, self._told.asserted_at, {}, [Fault("", row.reason, row.fix)], Private()
        )


def _spoilt(record: Record, fault: Fault) -> Spoilt:
    if isinstance(record, Spoilt):
        return record
    data = record.data.model_dump(mode="json", exclude_defaults=True)
    return Spoilt(record.row, record.type, record.record_id, record.time, data, [fault], record.private)


def _put(data: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for parent in path[:-1]:
        data = data.setdefault(parent, {})
    data[path[-1]] = value


_NOTHING_PRIVATE = Private()


def _listed(data: dict[str, Any]) -> Any:
    """Nested dictionaries whose keys are 0, 1, ... as lists."""
    if data and all(key.isdigit() for key in data):
        return [_listed(value) if isinstance(value, dict) else value for _, value in sorted(data.items(), key=_place)]
    for key, value in data.items():
        if isinstance(value, dict):
            data[key] = _listed(value)
    return data


def _place(item: tuple[str, Any]) -> int:
    return int(item[0])


def _spelled(bad: BadCell) -> tuple[str, str]:
    return f"column {bad.column} {bad.reason}", f"{bad.fix[0].upper()}{bad.fix[1:]}."
