"""Rows of a million: whoever has read one row of a shape knows what all rows of that shape become.

A *shape* is what a row says besides its identifiers, figures and times. The first row of a shape is read by the profile
itself, with probes in the place of these, and where the probes turn up in the record, the cells of every other row go.
Whatever is not plain (blanks around a cell, a figure with an exponent, a document whose rows disagree) has no shape and
is read by the profile. A test holds both ways against each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from operator import itemgetter
from typing import Any, Literal, NamedTuple, TypeVar

from services.cli.reconcile.sheets import NO_LIMIT, SAID_AT, TENANT, Record, Sheet
from services.ingestion.domain.cells import BadCell, Notation, parse
from services.ingestion.domain.reader import Made, fields_of
from services.ingestion.domain.rows import Layout, Rows, Survey, Told
from services.ingestion.domain.table import TableRow
from shared.events.base import utc_text
from shared.events.contracts import FlatPrice
from shared.kernel.canonical import decimal_text
from shared.kernel.periods import Period
from shared.reconciliation.bulk import Plain, is_plain

_ZERO = Decimal(0)
_NOT_PLAIN = 2
_HELD = 200_000
"""Cells whose meaning is kept at hand."""

_FIGURE = re.compile(r"-?\d{1,15}(?:\.\d{1,12})?", re.ASCII)
_WORD_MAX, _TIME_MAX = 40, 27
_ID_WHOLE_MAX = 180
"""As the profile: a longer id is hashed."""
_FIGURES = {
    "contracts": ("price", "included", "recurring quantity", "recurring price"),
    "usage": ("quantity",),
    "invoices": ("quantity", "unit price", "amount", "total"),
}
_WORDS = {
    "contracts": ("contract", "line", "client", "product"),
    "usage": ("account", "account name", "sku", "sku name", "event"),
    "invoices": ("invoice", "client", "line", "product", "contract", "contract line"),
}
_NAMED = {
    "contracts": ("contract", "line"),
    "usage": ("account", "sku"),
    "invoices": ("invoice", "line", "contract", "contract line"),
}
_COMPARED = {"contracts": (), "usage": ("quantity",), "invoices": ("quantity", "unit price", "amount")}
_TIMES = {"usage": ("at", "until")}
QUICK = tuple(_FIGURES)
"""The kinds of which there are millions."""
_FIRST_TIME = datetime.fromisoformat("2020-01-02T03:04:05+00:00")
"""What stands in the place of times while a shape is read: one an hour after the other."""

Put = tuple[str, int]
"""Where in a record a cell goes: the path of a field, and the position of the cell."""


class Agreed(NamedTuple):
    """Plain terms. The position of a figure, or the figure itself where no cell says it."""

    model: Literal["flat", "unit"]
    price: int | Decimal
    included: int | Decimal
    currency: str
    effective_from: date
    effective_to: date | None


class Posted(NamedTuple):
    """A plain invoice line: nothing but quantity, price and amount, of the whole service period of its document."""

    period: Period
    currency: str
    total: int | None
    """Position of the document's total."""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What all rows of a shape have in common."""

    type: str
    data: Mapping[str, Any]
    """Of the record: what the shape itself says."""
    words: tuple[Put, ...]
    figures: tuple[Put, ...]
    until: int | None
    """Position of the end of the bucket."""
    at: int | None
    """Position of the record's time; ``None``: it is the same in all rows of the shape."""
    time: str
    record_id: str
    """With ``⟦n⟧`` in the place of cell n."""
    header: Shape | None = None
    """Of a document's line: the record of the document."""
    agreed: Agreed | None = None
    """Of a contract line: its terms, if they are plain."""
    posted: Posted | None = None
    """Of an invoice line: the month, if it is plain."""
    committed: bool = False
    """Of a contract line: a commitment over several."""

    def at_of(self, path: str) -> int | None:
        """The position of the cell that a field is made of; ``None``: the shape itself says what it is."""
        return next((n for name, n in (*self.words, *self.figures) if name == path), None)


_K = TypeVar("_K")
_V = TypeVar("_V")


class Held(dict[_K, _V]):
    """What cells mean, worked out once and kept at hand: a look-up that finds it costs no call."""

    def __init__(self, meaning: Callable[[_K], _V]) -> None:
        super().__init__()
        self._meaning = meaning

    def __missing__(self, cell: _K) -> _V:
        if len(self) > _HELD:
            self.clear()
        self[cell] = found = self._meaning(cell)
        return found


class Quick:
    """The rows of one file whose kind may have millions."""

    def __init__(self, of: Sheet, header: Sequence[str], zone: str) -> None:
        self.sheet, self.zone = of, zone
        self.layout = Layout(of.profile, header)
        at = self.layout.at
        kind = of.kind
        self.words = tuple(at[name] for name in _WORDS[kind] if name in at)
        self.figures = tuple(at[name] for name in _FIGURES[kind] if name in at)
        self.times = tuple(at[name] for name in _TIMES.get(kind, ()) if name in at)
        free = {*self.words, *self.figures, *self.times}
        self._header_cells = _cells_at([at[name] for name in self.layout.header_columns])
        self._rest = [n for n in sorted(at.values()) if n not in free]
        self.named = _cells_or_nothing([at.get(name) for name in _NAMED[kind]])
        """The cells that name a row: see :data:`_NAMED`. What the file has no column for is empty."""
        self.figures_of = _cells_at([at[name] for name in _COMPARED[kind]])
        """The figures that are compared, as they stand."""
        self.values: Held[str, Decimal] = Held(_value)
        """A figure of a row that has a shape; an empty one is 0."""
        self.texts: Held[str, str] = Held(_text)
        """The same as it is written."""
        self.instants: Held[str, datetime | None] = Held(self._instant)
        """A time; ``None`` for a cell that is empty or none."""
        self.plains: dict[tuple[Shape, Shape, str, str], Plain | None] = {}
        """(contract line's shape, invoice line's shape, price, included) -> what the contract line says, if it is plain
        in the one period that is drawn."""
        self._shapes: dict[Any, Shape | None] = {}
        self._word_kinds: Held[str, int] = Held(_word_kind)
        self._figure_kinds: Held[str, int] = Held(_figure_kind)
        self._span_kinds: Held[tuple[str, ...], Any] = Held(self._span_kind)
        profile = of.profile
        zone_of = zone if profile.zone == "tenant" else profile.zone
        self._notation = Notation(date_formats=profile.date_formats, zone=zone_of)
        self.plain = self._is_plain()

    def _is_plain(self) -> bool:
        """Whether rows of this profile have shapes at all."""
        profile = self.sheet.profile
        document = profile.document
        return (
            profile.name == self.sheet.kind
            and not (profile.identity or profile.thousands_mark or profile.empty)
            and profile.decimal_mark == "."
            and (document is None or document.span is None)
        )

    def shapes(self, rows: Sequence[list[str]]) -> list[Shape | None]:
        """The shape of each row; ``None``: it has none, and is read by the profile."""
        if not rows or not self.plain:
            return [None] * len(rows)
        width = self.layout.width
        if any(map(width.__ne__, map(len, rows))):
            whole = iter(self.shapes([cells for cells in rows if len(cells) == width]))
            return [next(whole) if len(cells) == width else None for cells in rows]
        # Column by column: what would loop in Python loops in C.
        columns = list(zip(*rows, strict=True))
        parts: list[Iterable[Any]] = [columns[n] for n in self._rest]
        parts += [map(self._word_kinds.__getitem__, columns[n]) for n in self.words]
        parts += [map(self._figure_kinds.__getitem__, columns[n]) for n in self.figures]
        if self.times:
            spans = zip(*(columns[n] for n in self.times), strict=True)
            parts.append(map(self._span_kinds.__getitem__, spans))
        keys, known = list(zip(*parts, strict=True)), self._shapes
        try:
            return list(map(known.__getitem__, keys))
        except KeyError:
            for key, cells in zip(keys, rows, strict=True):
                if key not in known:
                    known[key] = None if _NOT_PLAIN in key else self._read(cells)
            return list(map(known.__getitem__, keys))

    def shape(self, cells: list[str]) -> Shape | None:
        """The shape of one row."""
        return self.shapes([cells])[0]

    def _instant(self, text: str) -> datetime | None:
        try:
            return parse("instant", text, self._notation) if text else None
        except BadCell:
            return None

    def _span_kind(self, cells: tuple[str, ...]) -> Any:
        """Which of the times of a row there are; not plain: one of them is none, or they are out of order."""
        times = [self.instants[cell] for cell in cells if cell]
        if None in times or sorted(set(times)) != times:  # type: ignore[type-var]
            return _NOT_PLAIN
        return tuple(map(bool, cells))

    def _read(self, cells: list[str]) -> Shape | None:
        """The shape of a row that is the first of it."""
        probe, probes = list(cells), {}
        for n in self.words:
            if cells[n]:
                probe[n] = f"⟦{n}⟧"
                probes[probe[n]] = n
        for n in self.figures:
            kind = self._figure_kinds[cells[n]]
            if kind in (1, -1):
                probe[n] = f"{'-' if kind < 0 else ''}{1_000 + n}.125"
                probes[decimal_text(Decimal(probe[n]))] = n
        for place, n in enumerate(self.times):
            if cells[n]:
                probe[n] = utc_text(_FIRST_TIME + timedelta(hours=place))
                probes[probe[n]] = n
        survey = Survey(self.layout, self.zone, digests=False)
        rows = Rows(survey, Told(self.zone, NO_LIMIT, 1, NO_LIMIT), None)
        row = TableRow(2, probe)
        survey.add(row)
        made = [*rows.make(row), *rows.headers()]
        wanted = 2 if self.sheet.profile.document else 1
        if len(made) != wanted or not all(isinstance(one, Made) for one in made):
            return None
        header = self._shaped(made[1], probes, None) if wanted == 2 else None
        return self._shaped(made[0], probes, header)

    def _shaped(self, record: Any, probes: Mapping[str, int], header: Shape | None) -> Shape | None:
        fields = fields_of(record, tenant=TENANT, source=self.sheet.source, asserted_at=SAID_AT, run=self.sheet.run)
        found: dict[str, int] = {}
        data = _without(fields["data"], probes, "", found)
        record_id = fields["id"]
        for text, n in probes.items():
            record_id = record_id.replace(text, f"⟦{n}⟧")
        places = {int(n) for n in _PLACE.findall(record_id)}
        longest = sum(_TIME_MAX if n in self.times else _WORD_MAX for n in places)
        if len(record_id) + longest > _ID_WHOLE_MAX + 3 * len(places):
            return None
        until = found.pop("until", None)
        figures = set(self.figures)
        return Shape(
            type=record.type,
            data=data,
            words=tuple((path, n) for path, n in found.items() if n not in figures),
            figures=tuple((path, n) for path, n in found.items() if n in figures),
            until=until,
            at=probes.get(fields["time"]),
            time=fields["time"],
            record_id=record_id,
            header=header,
            agreed=_agreed(record.data, found),
            posted=None if header is None else _posted(record.data, header),
            committed="scope" in data.get("terms", {}),
        )

    def record(self, shape: Shape, cells: list[str], row: int) -> Record:
        """The record of a row of a shape."""
        data = _copied(shape.data)
        for path, n in shape.words:
            _put(data, path, cells[n])
        for path, n in shape.figures:
            _put(data, path, self.texts[cells[n]])
        if shape.until is not None:
            data["until"] = self._time(cells[shape.until])
        return {
            "type": shape.type,
            "id": _PLACE.sub(lambda place: self._quoted(int(place[1]), cells), shape.record_id),
            "source": self.sheet.source,
            "tenant": TENANT,
            "time": shape.time if shape.at is None else self._time(cells[shape.at]),
            "assertedat": utc_text(SAID_AT),
            "run": self.sheet.run,
            "streamversion": row,
            "data": data,
        }

    def _time(self, cell: str) -> str:
        at = self.instants[cell]
        assert at is not None
        return utc_text(at)

    def _quoted(self, n: int, cells: list[str]) -> str:
        """A cell as it stands in an id."""
        return self._time(cells[n]) if n in self.times else cells[n].replace("%", "%25").replace("/", "%2F")

    def said(self, figure: int | Decimal, cells: list[str]) -> Decimal:
        """A figure of the shape, or of the cell that says it."""
        return figure if isinstance(figure, Decimal) else self.values[cells[figure]]

    def cell(self, cells: list[str], name: str) -> str | None:
        """A cell by its column's name; ``None``: empty, or there is no such column."""
        n = self.layout.at.get(name)
        return None if n is None else cells[n] or None

    def header_of(self, cells: list[str]) -> tuple[str, ...]:
        """The cells of a document's row that all its rows share."""
        return self._header_cells(cells)


def _value(text: str) -> Decimal:
    return Decimal(text) if text else _ZERO


def _text(text: str) -> str:
    return text if text.isdigit() and text[0] != "0" else decimal_text(_value(text))


def _figure_kind(text: str) -> int:
    """0 empty, 1 positive, -1 negative, 3 zero, 2 not plain."""
    if not text:
        return 0
    if not _FIGURE.fullmatch(text):
        return _NOT_PLAIN
    if not text.strip("-0."):
        return 3
    return -1 if text[0] == "-" else 1


def _word_kind(word: str) -> int:
    """0 empty, 1 plain, 2 not plain."""
    if not word:
        return 0
    quoted = len(word) + 2 * (word.count("%") + word.count("/"))
    plain = quoted <= _WORD_MAX and word == word.strip() and word.isprintable() and word != "*" and "⟦" not in word
    return 1 if plain else _NOT_PLAIN


_PLACE = re.compile(r"⟦(\d+)⟧")


def _agreed(model: Any, found: Mapping[str, int]) -> Agreed | None:
    """Of a contract line whose terms are plain."""
    terms = getattr(model, "terms", None)
    if terms is None or not is_plain(terms):
        return None
    flat = isinstance(terms.price, FlatPrice)
    price = terms.price.amount if flat else terms.price.unit_amount
    path = "terms.price.amount" if flat else "terms.price.unit_amount"
    return Agreed(
        "flat" if flat else "unit",
        found.get(path, price),
        found.get("terms.included", terms.included),
        model.currency,
        model.effective_from,
        model.effective_to,
    )


_PLAIN_LINE = {"invoice", "line", "product", "contract", "contract_line", "quantity", "unit_price", "amount"}
_PLAIN_HEADER = {"invoice", "client", "issued_on", "due_on", "period_from", "period_to", "currency", "lines", "total"}


def _posted(model: Any, header: Shape) -> Posted | None:
    """Of an invoice line that says nothing but what it bills, of a document that says nothing but whom."""
    said = {*header.data, *(path for path, _ in (*header.words, *header.figures))}
    if not (model.model_dump(exclude_defaults=True).keys() <= _PLAIN_LINE and said <= _PLAIN_HEADER):
        return None
    if "total" in header.data:
        return None  # a total of nothing, that no row's cell says
    start, end = (date.fromisoformat(header.data[name]) for name in ("period_from", "period_to"))
    return Posted(Period(start, end), header.data["currency"], header.at_of("total"))


def _cells_at(positions: Sequence[int]) -> Callable[[list[str]], tuple[str, ...]]:
    """The cells at some positions, always as a tuple."""
    if not positions:
        return lambda _: ()
    if len(positions) == 1:
        only = positions[0]
        return lambda cells: (cells[only],)
    return itemgetter(*positions)


def _cells_or_nothing(positions: Sequence[int | None]) -> Callable[[list[str]], tuple[str, ...]]:
    known = [n for n in positions if n is not None]
    if len(known) == len(positions):
        return _cells_at(known)
    return lambda cells: tuple("" if n is None else cells[n] for n in positions)


def _without(value: Any, probes: Mapping[str, int], path: str, found: dict[str, int]) -> Any:
    """``value`` less its probes, which go into ``found`` under their paths."""
    if not isinstance(value, dict):
        return value
    kept = {}
    for name, inner in value.items():
        below = f"{path}.{name}" if path else name
        if isinstance(inner, str) and inner in probes:
            found[below] = probes[inner]
        else:
            kept[name] = _without(inner, probes, below, found)
    return kept


def _copied(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _copied(value) if isinstance(value, dict) else value for name, value in data.items()}


def _put(data: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
    data[last] = value
