"""Rows of a million: whoever has read one row of a shape knows what all rows of that shape become.

A *shape* is what a row says besides its identifiers, figures and times. The first row of a shape is read by the profile
itself, with probes in the place of these, and where the probes turn up in the record, the cells of every other row go.
Whatever is not plain (blanks around a cell, a figure with an exponent, a document whose rows disagree) has no shape and
is read by the profile. A test holds both ways against each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from services.cli.reconcile.sheets import NO_LIMIT, SAID_AT, TENANT, Record, Sheet
from services.ingestion.domain.cells import BadCell, Notation, parse
from services.ingestion.domain.reader import Made, fields_of
from services.ingestion.domain.rows import Layout, Rows, Survey, Told
from services.ingestion.domain.table import TableRow
from shared.events.base import utc_text
from shared.events.contracts import FlatPrice
from shared.kernel.canonical import decimal_text
from shared.kernel.periods import Period
from shared.reconciliation.bulk import is_plain

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
        self._rest = _cells_at([n for n in sorted(at.values()) if n not in free])
        self._words_of, self._figures_of = _cells_at(self.words), _cells_at(self.figures)
        self._times_of = _cells_at(self.times)
        self.named = _cells_or_nothing([at.get(name) for name in _NAMED[kind]])
        """The cells that name a row: see :data:`_NAMED`. What the file has no column for is empty."""
        self.figures_of = _cells_at([at[name] for name in _COMPARED[kind]])
        """The figures that are compared, as they stand."""
        self._shapes: dict[Any, Shape | None] = {}
        self._classes: dict[str, int] = {}
        self._values: dict[str, Decimal] = {}
        self._instants: dict[str, datetime | None] = {"": None}
        self._good: set[str] = set()
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

    def shape(self, cells: list[str]) -> Shape | None:
        """The shape of a row; ``None``: it has none, and is read by the profile."""
        # Half of all time goes here: what could loop in Python loops in C.
        words = self._words_of(cells)
        if not self._good.issuperset(words) and not all(map(self._is_good, words)):
            return None
        try:
            classes = tuple(map(self._classes.__getitem__, self._figures_of(cells)))
        except KeyError:
            classes = tuple(self.number(text)[0] for text in self._figures_of(cells))
        filled = "" in words and tuple(map(bool, words))
        key = (self._rest(cells), classes, filled, tuple(map(bool, self._times_of(cells))))
        try:
            return self._shapes[key]
        except KeyError:
            shape = self._shapes[key] = None if _NOT_PLAIN in classes or not self.plain else self._read(cells)
            return shape

    def _is_good(self, word: str) -> bool:
        quoted = len(word) + 2 * (word.count("%") + word.count("/"))
        if quoted > _WORD_MAX or word != word.strip() or not (word == "" or word.isprintable()):
            return False
        if word == "*" or "⟦" in word:
            return False
        if len(self._good) > _HELD:
            self._good.clear()
        self._good.add(word)
        return True

    def number(self, text: str) -> tuple[int, Decimal]:
        """(class, value) of a figure: 0 empty, 1 positive, -1 negative, 3 zero, 2 not plain."""
        if text not in self._values:
            if len(self._values) > _HELD:
                self._values.clear()
                self._classes.clear()
            value = Decimal(text) if _FIGURE.fullmatch(text) else _ZERO
            known = 0 if text == "" else 1 if value > 0 else -1 if value < 0 else 3
            self._classes[text] = known if not text or _FIGURE.fullmatch(text) else _NOT_PLAIN
            self._values[text] = value
        return self._classes[text], self._values[text]

    def instant(self, text: str) -> datetime | None:
        """A time; ``None`` for a cell that is empty or none."""
        if text not in self._instants:
            if len(self._instants) > _HELD:
                self._instants.clear()
            try:
                self._instants[text] = parse("instant", text, self._notation) if text else None
            except BadCell:
                self._instants[text] = None
        return self._instants[text]

    def _read(self, cells: list[str]) -> Shape | None:
        """The shape of a row that is the first of it."""
        probe, probes = list(cells), {}
        for n in self.words:
            if cells[n]:
                probe[n] = f"⟦{n}⟧"
                probes[probe[n]] = n
        for n in self.figures:
            kind, _ = self.number(cells[n])
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
        fields = fields_of(record, tenant=TENANT, source=self.sheet.source, asserted_at=SAID_AT)
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

    def timed(self, shape: Shape, cells: list[str]) -> bool:
        """Whether the times of a row are times, in order."""
        if shape.at is None:
            return True
        at = self.instant(cells[shape.at])
        until = None if shape.until is None else self.instant(cells[shape.until])
        return at is not None and (shape.until is None or (until is not None and at < until))

    def record(self, shape: Shape, cells: list[str], row: int) -> Record:
        """The record of a row that is :meth:`timed`."""
        data = _copied(shape.data)
        for path, n in shape.words:
            _put(data, path, cells[n])
        for path, n in shape.figures:
            _put(data, path, decimal_text(self.value(cells[n])))
        if shape.until is not None:
            data["until"] = self._time(cells[shape.until])
        return {
            "type": shape.type,
            "id": _PLACE.sub(lambda place: self._quoted(int(place[1]), cells), shape.record_id),
            "source": self.sheet.source,
            "tenant": TENANT,
            "time": shape.time if shape.at is None else self._time(cells[shape.at]),
            "assertedat": utc_text(SAID_AT),
            "run": 1,
            "streamversion": row,
            "data": data,
        }

    def _time(self, cell: str) -> str:
        at = self.instant(cell)
        assert at is not None
        return utc_text(at)

    def _quoted(self, n: int, cells: list[str]) -> str:
        """A cell as it stands in an id."""
        return self._time(cells[n]) if n in self.times else cells[n].replace("%", "%25").replace("/", "%2F")

    def value(self, text: str) -> Decimal:
        """A figure of a row that has a shape; an empty one is 0."""
        try:
            return self._values[text]
        except KeyError:
            return self.number(text)[1]

    def said(self, figure: int | Decimal, cells: list[str]) -> Decimal:
        """A figure of the shape, or of the cell that says it."""
        return figure if isinstance(figure, Decimal) else self.value(cells[figure])

    def cell(self, cells: list[str], name: str) -> str | None:
        """A cell by its column's name; ``None``: empty, or there is no such column."""
        n = self.layout.at.get(name)
        return None if n is None else cells[n] or None

    def header_of(self, cells: list[str]) -> tuple[str, ...]:
        """The cells of a document's row that all its rows share."""
        return self._header_cells(cells)


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
