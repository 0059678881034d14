"""What the registers mean: pure views from cells to the inputs of a verdict.

The service loads cells by SQL and calls these; a replay calls them on its own registers. No view depends on the order
in which it is given its cells.
"""

from __future__ import annotations

from collections import Counter, abc, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import orjson

from shared.events.contracts import Recurring, Terms
from shared.events.discrepancies import Source
from shared.events.invoices import lines_digest
from shared.kernel.periods import Period, bounds, local_date, month_of, months
from shared.reconciliation.exact import exact
from shared.reconciliation.facts import Cell, Slot
from shared.reconciliation.inputs import (
    Client,
    ClosedGroup,
    DocumentFacts,
    FeedSpan,
    InvoiceLineFacts,
    InvoiceState,
    LineVersion,
    Measured,
    MissedFeed,
    Observation,
    Product,
    TimeEntry,
    VendorCost,
    VendorLine,
)
from shared.reconciliation.settings import Settings, settings_of

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_HALF_DAY = timedelta(hours=12)
SAMPLE = 20
"""How many records a figure names; the count says how many there are."""


# --- evidence ----------------------------------------------------------------------------------------------------
def by_id(source: Source) -> tuple[str, str, str]:
    """The order of evidence."""
    return (source.id, source.source, source.type)


def sample(sources: Iterable[Source]) -> tuple[Source, ...]:
    """The first twenty records by id, each once."""
    unique = {by_id(source): source for source in sources}
    if len(unique) < 2:
        return tuple(unique.values())
    return tuple(unique[key] for key in sorted(unique)[:SAMPLE])


# --- calendar and settings ---------------------------------------------------------------------------------------
def opening(first_day: date | None) -> date | None:
    """The day on which a tenant's books open here: the start of the month before its calendar began.

    Whoever begins loads the last closed month and the running one; of earlier months only what was loaded is compared,
    so that a contract of years ago does not read as years of missing invoices.
    """
    return None if first_day is None else month_of(month_of(first_day).start - timedelta(days=1)).start


def calendar(cells: Iterable[Cell]) -> tuple[date | None, date | None]:
    """(how far the calendar has got, its first day), from ``calendar`` cells."""
    days = [date.fromisoformat(cell.value["date"]) for cell in cells if cell.value is not None]
    return (max(days), min(days)) if days else (None, None)


def settings(cells: Iterable[Cell]) -> Settings:
    """Settings from ``setting`` cells; a value withdrawn is the default again."""
    return settings_of({cell.key[0]: cell.value["value"] for cell in cells if cell.value and cell.value["value"]})


YEARS_BACK = 10
"""A fact that holds for longer makes groups in the last ten years of it only: one record must not make thousands."""


def reach(last: date) -> date:
    """The first day that a fact which holds until ``last`` still makes groups in."""
    return date(last.year - YEARS_BACK, last.month, 1) if last.year > YEARS_BACK else date.min


def months_touched(first: date, last: date | None, as_of: date | None) -> Iterator[Period]:
    """The months of a fact that holds from ``first`` to ``last`` (both included; ``None``: open): its first month, and
    the later ones as far as the calendar has got; of many the last ten years."""
    end = first if as_of is None else max(first, as_of)
    end = end if last is None else max(first, min(last, end))
    return months(max(first, reach(end)), end)


# --- master data and mappings ------------------------------------------------------------------------------------
def newest(cells: Iterable[Cell]) -> Cell | None:
    """Of the cells of several sources about one entity, the one that was asserted last."""
    return max(cells, key=lambda cell: (cell.rank, cell.source), default=None)


def client(client_id: str, cells: Iterable[Cell]) -> Client:
    """A client from its ``client`` cells; one that no source has recorded bears its id as its name."""
    cell = newest(cells)
    if cell is None or cell.value is None:
        return Client(client_id, client_id)
    value = cell.value
    return Client(client_id, value["name"], value["time_zone"], value["bill_cycle_day"], value["currency"])


def product(product_id: str, cells: Iterable[Cell]) -> Product:
    """A product from its ``product`` cells; as :func:`client`."""
    cell = newest(cells)
    if cell is None or cell.value is None:
        return Product(product_id, product_id)
    value = cell.value
    return Product(
        product_id,
        value["name"],
        value["unit"],
        _decimal(value["list_price"]),
        value["currency"],
        cell.record,
        _decimal(value["unit_cost"]),
        value["cost_currency"],
        tuple(value["components"]),
    )


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def bundles(products: Iterable[Product]) -> dict[str, tuple[str, ...]]:
    """Product -> all the products that it is compared with, by id, for each that a bundle or its parts touch. The
    first of them names the group (connected components over ``components``)."""
    leaders: dict[str, str] = {}

    def leader(one: str) -> str:
        leaders.setdefault(one, one)
        while leaders[one] != one:
            leaders[one] = leaders[leaders[one]]
            one = leaders[one]
        return one

    for product in products:
        for part in product.components:
            first, second = sorted((leader(product.id), leader(part)))
            leaders[second] = first
    members: dict[str, list[str]] = defaultdict(list)
    for one in sorted(leaders):
        members[leader(one)].append(one)
    return {one: tuple(members[leader(one)]) for one in leaders if len(members[leader(one)]) > 1}


@dataclass(frozen=True, slots=True)
class Mapping:
    """What an identifier of a vendor means at a date: targets with shares, an exclusion, or nothing."""

    targets: tuple[tuple[str, Decimal], ...] = ()
    excluded: bool = False
    until: date | None = None
    """The day on which the exclusion in force ends, if it ends."""

    @property
    def known(self) -> bool:
        """Whether somebody has decided what it means."""
        return self.excluded or bool(self.targets)


def mapping(value: dict[str, Any] | None, as_of: date | None) -> Mapping:
    """The mapping in force, from the value of a ``mapping`` cell (``None``: there is none, or it was withdrawn)."""
    if value is None:
        return Mapping()
    exclusion = value["excluded"]
    if exclusion is None:
        return Mapping(tuple(sorted((target["id"], Decimal(target["share"])) for target in value["targets"])))
    until = date.fromisoformat(exclusion["until"]) if exclusion.get("until") else None
    if until is not None and as_of is not None and as_of >= until:
        return Mapping()
    return Mapping(excluded=True, until=until)


# --- usage -------------------------------------------------------------------------------------------------------
class Window(NamedTuple):
    """A span and its two instants, in the client's zone."""

    span: Period | None
    """``None``: the group's own period."""
    start: datetime
    end: datetime


def windows(spans: Iterable[Period], period: Period, time_zone: str) -> tuple[Window, ...]:
    """The spans for which a group's usage is measured, as instants."""
    return tuple(Window(None if span == period else span, *bounds(span, time_zone)) for span in sorted(spans))


def whole(wanted: Sequence[Window]) -> Window:
    """The shortest window that holds all of them."""
    return Window(None, min(one.start for one in wanted), max(one.end for one in wanted))


@exact
def measured(
    slots: Iterable[Slot], share: Decimal, wanted: Sequence[Window], product: str = "", *, events: bool = False
) -> list[Measured]:
    """One meter, from at least one of its slots (all of them, or those that can matter): a gauge once over the hull of
    the windows, a counter or peak once for each. ``events``: counters name each event by itself."""
    slots = list(slots)
    first = slots[0]
    if first.kind == "gauge":
        wanted = (whole(wanted),)
    found = []
    for window in wanted:
        inside = [slot for slot in slots if window.start <= slot.at < window.end]
        observations: tuple[Observation, ...] = ()
        total = Decimal(0)
        if first.kind == "gauge":
            before = [slot for slot in slots if slot.at < window.start]
            if before:
                latest = max(slot.at for slot in before)
                inside += [slot for slot in before if slot.at == latest]
            observations = _observed(inside)
        elif first.kind == "counter":
            total = sum((slot.quantity for slot in inside), Decimal(0))
        else:
            total = max((slot.quantity for slot in inside), default=Decimal(0))
        found.append(
            Measured(
                source=first.source,
                account=first.account,
                sku=first.sku,
                meter=first.meter,
                kind=first.kind,  # type: ignore[arg-type]
                unit=first.unit,
                share=share,
                total=total,
                observations=observations,
                records=len(inside),
                sample=tuple(slot.record for slot in sorted(inside, key=lambda slot: slot.record_id)[:SAMPLE]),
                product=product,
                span=window.span,
                events=_observed(inside) if events and first.kind == "counter" else (),
            )
        )
    return found


def _observed(slots: Iterable[Slot]) -> tuple[Observation, ...]:
    seen = (Observation(slot.at, slot.quantity, slot.record, slot.until) for slot in slots)
    return tuple(sorted(seen, key=in_time))


def in_time(seen: Observation) -> tuple[datetime, str]:
    """The order of observations."""
    return (seen.at, seen.record.id)


def spans(cells: Iterable[Cell], sources: Iterable[str]) -> tuple[FeedSpan, ...]:
    """The complete spans of some sources, from ``feed`` cells."""
    wanted = set(sources)
    found = {
        (cell.source, cell.value["covers_from"], cell.value["covers_to"])
        for cell in cells
        if cell.source in wanted and cell.value is not None
    }
    return tuple(
        FeedSpan(source, datetime.fromisoformat(start), datetime.fromisoformat(end))
        for source, start, end in sorted(found)
    )


def reached(feeds: Iterable[Cell]) -> dict[tuple[str, ...], tuple[int, datetime]]:
    """(source, feed) -> its greatest run and how far it has been complete, from ``feed`` cells."""
    found: dict[tuple[str, ...], tuple[int, datetime]] = {}
    for cell in feeds:
        if cell.value is not None:
            run, until = found.get(cell.key[:2], (0, _LONG_AGO))
            covered = datetime.fromisoformat(cell.value["covers_to"])
            found[cell.key[:2]] = (max(run, cell.value["run"]), max(until, covered))
    return found


def silent(missed: Iterable[Cell], feeds: abc.Mapping[tuple[str, ...], tuple[int, datetime]]) -> tuple[MissedFeed, ...]:
    """The feeds of ``feed_missed`` cells that no run has come from since, by source and name: no run as late as the one
    that was missed, and no complete span that reaches further than the feed did then (:func:`reached`)."""
    found = []
    for cell in sorted(missed, key=lambda one: one.key):
        value = cell.value or {}
        last_at = None if value["last_at"] is None else datetime.fromisoformat(value["last_at"])
        run, until = feeds.get(cell.key, (-1, _LONG_AGO))
        if run < value["run"] and until <= (last_at or _LONG_AGO):
            found.append(
                MissedFeed(cell.source, value["feed"], datetime.fromisoformat(value["due_at"]), last_at, cell.record)
            )
    return tuple(found)


# --- time --------------------------------------------------------------------------------------------------------
def time_entries(
    cells: Iterable[Cell], client_id: str, products: Collection[str], days: Period
) -> tuple[TimeEntry, ...]:
    """The work for a client, of some products, on some days, from ``time_entry`` cells."""
    found = []
    for cell in cells:
        value = cell.value or {}
        worked_on = date.fromisoformat(value["worked_on"])
        if value["client"] == client_id and value["product"] in products and days.contains(worked_on):
            found.append(
                TimeEntry(
                    source=cell.source,
                    entry=value["entry"],
                    worked_on=worked_on,
                    minutes=Decimal(value["minutes"]),
                    billable=value["billable"],
                    approved=value["approved"],
                    contract=value["contract"],
                    role=value["role"],
                    work_type=value["work_type"],
                    ticket=value["ticket"],
                    when=tuple(value["when"]),
                    invoice=value["invoice"],
                    product=value["product"],
                    record=cell.record,
                )
            )
    return tuple(sorted(found, key=lambda one: (one.source, one.entry)))


# --- statements --------------------------------------------------------------------------------------------------
def closed_group(cell: Cell | None) -> ClosedGroup | None:
    """What a group came to when its period was closed, from its ``statement_group`` cell."""
    if cell is None or cell.value is None:
        return None
    value = cell.value
    expected, billed, quantity = (_decimal(value[name]) for name in ("expected", "billed", "quantity"))
    return ClosedGroup(value["currency"], expected, billed, quantity, value["records"], cell.record)


# --- contracts ---------------------------------------------------------------------------------------------------
def line_versions(
    cells: Iterable[Cell], client_id: str, products: Collection[str] | None, *, commitments: bool = False
) -> tuple[LineVersion, ...]:
    """The versions of the lines that were ever this client's and of these products (``None``: of any), from all
    ``contract_line`` cells of these lines. A version in which the line is another's ends it here; so does one that
    turns it into a commitment over several lines, and with ``commitments`` the reverse."""
    lines: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        lines.setdefault(cell.key[:3], []).append(cell)

    def ours(cell: Cell) -> bool:
        value = cell.value or {}
        whose = value.get("client") == client_id and (products is None or value["product"] in products)
        return whose and (value["terms"] is None or is_commitment(value) == commitments)

    return tuple(
        _line_version(cell, ours(cell))
        for key in sorted(lines)
        if any(ours(cell) and (cell.value or {})["terms"] for cell in lines[key])
        for cell in sorted(lines[key], key=lambda cell: cell.key)
    )


def agreed_from(cells: Iterable[Cell]) -> dict[tuple[str, str], date]:
    """(client, product) -> the first day on which a line was agreed for it, commitments over several lines left out."""
    first: dict[tuple[str, str], date] = {}
    for cell in cells:
        value = cell.value or {}
        if value["terms"] is not None and not is_commitment(value):
            whose, since = (value["client"], value["product"]), date.fromisoformat(value["effective_from"])
            first[whose] = min(first.get(whose, since), since)
    return first


def is_commitment(value: dict[str, Any]) -> bool:
    """Whether a version of a contract line is a commitment over several lines: rated at the client's level alone."""
    return value["terms"] is not None and value["terms"].get("scope") is not None


def _line_version(cell: Cell, ours: bool) -> LineVersion:
    value = cell.value or {}
    ours = ours and value["terms"] is not None
    until = value["effective_to"]
    return LineVersion(
        source=cell.source,
        contract=value["contract"],
        line=value["line"],
        effective_from=date.fromisoformat(value["effective_from"]),
        effective_to=date.fromisoformat(until) if ours and until else None,
        currency=value["currency"] if ours else None,
        terms=_terms(orjson.dumps(value["terms"])) if ours else None,
        recurring=_recurring(**value["recurring"]) if ours and value["recurring"] else None,
        record=cell.record,
        product=value["product"],
    )


@lru_cache(maxsize=100_000)
def _terms(text: bytes) -> Terms:
    # Most lines of an MSP are agreed on the same few terms.
    return Terms.model_validate(orjson.loads(text))


@lru_cache(maxsize=10_000)
def _recurring(quantity: str, unit_price: str) -> Recurring:
    return Recurring.model_validate({"quantity": quantity, "unit_price": unit_price})


@dataclass(frozen=True, slots=True)
class Committed:
    """What of a client's invoices belongs to commitments over several lines."""

    products: frozenset[str] = frozenset()
    """Products all of whose lines are commitments."""
    lines: frozenset[tuple[str, str]] = frozenset()
    """(contract, line) of lines that are nothing else."""

    def holds(self, line: dict[str, Any]) -> bool:
        """Whether an invoice line (its cell's value) answers a commitment."""
        return line["product"] in self.products or (line["contract"], line["contract_line"]) in self.lines


def committed(cells: Iterable[Cell], client_id: str) -> Committed:
    """From the ``contract_line`` cells of a client: all of those products that are asked about, and of every line that
    was ever a commitment."""
    products: dict[str, bool] = {}
    lines: dict[tuple[str, str], bool] = {}
    for cell in cells:
        value = cell.value or {}
        if value["client"] != client_id or value["terms"] is None:
            continue
        line, held = (value["contract"], value["line"]), is_commitment(value)
        products[value["product"]] = products.get(value["product"], True) and held
        lines[line] = lines.get(line, True) and held
    return Committed(
        frozenset(one for one, held in products.items() if held), frozenset(one for one, held in lines.items() if held)
    )


# --- invoices ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Document:
    """The version of an invoice or credit note that counts: the newest complete one that is not void."""

    source: str
    invoice: str
    version: int
    kind: Literal["invoice", "credit_note"]
    client: str
    issued_on: date
    period: Period
    currency: str
    corrects: str | None
    lines: tuple[Cell, ...]
    record: Source
    """Its header."""
    total: Decimal | None = None
    tax_total: Decimal | None = None
    gross_total: Decimal | None = None
    exchange_rate: Decimal | None = None
    exchange_from: str | None = None


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A version that would count but for lines that are missing (or that its digest does not know)."""

    client: str
    period: Period
    what: str
    """``INV-7: 3 of 12 lines``."""
    kind: Literal["invoice", "credit_note"] = "invoice"
    first: bool = True
    """Nothing of the document counts yet; a newer version of one that does goes on with the old one."""


class Lines(NamedTuple):
    """What is here of the lines of one version of a document."""

    here: int
    complete: bool
    """All that the header counts are here, and its digest (if it has one) agrees."""
    cells: tuple[Cell, ...] = ()


def documents(cells: Iterable[Cell]) -> tuple[list[Document], list[Incomplete]]:
    """The documents that count and those that wait, from the ``invoice``, ``invoice_line`` and ``invoice_void`` cells
    of each document concerned *and* of each document that one of them corrects."""
    headers: list[Cell] = []
    lines: dict[tuple[str, str, int], list[Cell]] = {}
    voids: dict[tuple[str, str], int] = {}
    for cell in cells:
        value, document = cell.value or {}, (cell.key[0], cell.key[1])
        if cell.kind == "invoice":
            headers.append(cell)
        elif cell.kind == "invoice_line":
            lines.setdefault((*document, value["version"]), []).append(cell)
        elif cell.kind == "invoice_void":
            voids[document] = value["version"]

    def lines_of(header: Cell) -> Lines:
        key = (header.key[0], header.key[1], _version(header))
        mine = sorted(lines.get(key, ()), key=lambda cell: cell.key)
        return Lines(len(mine), _complete(header, mine), tuple(mine))

    return standing(headers, voids, lines_of)


def standing(
    headers: Iterable[Cell], voids: abc.Mapping[tuple[str, str], int], lines_of: Callable[[Cell], Lines]
) -> tuple[list[Document], list[Incomplete]]:
    """As :func:`documents`, for whoever keeps count of a document's lines without having them at hand."""
    versions: dict[tuple[str, str], list[Cell]] = {}
    for header in headers:
        versions.setdefault((header.key[0], header.key[1]), []).append(header)
    counting: list[Document] = []
    waiting: list[Incomplete] = []
    for document in sorted(versions):
        void = voids.get(document, 0)
        pending: list[Cell] = []
        counts = False
        for header in sorted(versions[document], key=lambda cell: -_version(cell)):
            if _version(header) <= void:
                break
            lines = lines_of(header)
            if lines.complete:
                counting.append(_document(header, lines.cells))
                counts = True
                break
            pending.append(header)
        waiting += [_incomplete(header, lines_of(header).here, first=not counts) for header in pending]
    # What corrected an invoice that was never billed corrects nothing.
    gone = voids.keys() - {(document.source, document.invoice) for document in counting}
    return [d for d in counting if d.corrects is None or (d.source, d.corrects) not in gone], waiting


def _version(cell: Cell) -> int:
    return int((cell.value or {})["version"])


def _complete(header: Cell, lines: list[Cell]) -> bool:
    value = header.value or {}
    # Two contents of one line, and a third that is missing, are not all its lines.
    if len(lines) != value["lines"] or len({line.key[3] for line in lines}) != len(lines):
        return False
    stated = value["lines_digest"]
    return stated is None or stated == lines_digest((line.value or {})["digest"] for line in lines)


def _period(value: dict[str, Any]) -> Period:
    return Period(date.fromisoformat(value["period_from"]), date.fromisoformat(value["period_to"]))


def _document(header: Cell, lines: tuple[Cell, ...]) -> Document:
    value = header.value or {}
    return Document(
        source=header.source,
        invoice=value["invoice"],
        version=value["version"],
        kind=value["kind"],
        client=value["client"],
        issued_on=date.fromisoformat(value["issued_on"]),
        period=_period(value),
        currency=value["currency"],
        corrects=value["corrects"],
        lines=lines,
        record=header.record,
        total=_decimal(value["total"]),
        tax_total=_decimal(value["tax_total"]),
        gross_total=_decimal(value["gross_total"]),
        exchange_rate=_decimal(value["exchange_rate"]),
        exchange_from=value["exchange_from"],
    )


def _incomplete(header: Cell, lines: int, *, first: bool) -> Incomplete:
    value = header.value or {}
    what = f"{value['invoice']}: {lines} of {value['lines']} lines"
    if lines > value["lines"]:
        what = f"{value['invoice']}: {lines} different lines, and its header counts {value['lines']}"
    elif lines == value["lines"] and value["lines_digest"] is None:
        what = f"{value['invoice']}: of its {lines} lines one is there with two contents"
    elif lines == value["lines"]:
        what = f"{value['invoice']}: its {lines} lines are not those that its digest names"
    return Incomplete(value["client"], _period(value), what, value["kind"], first)


def _meet(one: Period, other: Period) -> bool:
    return one.start < other.end and other.start < one.end


def invoice_state(
    counting: Iterable[Document], waiting: Iterable[Incomplete], client_id: str, period: Period
) -> InvoiceState:
    """What is known of a client's invoices of a period."""
    invoices = [d for d in counting if d.client == client_id and d.kind == "invoice" and _meet(d.period, period)]
    within = [d for d in invoices if period.start <= d.period.start and d.period.end <= period.end]
    pending = sorted(
        (w for w in waiting if w.client == client_id and _meet(w.period, period)), key=lambda one: one.what
    )
    return InvoiceState(
        complete=len(within),
        incomplete=tuple(w.what for w in pending),
        coming=tuple(w.what for w in pending if w.first and w.kind == "invoice"),
        crediting=tuple(w.what for w in pending if w.first and w.kind == "credit_note"),
        straddling=len(invoices) - len(within),
        headers=sample(document.record for document in within),
    )


def line_period(document: Document, line: Cell) -> Period:
    """The service period of a line: its own, or else its document's."""
    value = line.value or {}
    start, end = value["period_from"], value["period_to"]
    return Period(
        date.fromisoformat(start) if start else document.period.start,
        date.fromisoformat(end) if end else document.period.end,
    )


def invoice_lines(document: Document) -> list[tuple[Cell, InvoiceLineFacts]]:
    """The lines of a document, each with its cell."""
    return [(line, _invoice_line(document, line)) for line in document.lines]


def meeting(lines: Iterable[InvoiceLineFacts], period: Period) -> tuple[InvoiceLineFacts, ...]:
    """Those whose service period meets ``period``, by source, invoice and line."""
    return tuple(sorted((line for line in lines if _meet(line.period, period)), key=_by_number))


def _by_number(line: InvoiceLineFacts) -> tuple[str, str, str]:
    return (line.source, line.invoice, line.line)


def _invoice_line(document: Document, line: Cell) -> InvoiceLineFacts:
    value = line.value or {}
    return InvoiceLineFacts(
        source=document.source,
        invoice=document.invoice,
        version=document.version,
        line=value["line"],
        kind=document.kind,
        issued_on=document.issued_on,
        currency=document.currency,
        contract=value["contract"],
        contract_line=value["contract_line"],
        period=line_period(document, line),
        quantity=Decimal(value["quantity"]),
        unit_price=Decimal(value["unit_price"]),
        amount=Decimal(value["amount"]),
        record=line.record,
        product=value["product"],
        corrects=document.corrects,
        tax=_decimal(value["tax"]),
        tax_pct=_decimal(value["tax_pct"]),
        discount=value["discount"],
        exchange_rate=document.exchange_rate,
        exchange_from=document.exchange_from,
    )


def document_facts(counting: Iterable[Document], client_id: str, period: Period) -> tuple[DocumentFacts, ...]:
    """A client's documents whose period starts in ``period``, with all their lines."""
    found = [
        DocumentFacts(
            source=document.source,
            invoice=document.invoice,
            version=document.version,
            kind=document.kind,
            issued_on=document.issued_on,
            period=document.period,
            currency=document.currency,
            corrects=document.corrects,
            total=document.total,
            tax_total=document.tax_total,
            gross_total=document.gross_total,
            lines=tuple(sorted((fact for _, fact in invoice_lines(document)), key=_by_number)),
            record=document.record,
        )
        for document in counting
        if document.client == client_id and period.contains(document.period.start)
    ]
    return tuple(sorted(found, key=lambda one: (one.source, one.invoice)))


# --- vendors' costs ----------------------------------------------------------------------------------------------
@exact
def vendor_cost(lines: Iterable[Cell]) -> VendorCost | None:
    """What vendors' bills charge in ``vendor_bill_line`` cells (of one identifier): of each bill its greatest version
    among them. ``None`` without lines, or when they are in several currencies."""
    values = [(cell.key[:3], cell.value, cell.record) for cell in lines if cell.value is not None]
    newest_version: dict[tuple[str, ...], int] = {}
    for bill, value, _ in values:
        newest_version[bill] = max(newest_version.get(bill, 0), value["version"])
    counted = [(value, record) for bill, value, record in values if value["version"] == newest_version[bill]]
    currencies = {value["currency"] for value, _ in counted}
    if len(currencies) != 1:
        return None
    amount = sum((Decimal(value["billed_cost"]) for value, _ in counted), Decimal(0))
    return VendorCost(amount, currencies.pop(), len(counted), sample(record for _, record in counted))


class Charge(NamedTuple):
    """A line of a vendor's bill, and the product and share that its account's and its sku's mappings give a group."""

    cell: Cell
    product: str
    share: Decimal
    arrived: bool = True
    """Whether its bill's header is here, and all its lines."""


def arrived(headers: Iterable[Cell], lines: Iterable[Cell]) -> set[tuple[str, ...]]:
    """(source, issuer, bill, version) of the bills whose header (``vendor_bill``) is here, and as many lines as it
    says."""
    here = Counter(cell.key[:4] for cell in lines)
    return {cell.key for cell in headers if cell.value is not None and here[cell.key] >= int(cell.value["lines"])}


def newest_versions(lines: Iterable[Cell]) -> dict[tuple[str, ...], int]:
    """(source, issuer, bill) -> the greatest version among its ``vendor_bill_line`` cells."""
    versions: dict[tuple[str, ...], int] = {}
    for cell in lines:
        versions[cell.key[:3]] = max(versions.get(cell.key[:3], 0), int((cell.value or {})["version"]))
    return versions


def charged_in(cell: Cell, time_zone: str) -> Period:
    """The home of a ``vendor_bill_line`` cell: the client's month in which what it charges begins.

    A vendor's midnight is not the client's. Of a charge of more than a day the nearest midnight is its first day, so
    that a vendor's month stays a month in whatever zone; usage of a day or less is counted by the client's days, and so
    is what it costs.
    """
    value = cell.value or {}
    begins, ends = datetime.fromisoformat(value["charge_from"]), datetime.fromisoformat(value["charge_to"])
    return month_of(local_date(begins + _HALF_DAY if ends - begins > 3 * _HALF_DAY else begins, time_zone))


def may_be_home(charge_from: str, time_zone: str) -> set[Period]:
    """The months of which :func:`charged_in` is one, whatever the charge's end."""
    begins = datetime.fromisoformat(charge_from)
    return {month_of(local_date(at, time_zone)) for at in (begins, begins + _HALF_DAY)}


def vendor_lines(charges: Iterable[Charge]) -> tuple[VendorLine, ...]:
    """The vendors' side of a group, from the charges of its month (of each bill the newest version)."""
    found = [_vendor_line(*charge) for charge in charges]
    return tuple(sorted(found, key=lambda one: (one.source, one.issuer, one.bill, one.line, one.product)))


def _vendor_line(cell: Cell, product: str, share: Decimal, arrived: bool) -> VendorLine:
    value = cell.value or {}
    return VendorLine(
        source=cell.source,
        issuer=value["issuer"],
        bill=value["bill"],
        version=value["version"],
        line=value["line"],
        account=value["account"],
        sku=value["sku"],
        product=product,
        share=share,
        category=value["category"],
        correction=value["correction"],
        charge_from=datetime.fromisoformat(value["charge_from"]).astimezone(UTC),
        charge_to=datetime.fromisoformat(value["charge_to"]).astimezone(UTC),
        quantity=_decimal(value["quantity"]),
        unit=value["unit"],
        unit_price=_decimal(value["unit_price"]),
        billed_cost=Decimal(value["billed_cost"]),
        currency=value["currency"],
        record=cell.record,
        arrived=arrived,
    )
