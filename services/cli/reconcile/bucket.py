"""One bucket of clients: plain lines are decided as they are read, all others go through the one comparator.

What a row says is known from its shape (``quick``). A group whose sides are one plain contract line, plain usage and
one invoice line is held against itself by :mod:`shared.reconciliation.bulk`; whatever that does not settle becomes
records, and :class:`~shared.reconciliation.world.World` draws it, as it draws everything elsewhere.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from services.cli.reconcile import spill
from services.cli.reconcile.quick import Held, Quick, Shape
from services.cli.reconcile.sheets import NO_LIMIT, SAID_AT, TENANT, Record, Rejected, Sheet, rejected
from services.ingestion.domain.reader import Made, fields_of
from services.ingestion.domain.rows import Record as RowRecord
from services.ingestion.domain.rows import Rows, Survey, Told
from shared.kernel.periods import Period, bounds
from shared.reconciliation import bulk
from shared.reconciliation.facts import Fact, extract
from shared.reconciliation.inputs import Unmapped
from shared.reconciliation.verdict import Verdict
from shared.reconciliation.world import Group, World

Row = list[str]
Shares = tuple[tuple[str, Decimal], ...]
_ONE, ZERO = Decimal(1), Decimal(0)
_UNKNOWN = Decimal("NaN")
_NOWHERE: Shares = (("", _ONE),)
"""Where usage of a sku that nobody decided goes: no product."""
_AMOUNT = 2
"""Of the figures of an invoice line."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What every bucket needs of the whole."""

    folder: Path
    sheets: Mapping[int, Sheet]
    laid: Mapping[int, spill.Laid]
    period: Period
    zone: str
    facts: tuple[Fact, ...]
    """Products, sku mappings, feeds, calendar, settings, and of strangers' usage one slot a meter."""
    clients: Mapping[str, tuple[Fact, ...]]
    """Client -> its own facts of the smaller files: master data, account mappings, charges, time."""
    zones: Mapping[str, str]
    """Client -> time zone, where a file says one."""
    accounts: Mapping[tuple[str, str], Shares]
    """(source, account) -> the clients that it is mapped to, with shares."""
    skus: Mapping[tuple[str, str], Shares]
    """(source, sku) -> products, with shares."""
    special: frozenset[str]
    """Products that are never plain: bundles, their parts, and those whose vendor's cost is known."""
    touched: frozenset[tuple[str, str]]
    """(client, product) of charges and time."""


@dataclass(slots=True)
class Found:
    """What some buckets come to."""

    verdicts: list[tuple[Group, Verdict]] = field(default_factory=list)
    """By the comparator."""
    settled: dict[str, list[bulk.Settled]] = field(default_factory=lambda: defaultdict(list))
    """Client -> what was settled at once."""
    identifiers: dict[Unmapped, str | None] = field(default_factory=dict)
    """Skus that nobody decided, with their least name."""
    rejected: list[Rejected] = field(default_factory=list)


class _Line(NamedTuple):
    """A row that has a shape."""

    sheet: int
    cells: Row
    shape: Shape


class _Sides:
    """The rows of one client and product."""

    __slots__ = ("agreed", "billed", "slow", "used")

    def __init__(self) -> None:
        self.agreed: list[_Line] = []
        self.used: list[_Line] = []
        self.billed: list[_Line] = []
        self.slow = False


@dataclass(slots=True)
class _Document:
    """A posted document, in the order of its rows."""

    sheet: int
    client: str
    header: tuple[str, ...]
    rows: list[_Line] = field(default_factory=list)
    raw: list[Row] = field(default_factory=list)
    """Rows without a shape."""
    odd: bool = False
    """Its rows disagree, or one of them is not plain: the profile reads it whole."""


class Bucket:
    """Reads and draws some buckets. ``quicks`` stay with the process: shapes are read once."""

    def __init__(self, shared: Shared, quicks: Mapping[int, Quick], buckets: Sequence[int]) -> None:
        self._shared, self._quicks, self._buckets = shared, quicks, frozenset(buckets)
        self._sides: dict[str, dict[str, _Sides]] = defaultdict(lambda: defaultdict(_Sides))
        self._documents: dict[tuple[int, str], _Document] = {}
        self._odd: list[Record] = []
        """Records of rows without a shape."""
        self._world: World | None = None
        self._fed: set[str] = set()
        self._whole: set[str] = set()
        """Clients with a commitment over several lines: nothing of theirs is settled at once."""
        self.found = Found()

    def draw(self) -> Found:
        for number, sheet in self._shared.sheets.items():
            read = {"contracts": self._contracts, "usage": self._usage, "invoices": self._invoices}[sheet.kind]
            read(number, self._quicks[number], self._rows(number))
        self._settle()
        return self.found

    def _rows(self, number: int) -> list[Row]:
        of = self._shared.sheets[number]
        return spill.rows(self._shared.folder, self._shared.laid[number], of.profile.delimiter, sorted(self._buckets))

    def _owned(self, client: str) -> bool:
        return spill.bucket_of(client) in self._buckets

    # --- reading ---------------------------------------------------------------------------------------------------
    def _contracts(self, number: int, quick: Quick, rows: Sequence[Row]) -> None:
        at, sides, odd = quick.layout.at, self._sides, []
        client, product = at["client"], at["product"]
        shapes = quick.shapes(rows)
        names = [quick.named(cells) for cells, shape in zip(rows, shapes, strict=True) if shape is not None]
        # A line of several versions is for the comparator.
        again = {name for name, n in Counter(names).items() if n > 1} if len(set(names)) < len(names) else ()
        for cells, shape in zip(rows, shapes, strict=True):
            if shape is None or (again and quick.named(cells) in again):
                odd.append(cells)
            else:
                sides[cells[client]][cells[product]].agreed.append(_Line(number, cells, shape))
                if shape.committed:
                    self._whole.add(cells[client])
        self._read_whole(number, quick, odd)

    def _usage(self, number: int, quick: Quick, rows: Sequence[Row]) -> None:
        at, sides, odd = quick.layout.at, self._sides, []
        account_at, sku_at, source = at["account"], at["sku"], quick.sheet.source
        skus = self._shared.skus
        homes: Held[str, list[tuple[dict[str, _Sides], bool]]] = Held(
            lambda account: [
                (sides[client], share == _ONE) for client, share in self._shared.accounts.get((source, account), ())
            ]
        )
        for cells, shape in zip(rows, quick.shapes(rows), strict=True):
            if shape is None:
                odd.append(cells)
                continue
            products = skus.get((source, cells[sku_at]))
            if products is None:
                self._undecided(source, cells[sku_at], quick.cell(cells, "sku name"))
                products = _NOWHERE
            line = _Line(number, cells, shape)
            for of_client, whole in homes[cells[account_at]]:
                for product, share in products:
                    one = of_client[product]
                    one.used.append(line)
                    if not (whole and product and share == _ONE):
                        one.slow = True
        self._read_whole(number, quick, odd)

    def _undecided(self, source: str, sku: str, name: str | None) -> None:
        key = Unmapped("sku", source, sku)
        before = self.found.identifiers.get(key)
        self.found.identifiers[key] = min((one for one in (before, name) if one), default=None)

    def _invoices(self, number: int, quick: Quick, rows: Sequence[Row]) -> None:
        at, sides, documents = quick.layout.at, self._sides, self._documents
        invoice_at, client_at, product_at = at["invoice"], at["client"], at["product"]
        line_at = at.get("line")
        for cells, shape in zip(rows, quick.shapes(rows), strict=True):
            key = (number, cells[invoice_at] if len(cells) > invoice_at else "")
            document = documents.get(key)
            if document is None:
                client = cells[client_at] if len(cells) > client_at else ""
                document = documents[key] = _Document(number, client, quick.header_of(cells) if shape else ())
            if shape is None:
                document.raw.append(cells)
                document.odd = True
                continue
            line = _Line(number, cells, shape)
            document.rows.append(line)
            if line_at is None or not cells[line_at] or quick.header_of(cells) != document.header:
                document.odd = True
            sides[document.client][cells[product_at]].billed.append(line)

    def _read_whole(self, number: int, quick: Quick, rows: Sequence[Row]) -> None:
        """Rows without a shape, by the profile."""
        for record in judged(quick, self._shared.laid[number], rows):
            if isinstance(record, Made):
                fields = fields_of(
                    record, tenant=TENANT, source=quick.sheet.source, asserted_at=SAID_AT, run=quick.sheet.run
                )
                self._odd.append(fields)
                self._mark(fields)
            else:
                self.found.rejected += rejected(quick.sheet, record)

    def _mark(self, fields: Record) -> None:
        """No group that a record of an odd row concerns is settled at once."""
        data = fields["data"]
        if fields["type"] == "usage.metered.v1":
            products = self._shared.skus.get((fields["source"], data["sku"]))
            if products is None:
                self._undecided(fields["source"], data["sku"], data.get("sku_name"))
            for client, _ in self._shared.accounts.get((fields["source"], data["account"]), ()):
                for product, _ in _NOWHERE if products is None else products:
                    self._sides[client][product].slow = True
        elif "client" in data and "product" in data:
            self._sides[data["client"]][data["product"]].slow = True
            if "scope" in data.get("terms", {}):
                self._whole.add(data["client"])

    # --- drawing ---------------------------------------------------------------------------------------------------
    def _settle(self) -> None:
        """What is plain is settled; the rest is drawn."""
        documents: dict[str, list[_Document]] = defaultdict(list)
        for document in self._documents.values():
            documents[document.client].append(document)
        for client, product in self._shared.touched:
            if self._owned(client):
                self._sides[client][product].slow = True
        for client in sorted({*self._sides, *documents}):
            if self._owned(client):
                self._client(client, self._sides.get(client, {}), documents.get(client, []))
        if self._world is not None:
            for fields in self._odd:
                self._put(fields)
            for group, verdict in self._world.verdicts_of(TENANT, (self._shared.period,)).items():
                if group.client in self._fed:
                    self.found.verdicts.append((group, verdict))

    def _client(self, client: str, sides: Mapping[str, _Sides], documents: Sequence[_Document]) -> None:
        whole = client in self._whole or not all(self._divisible(document) for document in documents)
        settled = {} if whole else self._settled(client, sides)
        left = sides.keys() - settled.keys()
        if left and not whole:
            # A document that has no line among what is drawn would not be there: one of its lines is drawn too.
            for document in documents:
                if document.rows and left.isdisjoint(map(self._product, document.rows)):
                    left.add(self._product(document.rows[0]))
        if left or whole:
            self._feed(client, sides, left, documents, whole)
        self.found.settled[client] = [settled[product] for product in sorted(settled.keys() - left)]

    def _product(self, line: _Line) -> str:
        return line.cells[self._quicks[line.sheet].layout.at["product"]]

    def _divisible(self, document: _Document) -> bool:
        """Whether some lines of a document may be drawn without the others: it is plain, and adds up."""
        if document.odd:
            return False
        quick, rows = self._quicks[document.sheet], document.rows
        place = quick.layout.at["line"]
        if any(line.shape.posted is None for line in rows) or len({line.cells[place] for line in rows}) < len(rows):
            return False
        posted = rows[0].shape.posted
        if posted is None or posted.total is None:
            return True
        return quick.values[rows[0].cells[posted.total]] == sum(
            (quick.values[quick.figures_of(line.cells)[_AMOUNT]] for line in rows), ZERO
        )

    def _settled(self, client: str, sides: Mapping[str, _Sides]) -> dict[str, bulk.Settled]:
        zone = self._shared.zones.get(client, self._shared.zone)
        start, end = bounds(self._shared.period, zone)
        found = {}
        for product, one in sides.items():
            if one.slow or product in self._shared.special or len(one.agreed) != 1 or len(one.billed) != 1:
                continue
            line = self._one(product, one, start, end)
            if line is not None:
                found[product] = line
        return found

    def _one(self, product: str, one: _Sides, start: datetime, end: datetime) -> bulk.Settled | None:
        """A group of one contract line and one invoice line, if it is plain and agrees."""
        (of_book, agreed, terms), (of_bill, billed, posted) = one.agreed[0], one.billed[0]
        book, bill = self._quicks[of_book], self._quicks[of_bill]
        contract, number = book.named(agreed)
        invoice, place, refers, refers_line = bill.named(billed)
        if (refers or refers_line) and (refers != contract or refers_line != number):
            return None
        plain = self._plain(book, agreed, terms, posted)
        if plain is None:
            return None
        used = self._measured(one.used, start, end)
        if used is _UNKNOWN:
            return None
        quantity, unit_price, amount = bill.figures_of(billed)
        values = bill.values
        # Quantities and prices repeat; amounts do not.
        due = bulk.settle(plain, used, values[quantity], values[unit_price], Decimal(amount or 0))
        if due is None:
            return None
        flat = plain.model == "flat"
        return bulk.Settled(
            product,
            plain.currency,
            due,
            None if flat else bill.texts[quantity],
            None if flat else bill.texts[unit_price],
            f"{contract} line {number}",
            f"{invoice} line {place}",
        )

    def _plain(self, book: Quick, cells: Row, shape: Shape, billed: Shape) -> bulk.Plain | None:
        """What a contract line of plain terms says, if it is in force all month and a line of the month bills it."""
        terms, posted = shape.agreed, billed.posted
        if terms is None or posted is None:
            return None
        price = cells[terms.price] if isinstance(terms.price, int) else ""
        included = cells[terms.included] if isinstance(terms.included, int) else ""
        key = (shape, billed, price, included)
        try:
            return book.plains[key]
        except KeyError:
            plain = bulk.Plain(
                terms.model,
                book.said(terms.price, cells),
                book.said(terms.included, cells),
                terms.currency,
                terms.effective_from,
                terms.effective_to,
            )
            period = self._shared.period
            same = posted.period == period and posted.currency == plain.currency
            found = book.plains[key] = plain if same and plain.through(period) else None
            return found

    def _measured(self, lines: Sequence[_Line], start: datetime, end: datetime) -> Decimal | None:
        """What one meter shows in the month; ``None``: there is no usage; ``_UNKNOWN``: it takes more to say."""
        if not lines:
            return None
        if len(lines) == 1:
            return self._measured_once(self._quicks[lines[0].sheet], lines[0], start, end)
        first = lines[0].shape
        quick = self._quicks[lines[0].sheet]
        whose = quick.named(lines[0].cells)
        kind = first.data["kind"]
        times, total, level = set(), ZERO, None
        for line in lines:
            quick = self._quicks[line.sheet]
            shape, cells = line.shape, line.cells
            same = shape is first or (line.sheet == lines[0].sheet and shape.data == first.data)
            if not same or quick.named(cells) != whose:
                return _UNKNOWN
            at = quick.instants[cells[shape.at]] if shape.at is not None else None
            if at is None or not start <= at < end:
                return _UNKNOWN
            until = None if shape.until is None else quick.instants[cells[shape.until]]
            (quantity,) = quick.figures_of(cells)
            value = quick.values[quantity]
            times.add((at, until, quick.cell(cells, "event")))
            if kind == "counter":
                total += value
            elif kind == "gauge" and until is None and level in (None, value):
                level = value
            else:
                return _UNKNOWN
        if len(times) != len(lines):
            return _UNKNOWN
        if kind == "counter":
            return total
        return level if min(at for at, *_ in times) == start else _UNKNOWN

    @staticmethod
    def _measured_once(quick: Quick, line: _Line, start: datetime, end: datetime) -> Decimal | None:
        """The same of one row: what most groups have."""
        shape, cells = line.shape, line.cells
        at = None if shape.at is None else quick.instants[cells[shape.at]]
        if at is None or not start <= at < end:
            return _UNKNOWN
        kind = shape.data["kind"]
        if kind == "counter" or (kind == "gauge" and shape.until is None and at == start):
            return quick.values[quick.figures_of(cells)[0]]
        return _UNKNOWN

    # --- what the comparator is given --------------------------------------------------------------------------------
    def _feed(
        self,
        client: str,
        sides: Mapping[str, _Sides],
        left: Set[str],
        documents: Sequence[_Document],
        whole: bool,
    ) -> None:
        """The client's records of some products; ``whole``: of all, with its documents as they are."""
        self._fed.add(client)
        if self._world is None:
            self._world = World()
            for fact in self._shared.facts:
                self._world.put(fact)
        for fact in self._shared.clients.get(client, ()):
            self._world.put(fact)
        for product in left:
            for line in (*sides[product].agreed, *sides[product].used):
                self._put(self._record(line, line.shape))
        for document in documents:
            self._document(document, None if whole else left)

    def _document(self, document: _Document, left: Set[str] | None) -> None:
        """A document with its lines of some products (``None``: of all)."""
        quick = self._quicks[document.sheet]
        if document.odd:
            self._read_whole(document.sheet, quick, [*document.raw, *(line.cells for line in document.rows)])
            return
        kept = [line for line in document.rows if left is None or self._product(line) in left]
        for line in kept:
            self._put(self._record(line, line.shape))
        first = document.rows[0]
        assert first.shape.header is not None
        header = self._record(first, first.shape.header)
        header["data"]["lines"] = len({quick.cell(line.cells, "line") for line in kept})
        if left is not None:
            header["data"].pop("total", None)
        self._put(header)

    def _record(self, line: _Line, shape: Shape) -> Record:
        return self._quicks[line.sheet].record(shape, line.cells, int(line.cells[0]))

    def _put(self, fields: Record) -> None:
        fact = extract(fields)
        if fact is not None and self._world is not None:
            self._world.put(fact)


def judged(quick: Quick, laid: spill.Laid, rows: Sequence[Row]) -> Iterator[RowRecord]:
    """The records of rows without a shape, by the profile."""
    survey = Survey(quick.layout, quick.zone, digests=False)
    reading = Rows(survey, Told(quick.zone, NO_LIMIT, 1, NO_LIMIT), None)
    for cells in sorted(rows, key=lambda cells: int(cells[0])):
        for row in spill.one_row(laid, quick.sheet.profile.delimiter, cells).rows():
            numbered = replace(row, number=int(cells[0]))
            survey.add(numbered)
            yield from reading.make(numbered)
    yield from reading.headers()


def usage_of(quick: Quick, laid: spill.Laid, rows: Sequence[Row]) -> Iterator[Record | Rejected]:
    """The records of rows of usage, wherever they belong."""
    odd = []
    for cells, shape in zip(rows, quick.shapes(rows), strict=True):
        if shape is None:
            odd.append(cells)
        else:
            yield quick.record(shape, cells, int(cells[0]))
    for record in judged(quick, laid, odd):
        if isinstance(record, Made):
            yield fields_of(record, tenant=TENANT, source=quick.sheet.source, asserted_at=SAID_AT, run=quick.sheet.run)
        else:
            yield from rejected(quick.sheet, record)
