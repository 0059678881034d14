"""Large inputs: laid out by client in a temp folder, then drawn bucket by bucket, in two processes.

What the comparator draws is what it draws of small ones; of lines that match only the figures are kept, in
``statements.csv``.
"""

from __future__ import annotations

import gc
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from services.cli.reconcile import assumed, spill, tables
from services.cli.reconcile.answer import Summary
from services.cli.reconcile.bucket import Bucket, Shared, Shares, usage_of
from services.cli.reconcile.quick import Quick
from services.cli.reconcile.sheets import Record, Rejected, Sheet
from shared.events.discrepancies import DiscrepancyBody
from shared.kernel.periods import Period, month_of, months
from shared.reconciliation import bulk, views
from shared.reconciliation.facts import Cell, Fact, extract
from shared.reconciliation.inputs import Unmapped, UnmappedInputs
from shared.reconciliation.statement import Statement, Totals, statement
from shared.reconciliation.unmapped import draw_unmapped

_ZERO = Decimal(0)
PROCESSES = max(1, min(2, os.cpu_count() or 1))

Broken = tuple[tuple[str, ...], DiscrepancyBody]
"""A break: its stream's key, and its body."""


@dataclass(slots=True)
class Part:
    """What some buckets come to, ready to be shown."""

    summaries: list[tuple[Summary, int]] = field(default_factory=list)
    """With the byte at which its rows end in the part's CSV."""
    csv: Path = Path()
    broken: list[Broken] = field(default_factory=list)
    identifiers: dict[Unmapped, str | None] = field(default_factory=dict)
    rejected: list[Rejected] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Decided:
    """What the vendors' identifiers mean: (source, identifier) -> targets with shares; none: excluded."""

    accounts: Mapping[tuple[str, str], Shares]
    skus: Mapping[tuple[str, str], Shares]

    def clients_of(self, source: str) -> dict[str, tuple[str, ...]]:
        """Account of a source -> its clients."""
        return {
            account: tuple(client for client, _ in shares)
            for (of, account), shares in self.accounts.items()
            if of == source
        }


def decided(records: Iterable[Record], as_of: date) -> Decided:
    """From mapping records: of each identifier the last one holds, as far as it is in force."""
    cells: dict[tuple[str, ...], Cell] = {}
    for record in records:
        if record["type"] == "mapping.confirmed.v1":
            cell = extract(record)
            assert isinstance(cell, Cell)
            if cell.key not in cells or cells[cell.key].rank < cell.rank:
                cells[cell.key] = cell
    known: dict[str, dict[tuple[str, str], Shares]] = {"account": {}, "sku": {}}
    for (kind, source, key), cell in cells.items():
        means = views.mapping(cell.value, as_of)
        if means.known:
            known[kind][source, key] = means.targets
    return Decided(known["account"], known["sku"])


def lay_out(
    pool: ProcessPoolExecutor, folder: Path, sheets: Mapping[int, Sheet], means: Decided, advance: Callable[[int], None]
) -> dict[int, spill.Laid]:
    """Lays files out, several at once. A file that is not plain is missing in the answer."""
    waiting = {
        number: pool.submit(spill.lay, number, of, folder, means.clients_of(of.source)) for number, of in sheets.items()
    }
    found = {}
    for number, one in waiting.items():
        try:
            found[number] = one.result()
            advance(sheets[number].path.stat().st_size)
        except spill.NotPlain:
            continue
    return found


def identifiers(laid: Mapping[int, spill.Laid], sheets: Mapping[int, Sheet]) -> Iterator[assumed.Identifier]:
    """The identifiers of usage that was laid out."""
    for number, one in laid.items():
        for kind, found in (("account", one.accounts), ("sku", one.skus)):
            for key, name in found:
                named = name.strip() if name != key else ""
                yield assumed.Identifier(kind, sheets[number].source, key.strip(), named or None)


def months_of(laid: Iterable[spill.Laid]) -> list[Period]:
    """The months of invoices that were laid out; spans that are none are left to whoever reads the rows."""
    found: set[Period] = set()
    for start, end in (span for one in laid for span in one.spans):
        try:
            first, last = date.fromisoformat(start.strip()), date.fromisoformat(end.strip())
        except ValueError:
            continue
        if first < last:
            found.update(months(first, last - timedelta(days=1)))
    return sorted(found)


# --- what every bucket needs -----------------------------------------------------------------------------------------
@dataclass(slots=True)
class Routed:
    """The records of the smaller files, by whom they concern."""

    shared: list[Fact] = field(default_factory=list)
    clients: dict[str, list[Fact]] = field(default_factory=lambda: defaultdict(list))
    touched: set[tuple[str, str]] = field(default_factory=set)
    zones: dict[str, str] = field(default_factory=dict)
    special: set[str] = field(default_factory=set)


def routed(records: Sequence[Record], means: Decided) -> Routed:
    """Each record to the buckets of the clients that it concerns, or to all."""
    found = Routed()
    documents = {
        (record["source"], record["data"]["invoice"]): record["data"]["client"]
        for record in records
        if record["type"] == "invoice.issued.v1"
    }
    facts = [extract(record) for record in records]
    charges = {one.key for one in facts if isinstance(one, Cell) and one.kind == "vendor_bill_line"}
    here = Counter(key[:4] for key in charges)
    for record, fact in zip(records, facts, strict=True):
        if fact is None:
            continue
        wanted = (fact.value or {}).get("lines") if isinstance(fact, Cell) and fact.kind == "vendor_bill" else None
        if isinstance(fact, Cell) and wanted is not None and here[fact.key] >= wanted:
            # A bucket sees its own clients' lines of a bill, which are fewer: that all are here is known before.
            fact = fact._replace(value={**(fact.value or {}), "lines": 0})
        whom = _whom(record, means, documents)
        if whom is None:
            found.shared.append(fact)
            continue
        for client, product in whom:
            found.clients[client].append(fact)
            if product is not None:
                found.touched.add((client, product))
        _note(found, record)
    for record in records:
        data = record["data"]
        if record["type"] == "product.recorded.v1" and ("components" in data or "unit_cost" in data):
            found.special.update((data["product"], *data.get("components", ())))
    return found


def shared(
    folder: Path,
    sheets: Mapping[int, Sheet],
    laid: Mapping[int, spill.Laid],
    zone: str,
    of: Routed,
    means: Decided,
) -> Shared:
    """What every bucket needs, but for the period."""
    return Shared(
        folder=folder,
        sheets=sheets,
        laid=laid,
        period=month_of(date.min),
        zone=zone,
        facts=tuple(of.shared),
        clients={client: tuple(facts) for client, facts in of.clients.items()},
        zones=of.zones,
        accounts=means.accounts,
        skus=means.skus,
        special=frozenset(of.special),
        touched=frozenset(of.touched),
    )


_Whom = Iterable[tuple[str, str | None]]


def _whom(record: Record, means: Decided, documents: Mapping[tuple[str, str], str]) -> _Whom | None:
    """(client, product) of those that a record concerns; ``None``: all."""
    data, source = record["data"], record["source"]
    category = record["type"].partition(".")[0]
    if category == "usage" and (source, data["account"]) not in means.accounts:
        return None if (source, data["sku"]) in means.skus else []
    if category in ("usage", "vendor_bill") and "account" in data:
        products = [product for product, _ in means.skus.get((source, data["sku"]), ())] or [""]
        clients = [client for client, _ in means.accounts.get((source, data["account"]), ())]
        return [(client, product) for client in clients for product in products]
    if category == "mapping" and data["kind"] == "account":
        return [(target["id"], None) for target in data.get("targets", ())]
    if record["type"] == "invoice.line.v1":
        client = documents.get((source, data["invoice"]))
        return [] if client is None else [(client, data["product"])]
    if category == "time_entry":
        return [(data["client"], data.get("product", "labour"))]
    if category in ("contract", "invoice", "client"):
        return [(data["client"], data.get("product"))]
    return None


def _note(found: Routed, record: Record) -> None:
    if record["type"] == "client.recorded.v1":
        found.zones[record["data"]["client"]] = record["data"].get("time_zone", "UTC")


# --- one process -----------------------------------------------------------------------------------------------------
_here: tuple[Shared, dict[int, Quick], Names] | None = None


@dataclass(frozen=True, slots=True)
class Names:
    """What clients and products are called, as in the answer."""

    clients: Mapping[str, str]
    products: Mapping[str, str]

    def client(self, one: str) -> str:
        return self.clients.get(one, one)

    def product(self, one: str) -> str:
        return "(all)" if one == "*" else self.products.get(one, one)


def begin(shared: Shared, names: Names) -> None:
    """What a process of the pool is given once."""
    global _here
    # A bucket's rows go all at once, and hold no cycles: looking for them took a third of the time.
    gc.disable()
    quicks = {n: Quick(of, shared.laid[n].header, shared.zone) for n, of in shared.sheets.items()}
    _here = (shared, quicks, names)


def draw(buckets: Sequence[int]) -> Part:
    """Draws some buckets, in a process that has begun."""
    assert _here is not None
    shared, quicks, names = _here
    found = Bucket(shared, quicks, buckets).draw()
    part = Part(identifiers=found.identifiers, rejected=found.rejected)
    verdicts: dict[str, dict[str, Any]] = defaultdict(dict)
    for group, verdict in found.verdicts:
        verdicts[group.client][group.product] = verdict
        part.broken += [(one.stream_key, one.body) for one in verdict.breaks]
    part.csv = shared.folder / f"lines-{shared.period.start}-{buckets[0]}.csv"
    with part.csv.open("wb") as out:
        writer, at = tables.LineWriter(names, shared.period), 0
        for client in sorted(verdicts.keys() | found.settled.keys()):
            settled, drawn = found.settled.get(client, []), statement(client, shared.period, verdicts[client])
            if not (settled or drawn.counts.lines):
                continue
            at += out.write(writer.rows(drawn, settled).encode())
            part.summaries.append((_summed(drawn, settled), at))
    return part


def _summed(drawn: Statement, settled: Sequence[bulk.Settled]) -> Summary:
    """A statement's sums over what was drawn and what was settled at once."""
    sums = {totals.currency: [totals.expected, totals.billed] for totals in drawn.totals}
    for one in settled:
        of = sums.setdefault(one.currency, [_ZERO, _ZERO])
        of[0] += one.amount
        of[1] += one.amount
    known = {totals.currency: totals for totals in drawn.totals}
    totals = tuple(
        replace(known.get(currency) or Totals(currency), expected=sums[currency][0], billed=sums[currency][1])
        for currency in sorted(sums)
    )
    counts, n = drawn.counts, len(settled)
    kept = tuple(group for group in drawn.groups if group.counts.matched < group.counts.lines)
    left_out = n + sum(group.counts.lines for group in drawn.groups) - sum(group.counts.lines for group in kept)
    counts = counts._replace(lines=counts.lines + n, matched=counts.matched + n)
    return Summary(drawn.client, drawn.period, totals, counts, kept, left_out)


# --- the whole -------------------------------------------------------------------------------------------------------
def shelves(laid: Iterable[spill.Laid]) -> list[tuple[int, ...]]:
    """The buckets, those together that share a contract (a line that moved from one client to another)."""
    shelf = {bucket: {bucket} for bucket in range(spill.BUCKETS)}
    for one in laid:
        for buckets in one.owners.values():
            joined = set().union(*(shelf[bucket] for bucket in buckets))
            for bucket in joined:
                shelf[bucket] = joined
    return sorted({tuple(sorted(buckets)) for buckets in shelf.values()})


def draw_all(shared: Shared, names: Names, advance: Callable[[int], None]) -> list[Part]:
    """Every bucket, in a process for each core."""
    work = shelves(shared.laid.values())
    parts = []
    with ProcessPoolExecutor(PROCESSES, initializer=begin, initargs=(shared, names)) as pool:
        for part in pool.map(draw, work):
            parts.append(part)
            advance(1)
    return parts


def gather(parts: Sequence[Part], into: Path | None) -> list[Summary]:
    """The summaries of the parts, by client and period, and their rows as one file."""
    placed = []
    for part in parts:
        start = 0
        for summary, upto in part.summaries:
            placed.append((summary, part.csv, start, upto))
            start = upto
    placed.sort(key=lambda one: (one[0].client, one[0].period))
    if into is not None:
        handles = {part.csv: part.csv.open("rb") for part in parts}
        with into.open("wb") as out:
            out.write(tables.written(tables.LINES, ()).encode())
            for _, path, start, upto in placed:
                handles[path].seek(start)
                out.write(handles[path].read(upto - start))
        for handle in handles.values():
            handle.close()
    return [summary for summary, *_ in placed]


def unmapped(found: Mapping[Unmapped, str | None], records: Sequence[Record], means: Decided) -> Iterator[Broken]:
    """The breaks of identifiers that nobody decided: of usage those ``found``, of charges those of the records."""
    cells: dict[Unmapped, list[Cell]] = defaultdict(list)
    names: dict[Unmapped, str | None] = dict(found)
    known: dict[str, dict[str, list[Cell]]] = {"client": defaultdict(list), "product": defaultdict(list)}
    for record in records:
        category, data = record["type"].partition(".")[0], record["data"]
        fact = extract(record) if category in ("client", "product", "vendor_bill", "usage") else None
        if category in known and isinstance(fact, Cell):
            known[category][data[category]].append(fact)
        elif fact is not None and "account" in data:
            for kind in ("account", "sku"):
                one = Unmapped(kind, record["source"], data[kind])
                names[one] = _least(names.get(one), data.get(f"{kind}_name"))
                if isinstance(fact, Cell):
                    cells[one].append(fact)
    clients = tuple((one, views.client(one, of).name) for one, of in known["client"].items())
    products = tuple((one, views.product(one, of).name) for one, of in known["product"].items())
    for one in sorted(names):
        if (one.source, one.key) in (means.accounts if one.kind == "account" else means.skus):
            continue
        cost = views.vendor_cost(cells.get(one, ()))
        candidates = clients if one.kind == "account" else products
        verdict = draw_unmapped(UnmappedInputs(one.kind, one.source, one.key, names[one], False, cost, candidates))
        yield from ((broken.stream_key, broken.body) for broken in (verdict.breaks if verdict else ()))


def _least(*names: str | None) -> str | None:
    return min((name for name in names if name), default=None)


def strangers(
    laid: Mapping[int, spill.Laid], sheets: Mapping[int, Sheet], zone: str
) -> tuple[list[Record], list[Rejected]]:
    """The usage of accounts that nobody decided: of each account and sku one record of each name."""
    records: dict[tuple[Any, ...], Record] = {}
    faults: list[Rejected] = []
    for number, one in laid.items():
        if one.strangers is None:
            continue
        quick = Quick(sheets[number], one.header, zone)
        for record in usage_of(quick, one, spill.rows(one.strangers.parent, one, quick.sheet.profile.delimiter, (-1,))):
            if isinstance(record, Rejected):
                faults.append(record)
                continue
            data = record["data"]
            key = (number, *(data.get(name) for name in ("account", "account_name", "sku", "sku_name")))
            records.setdefault(key, record)
    return list(records.values()), faults
