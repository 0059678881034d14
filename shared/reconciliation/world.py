"""The whole of matching in memory: fold every record, in any order, then draw.

It is the oracle that the service's tables are compared with, and what a replay runs. It answers from the registers
alone, by the same views and rules as the service.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any, NamedTuple

from shared.events.discrepancies import DiscrepancyBody
from shared.kernel.periods import Period, local_date, month_of
from shared.reconciliation import spans, views
from shared.reconciliation.client_level import LEVEL, draw_client, total_of
from shared.reconciliation.compare import draw_group
from shared.reconciliation.diff import StreamKey
from shared.reconciliation.facts import Cell, Fact, Slot, extract
from shared.reconciliation.fold import MeterKey, Registers
from shared.reconciliation.inputs import (
    Client,
    ClientInputs,
    GroupInputs,
    GroupTotal,
    InvoiceLineFacts,
    InvoiceState,
    LineVersion,
    MissedFeed,
    Product,
    Unmapped,
    UnmappedInputs,
)
from shared.reconciliation.settings import Settings
from shared.reconciliation.stale import draw_feed
from shared.reconciliation.unmapped import draw_unmapped
from shared.reconciliation.verdict import Verdict

_DAY = timedelta(days=1)
_Whose = tuple[str, str]
"""(client, group)."""


class Group(NamedTuple):
    """One product of one client in one month, or the products that a bundle ties together, by the least id of them;
    product ``*`` is the client's level."""

    client: str
    period: Period
    product: str


class Feed(NamedTuple):
    """A feed of a source."""

    source: str
    feed: str


Verdicts = Group | Unmapped | Feed
"""What has a verdict."""


class World:
    """The registers of all tenants, and what they mean."""

    def __init__(self, registers: Registers | None = None) -> None:
        self.registers = registers or Registers()
        self._tenants: dict[str, _Tenant] = {}

    def fold(self, records: Iterable[dict[str, Any]]) -> World:
        """Folds decoded records, in any order and with any repetition."""
        for fields in records:
            fact = extract(fields)
            if fact is not None:
                self.put(fact)
        return self

    def put(self, fact: Fact) -> bool:
        """Folds one fact; ``True`` if it moved its cell."""
        self._tenants.pop(fact.tenant, None)
        return self.registers.put(fact)

    def groups(self, tenant: str) -> list[Group]:
        """Every group that has anything, in order (some of them may turn out to be empty)."""
        return self._of(tenant).groups

    def inputs(self, tenant: str, group: Group) -> GroupInputs:
        """What the verdict on a group is a function of."""
        return self._of(tenant).inputs(group)

    def verdicts(self, tenant: str) -> dict[Verdicts, Verdict]:
        """The verdict on every group that is not empty, on every client's level, on every unmapped identifier and on
        every silent feed."""
        of = self._of(tenant)
        feeds = {Feed(one.source, one.feed): draw_feed(one) for one in of.silent}
        parts: tuple[Mapping[Any, Verdict], ...] = (of.verdicts(), of.unmapped(), feeds)
        return {key: verdict for part in parts for key, verdict in part.items()}

    def verdicts_of(self, tenant: str, periods: Collection[Period]) -> dict[Group, Verdict]:
        """The same of some months alone, without the identifiers, which belong to none."""
        return self._of(tenant).verdicts(periods)

    def unmapped(self, tenant: str) -> dict[Unmapped, Verdict]:
        """The verdict on every identifier that is not mapped."""
        return self._of(tenant).unmapped()

    def draw_all(self, tenant: str) -> dict[StreamKey, DiscrepancyBody]:
        """Every break of a tenant, by the key of its stream."""
        return {one.stream_key: one.body for verdict in self.verdicts(tenant).values() for one in verdict.breaks}

    def _of(self, tenant: str) -> _Tenant:
        if tenant not in self._tenants:
            self._tenants[tenant] = _Tenant.of(tenant, self.registers)
        return self._tenants[tenant]


@dataclass
class _Tenant:
    """One tenant's registers, arranged for drawing."""

    meters: dict[MeterKey, list[Slot]]
    cells: dict[str, list[Cell]]
    names: dict[Unmapped, str]
    _states: dict[tuple[str, Period], InvoiceState] = field(default_factory=dict)

    @classmethod
    def of(cls, tenant: str, registers: Registers) -> _Tenant:
        cells: dict[str, list[Cell]] = defaultdict(list)
        for (owner, kind, _), cell in registers.cells.items():
            if owner == tenant:
                cells[kind].append(cell)
        return cls(
            {key: list(slots.values()) for key, slots in registers.meters.items() if key[0] == tenant},
            cells,
            {
                Unmapped(kind, source, key): name.name  # type: ignore[arg-type]
                for (owner, kind, source, key), name in registers.names.items()
                if owner == tenant
            },
        )

    # --- what holds for the whole tenant -------------------------------------------------------------------------
    @cached_property
    def dates(self) -> tuple[date | None, date | None]:
        """(as_of, the day on which the books open)."""
        as_of, first = views.calendar(self.cells["calendar"])
        return as_of, views.opening(first)

    @cached_property
    def settings(self) -> Settings:
        return views.settings(self.cells["setting"])

    @cached_property
    def clients(self) -> dict[str, Client]:
        by_id = _by(self.cells["client"], lambda cell: cell.key[1])
        return {one: views.client(one, cells) for one, cells in by_id.items()}

    @cached_property
    def products(self) -> dict[str, Product]:
        by_id = _by(self.cells["product"], lambda cell: cell.key[1])
        return {one: views.product(one, cells) for one, cells in by_id.items()}

    def client(self, client: str) -> Client:
        return self.clients.get(client) or views.client(client, ())

    @cached_property
    def mappings(self) -> dict[Unmapped, views.Mapping]:
        as_of, _ = self.dates
        return {Unmapped(*cell.key): views.mapping(cell.value, as_of) for cell in self.cells["mapping"]}  # type: ignore[arg-type]

    def mapping(self, identifier: Unmapped) -> views.Mapping:
        return self.mappings.get(identifier, views.Mapping())

    @cached_property
    def documents(self) -> tuple[list[views.Document], list[views.Incomplete]]:
        return views.documents(
            cell for kind in ("invoice", "invoice_line", "invoice_void") for cell in self.cells[kind]
        )

    @cached_property
    def documents_of(self) -> dict[str, tuple[list[views.Document], list[views.Incomplete]]]:
        """Client -> its documents, those that count and those that wait."""
        counting, waiting = self.documents
        of: dict[str, tuple[list[views.Document], list[views.Incomplete]]] = defaultdict(lambda: ([], []))
        for document in counting:
            of[document.client][0].append(document)
        for incomplete in waiting:
            of[incomplete.client][1].append(incomplete)
        return of

    # --- which products belong together --------------------------------------------------------------------------
    @cached_property
    def bundles(self) -> dict[str, tuple[str, ...]]:
        return views.bundles(self.products.values())

    def members(self, product: str) -> tuple[str, ...]:
        """The products of a group; the first of them is its id."""
        return self.bundles.get(product, (product,))

    def item(self, product: str) -> str:
        """The group of a product."""
        return self.members(product)[0]

    # --- which meters, lines, charges, entries and invoices are whose; by (client, group) ------------------------
    @cached_property
    def shares(self) -> dict[_Whose, list[tuple[MeterKey, str, Decimal]]]:
        """Its meters, each with the product and the share that it gets."""
        shares: dict[_Whose, list[tuple[MeterKey, str, Decimal]]] = defaultdict(list)
        for key in self.meters:
            for client, product, share in self._targets(*_identifiers(key)):
                shares[client, self.item(product)].append((key, product, share))
        return shares

    def _targets(self, account: Unmapped, sku: Unmapped) -> Iterator[tuple[str, str, Decimal]]:
        for client, of_account in self.mapping(account).targets:
            for product, of_sku in self.mapping(sku).targets:
                yield client, product, of_account * of_sku

    @cached_property
    def lines(self) -> dict[_Whose, list[Cell]]:
        """Every version of the lines that were ever theirs."""
        by_line = _by(self.cells["contract_line"], lambda cell: cell.key[:3])
        lines: dict[_Whose, list[Cell]] = defaultdict(list)
        for versions in by_line.values():
            for client, item in {(client, self.item(product)) for client, product in views.agreed_from(versions)}:
                lines[client, item] += versions
        return lines

    @cached_property
    def commitments(self) -> dict[str, tuple[LineVersion, ...]]:
        """Client -> its commitments over several lines."""
        by_line = _by(self.cells["contract_line"], lambda cell: cell.key[:3])
        held: dict[str, list[Cell]] = defaultdict(list)
        for versions in by_line.values():
            for client in {_value(cell)["client"] for cell in versions if views.is_commitment(_value(cell))}:
                held[client] += versions
        return {client: views.line_versions(cells, client, None, commitments=True) for client, cells in held.items()}

    @cached_property
    def posted(self) -> dict[_Whose, list[InvoiceLineFacts]]:
        """Their posted lines; those that answer commitments are the level's (``*``)."""
        committed = {
            client: views.committed(cells, client)
            for client, cells in _by(self.cells["contract_line"], lambda cell: _value(cell)["client"]).items()
            if client in self.commitments
        }
        posted: dict[_Whose, list[InvoiceLineFacts]] = defaultdict(list)
        for document in self.documents[0]:
            held = committed.get(document.client)
            for line, fact in views.invoice_lines(document):
                whose = LEVEL if held is not None and held.holds(_value(line)) else self.item(fact.product)
                posted[document.client, whose].append(fact)
        return posted

    @cached_property
    def charges(self) -> dict[Group, list[views.Charge]]:
        """Group -> the vendors' charges of its month."""
        cells = self.cells["vendor_bill_line"]
        newest, arrived = views.newest_versions(cells), views.arrived(self.cells["vendor_bill"], cells)
        charges: dict[Group, list[views.Charge]] = defaultdict(list)
        for cell in cells:
            value = _value(cell)
            if value["version"] < newest[cell.key[:3]]:
                continue
            account = Unmapped("account", cell.source, value["account"])
            sku = Unmapped("sku", cell.source, value["sku"])
            for client, product, share in self._targets(account, sku):
                home = views.charged_in(cell, self.client(client).time_zone)
                charge = views.Charge(cell, product, share, cell.key[:4] in arrived)
                charges[Group(client, home, self.item(product))].append(charge)
        return charges

    @cached_property
    def entries(self) -> dict[_Whose, list[Cell]]:
        """Their time entries."""
        return _by(self.cells["time_entry"], lambda cell: (_value(cell)["client"], self.item(_value(cell)["product"])))

    @cached_property
    def closed(self) -> dict[Group, Cell]:
        """Group -> what it came to when its period was closed."""
        return {
            Group(client, Period.parse(f"{start}/{end}"), item): cell
            for cell in self.cells["statement_group"]
            for client, start, end, item in [cell.key]
        }

    @cached_property
    def silent(self) -> tuple[MissedFeed, ...]:
        return views.silent(self.cells["feed_missed"], views.reached(self.cells["feed"]))

    @cached_property
    def feed_sources(self) -> dict[str, set[str]]:
        """Product -> sources that have a sku mapped to it."""
        sources: dict[str, set[str]] = defaultdict(set)
        for identifier, mapping in self.mappings.items():
            for product, _ in mapping.targets if identifier.kind == "sku" else ():
                sources[product].add(identifier.source)
        return sources

    @cached_property
    def feeds_of(self) -> dict[str, list[Cell]]:
        """Source -> its complete spans."""
        return _by(self.cells["feed"], lambda cell: cell.source)

    @cached_property
    def homes(self) -> dict[str, set[str]]:
        """Client -> sources at which an account is its own."""
        homes: dict[str, set[str]] = defaultdict(set)
        for identifier, mapping in self.mappings.items():
            for client, _ in mapping.targets if identifier.kind == "account" else ():
                homes[client].add(identifier.source)
        return homes

    @cached_property
    def strangers(self) -> tuple[dict[str, set[Unmapped]], dict[str, set[Unmapped]]]:
        """(product -> unmapped accounts that use it, client -> unmapped skus that its accounts use)."""
        accounts: dict[str, set[Unmapped]] = defaultdict(set)
        skus: dict[str, set[Unmapped]] = defaultdict(set)
        for key in self.meters:
            account, sku = _identifiers(key)
            of_account, of_sku = self.mapping(account), self.mapping(sku)
            if not of_account.known:
                for product, _ in of_sku.targets:
                    accounts[product].add(account)
            if not of_sku.known:
                for client, _ in of_account.targets:
                    skus[client].add(sku)
        return accounts, skus

    def hiding(self, client: str, products: Iterable[str]) -> tuple[Unmapped, ...]:
        """Unmapped identifiers under which this group's usage may hide (see ``GroupInputs.unmapped``)."""
        homes, (accounts, skus) = self.homes[client], self.strangers
        found: set[Unmapped] = set()
        for product in products:
            elsewhere = {one for one in accounts[product] if one.source not in homes}
            found |= {one for one in elsewhere | skus[client] if one.source in self.feed_sources[product]}
        return tuple(sorted(found))

    # --- groups --------------------------------------------------------------------------------------------------
    @cached_property
    def groups(self) -> list[Group]:
        return sorted(
            {
                *self._groups_of_usage(),
                *self._groups_of_lines(),
                *self._groups_of_invoices(),
                *self._groups_of_entries(),
                *self.charges,
                *(group for group in self.closed if self.item(group.product) == group.product),
            }
        )

    def _groups_of_usage(self) -> Iterator[Group]:
        as_of, _ = self.dates
        for (client, item), meters in self.shares.items():
            time_zone = self.client(client).time_zone
            for key, *_ in meters:
                days = {local_date(slot.at, time_zone) for slot in self.meters[key]}
                is_gauge = self.meters[key][0].kind == "gauge"
                spans = [(min(days), max([*days, as_of or min(days)]))] if is_gauge else [(day, day) for day in days]
                for first, last in spans:
                    for period in views.months_touched(first, last, last):
                        yield Group(client, period, item)

    def _groups_of_lines(self) -> Iterator[Group]:
        as_of, opens = self.dates
        documents, waiting = self.documents
        invoiced: dict[str, set[Period]] = defaultdict(set)
        for client, period in [*((d.client, d.period) for d in documents), *((w.client, w.period) for w in waiting)]:
            invoiced[client].update(views.months_touched(period.start, period.end - _DAY, as_of))
        for (client, product), first in views.agreed_from(self.cells["contract_line"]).items():
            since = first if opens is None else max(first, opens)
            months = {period for period in invoiced[client] if period.end > first}
            if as_of is not None and as_of >= since:
                months.update(views.months_touched(since, None, as_of))
            for period in months:
                yield Group(client, period, self.item(product))

    def _groups_of_invoices(self) -> Iterator[Group]:
        as_of, _ = self.dates
        for (client, item), lines in self.posted.items():
            for service in {line.period for line in lines if item != LEVEL}:
                for period in views.months_touched(service.start, service.end - _DAY, as_of):
                    yield Group(client, period, item)

    def _groups_of_entries(self) -> Iterator[Group]:
        for (client, item), cells in self.entries.items():
            for day in {_value(cell)["worked_on"] for cell in cells}:
                yield Group(client, month_of(date.fromisoformat(day)), item)

    def inputs(self, group: Group) -> GroupInputs:
        client, period, item = group
        whose, products, mine = self.client(client), self.members(item), (client, item)
        as_of, opens = self.dates
        lines = views.line_versions(self.lines.get(mine, ()), client, products)
        wanted = views.windows(spans.needed(lines, whose, period), period, whose.time_zone)
        events = spans.wants_events(lines)
        sources = sorted({source for product in products for source in self.feed_sources[product]})
        known = [self.products.get(product) or views.product(product, ()) for product in products]
        return GroupInputs(
            client=whose,
            product=known[0],
            period=period,
            as_of=as_of,
            lines=lines,
            measured=tuple(
                one
                for key, product, share in self.shares.get(mine, ())
                for one in views.measured(self.meters[key], share, wanted, product, events=events)
            ),
            invoices=self._invoice_state(client, period),
            invoice_lines=views.meeting(self.posted.get(mine, ()), period),
            feeds=views.spans((cell for source in sources for cell in self.feeds_of.get(source, ())), sources),
            feed_sources=tuple(sources),
            unmapped=self.hiding(client, products),
            opens=opens,
            settings=self.settings,
            others=tuple(known[1:]),
            vendor_lines=views.vendor_lines(self.charges.get(group, ())),
            entries=views.time_entries(
                self.entries.get(mine, ()), client, products, spans.entry_span(lines, whose, period)
            ),
            closed=views.closed_group(self.closed.get(group)),
            missed=tuple(one for one in self.silent if one.source in sources),
        )

    def _invoice_state(self, client: str, period: Period) -> InvoiceState:
        if (client, period) not in self._states:
            self._states[client, period] = views.invoice_state(*self.documents_of[client], client, period)
        return self._states[client, period]

    # --- verdicts ------------------------------------------------------------------------------------------------
    def verdicts(self, periods: Collection[Period] | None = None) -> dict[Group, Verdict]:
        """Of groups and levels; ``periods``: only of these months."""
        drawn: dict[Group, Verdict] = {}
        totals: dict[tuple[str, Period], list[GroupTotal]] = defaultdict(list)
        for group in self.groups:
            if periods is not None and group.period not in periods:
                continue
            verdict = draw_group(self.inputs(group))
            if verdict is not None:
                drawn[group] = verdict
                totals[group.client, group.period].append(total_of(group.product, verdict))
        for client, period in sorted({*totals, *self._levels()}):
            if periods is not None and period not in periods:
                continue
            verdict = draw_client(self.client_inputs(client, period, totals[client, period]))
            if verdict is not None:
                drawn[Group(client, period, LEVEL)] = verdict
        return drawn

    def unmapped(self) -> dict[Unmapped, Verdict]:
        drawn: dict[Unmapped, Verdict] = {}
        for identifier in self._identifiers():
            verdict = draw_unmapped(self.unmapped_inputs(identifier))
            if verdict is not None:
                drawn[identifier] = verdict
        return drawn

    def _levels(self) -> Iterator[tuple[str, Period]]:
        """Months of a client in which its level may speak although no group does: a document's tax, a commitment."""
        as_of, opens = self.dates
        for document in self.documents[0]:
            for period in views.months_touched(document.period.start, document.period.end - _DAY, as_of):
                yield document.client, period
        for client, versions in self.commitments.items():
            since = min(version.effective_from for version in versions)
            since = since if opens is None else max(since, opens)
            if as_of is not None and as_of >= since:
                for period in views.months_touched(since, None, as_of):
                    yield client, period

    def client_inputs(self, client: str, period: Period, groups: Iterable[GroupTotal]) -> ClientInputs:
        as_of, opens = self.dates
        return ClientInputs(
            client=self.client(client),
            period=period,
            as_of=as_of,
            groups=tuple(groups),
            invoices=self._invoice_state(client, period),
            opens=opens,
            settings=self.settings,
            commitments=self.commitments.get(client, ()),
            commitment_lines=views.meeting(self.posted.get((client, LEVEL), ()), period),
            documents=views.document_facts(self.documents_of[client][0], client, period),
        )

    def _identifiers(self) -> list[Unmapped]:
        found = {one for key in self.meters for one in _identifiers(key)}
        for cell in self.cells["vendor_bill_line"]:
            found.add(Unmapped("account", cell.source, _value(cell)["account"]))
            found.add(Unmapped("sku", cell.source, _value(cell)["sku"]))
        return sorted(found)

    @cached_property
    def _charges(self) -> dict[Unmapped, list[Cell]]:
        charges: dict[Unmapped, list[Cell]] = defaultdict(list)
        for cell in self.cells["vendor_bill_line"]:
            charges[Unmapped("account", cell.source, _value(cell)["account"])].append(cell)
            charges[Unmapped("sku", cell.source, _value(cell)["sku"])].append(cell)
        return charges

    @cached_property
    def known(self) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
        """(id, name) of every client, and of every product."""
        return (
            tuple((one.id, one.name) for one in self.clients.values()),
            tuple((one.id, one.name) for one in self.products.values()),
        )

    def unmapped_inputs(self, identifier: Unmapped) -> UnmappedInputs:
        mapping = self.mapping(identifier)
        clients, products = self.known
        return UnmappedInputs(
            kind=identifier.kind,
            source=identifier.source,
            key=identifier.key,
            name=self.names.get(identifier),
            mapped=mapping.known,
            cost=views.vendor_cost(self._charges.get(identifier, ())),
            known=clients if identifier.kind == "account" else products,
            until=mapping.until,
        )


def _identifiers(key: MeterKey) -> tuple[Unmapped, Unmapped]:
    _, source, account, sku, *_ = key
    return Unmapped("account", source, account), Unmapped("sku", source, sku)


def _value(cell: Cell) -> dict[str, Any]:
    return cell.value or {}


def _by(cells: Iterable[Cell], key: Any) -> dict[Any, list[Cell]]:
    grouped: dict[Any, list[Cell]] = defaultdict(list)
    for cell in cells:
        grouped[key(cell)].append(cell)
    return grouped
