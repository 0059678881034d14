"""Which groups a raw due row touches. Read after the fold that left the row has committed: what it moved is seen.

Three things make the answers safe beside concurrent folds and draws:

- ``matching.route`` remembers every target that an identifier ever had, so a group that was drawn under a former
  mapping is found even if account and sku were moved at the same moment;
- ``matching.compare_key`` holds every group that was ever due, committed before it was drawn;
- what only ``matching.drawn`` knows (groups that rest on absence, identifiers that are open) is read while no draw of
  the tenant is under way (:data:`EXCLUSIVE`);
- groups are marked by their products, each by itself: which of them bundles tie together is for the draw to say, by its
  own snapshot, whatever bundle was recorded in the meantime (docs/decisions/0105).

A group too many costs a draw that finds nothing; one too few would be wrong for ever. So every answer is generous.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from services.matching.cells import TIED, UNIT_DAYS, cell_of, longest
from shared.kernel.periods import Period, local_date, month_of
from shared.reconciliation.client_level import LEVEL
from shared.reconciliation.facts import Cell
from shared.reconciliation.inputs import Client, LineVersion, Product
from shared.reconciliation.spans import homes
from shared.reconciliation.views import bundles, line_versions, may_be_home, months_touched, opening, reach

NO_MONTH = date.min
"""The month of an identifier's group, which has none (``-infinity`` in SQL)."""
_DAY, _YEAR = timedelta(days=1), timedelta(days=366)


class Key(NamedTuple):
    """One group. Its level is ``product`` (owner: client, item: product; what is drawn bears the least product that a
    bundle ties together), ``client`` (item ``*``), ``account`` or ``sku`` (owner: the vendor's source, item: its
    identifier), or ``feed`` (owner: its source)."""

    tenant: str
    level: str
    owner: str
    month: date
    item: str


class Due(NamedTuple):
    """A row of ``matching.due``."""

    tenant: str
    kind: str
    meter: Any
    key: tuple[str, ...]
    first_at: datetime | None
    last_at: datetime | None
    cause: str


@dataclass
class Found:
    """What a batch of due rows comes to: groups, and further raw rows for what is too much for one transaction."""

    keys: dict[Key, str] = field(default_factory=dict)
    raw: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def group(self, tenant: str, client: str, month: date, product: str, cause: str) -> None:
        level = "client" if product == LEVEL else "product"
        self._keep(self.keys, Key(tenant, level, client, month, product), cause)

    def key(self, key: Key, cause: str) -> None:
        self._keep(self.keys, key, cause)

    def later(self, tenant: str, kind: str, meter: Any, key: Sequence[str], cause: str) -> None:
        self._keep(self.raw, (tenant, kind, meter, tuple(key)), cause)

    @staticmethod
    def _keep(rows: dict[Any, str], key: Any, cause: str) -> None:
        """Of several causes the one that was recorded last."""
        if key not in rows or cause_order(rows[key]) < cause_order(cause):
            rows[key] = cause


@lru_cache(maxsize=10_000)
def cause_order(cause: str) -> tuple[str, str]:
    """Of two causes the greater was recorded later."""
    fields = orjson.loads(cause)
    return fields["recorded_at"], fields["record"]


class Calendar(NamedTuple):
    """How far a tenant's calendar has got, and the day on which its books opened."""

    as_of: date | None
    opens: date | None


EXCLUSIVE = "SELECT pg_advisory_xact_lock(hashtextextended('matching.draw/' || $1, 0))"
SHARED = "SELECT pg_advisory_xact_lock_shared(hashtextextended('matching.draw/' || $1, 0))"
_NEED_EXCLUSIVE = frozenset({"client", "feed", "feed_missed", "mapping", "new_meter", "product"})

_CALENDAR = "SELECT as_of, first_day FROM matching.calendar WHERE tenant = $1"


async def expand(tx: Any, dues: Sequence[Due], *, lock: bool = True) -> Found:
    """The groups that ``dues`` touch. Without ``lock`` only groups that nobody can be drawing are sure to be found."""
    found = Found()
    by_tenant: dict[str, dict[str, list[Due]]] = {}
    for due in dues:
        by_tenant.setdefault(due.tenant, {}).setdefault(due.kind, []).append(due)
    for tenant in sorted(by_tenant):
        if lock and by_tenant[tenant].keys() & _NEED_EXCLUSIVE:
            await tx.execute(EXCLUSIVE, tenant)
    for tenant, kinds in by_tenant.items():
        row = await tx.fetchrow(_CALENDAR, tenant)
        calendar = Calendar(row[0], opening(row[1])) if row else Calendar(None, None)
        step = _Step(tx, tenant, calendar, found)
        for kind, rows in kinds.items():
            await _EXPANDERS[kind](step, rows)
    return found


@dataclass(frozen=True)
class _Step:
    """One tenant's part of a batch."""

    tx: Any
    tenant: str
    calendar: Calendar
    found: Found

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        rows: list[Any] = await self.tx.fetch(sql, self.tenant, *arguments)
        return rows

    async def existing(self, causes: Mapping[str, str], since: Mapping[str, date] | None = None) -> None:
        """Every group of some clients (with its cause), from a month on if ``since`` says so."""
        for level, owner, month, item in await self.fetch(_EXISTING, list(causes)):
            if since is None or month >= since[owner]:
                self.found.key(Key(self.tenant, level, owner, month, item), causes[owner])

    async def absent(self, clients: Mapping[str, str], products: Mapping[str, str]) -> None:
        """Groups of these clients or products whose verdict rests on the absence of usage."""
        causes = {tied: products[product] for product, tied in await self.tied(products)}
        for owner, month, item in await self.fetch(_RESTING, list(clients), list(causes)):
            self.found.group(self.tenant, owner, month, item, clients.get(owner) or causes[item])

    async def tied(self, products: Iterable[str]) -> list[tuple[str, str]]:
        """(product, one that a bundle may tie to it), itself among them."""
        wanted = sorted(set(products))
        parts: dict[str, list[str]] = {}
        for product, part in await self.fetch(_TIES, wanted) if wanted else ():
            parts.setdefault(product, []).append(part)
        together = bundles(Product(one, one, components=tuple(of)) for one, of in parts.items())
        return [(one, other) for one in wanted for other in together.get(one, (one,))]

    async def supplied(self, sources: Iterable[str]) -> dict[str, set[str]]:
        """Source -> the products that it has a sku of, and all that bundles tie to them."""
        direct = await self.fetch(_SUPPLIED, sorted(set(sources)))
        tied: dict[str, set[str]] = {}
        for product, other in await self.tied(product for _, product in direct):
            tied.setdefault(product, set()).add(other)
        found: dict[str, set[str]] = {}
        for source, product in direct:
            found.setdefault(source, set()).update(tied[product])
        return found

    async def far(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], _Far]:
        """(client, product) -> the lines of its group, where usage of a day may concern other months than its own."""
        wanted = set(pairs)
        clients = sorted({client for client, _ in wanted})
        lines: dict[str, list[Cell]] = {}
        for *columns, zone in await self.fetch(_FAR_LINES, clients):
            cell = cell_of(self.tenant, columns)
            lines.setdefault(zone, []).append(cell)
        if not lines:
            return {}
        tied: dict[str, set[str]] = {}
        for product, other in await self.tied(product for _, product in wanted):
            tied.setdefault(product, set()).add(other)
        found = {}
        for client, product in wanted:
            for zone, cells in lines.items():
                versions = line_versions(cells, client, tied[product])
                if versions:
                    found[client, product] = _Far(Client(client, client, zone), versions)
        return found

    async def open_identifiers(self, kind: str, cause: str) -> None:
        """Unmapped identifiers: who is known has changed, and with it who they may be."""
        for owner, month, item in await self.fetch(_OPEN_IDENTIFIERS, kind):
            self.found.key(Key(self.tenant, kind, owner, month, item), cause)

    def identifier(self, kind: str, source: str, key: str, cause: str) -> None:
        self.found.key(Key(self.tenant, kind, source, NO_MONTH, key), cause)

    def touched(self, first: date, last: date) -> Iterator[date]:
        """First days of the months that a span of days (both included) makes groups in."""
        for period in months_touched(first, last, self.calendar.as_of):
            yield period.start

    def since(self, first: date) -> Iterator[date]:
        """First days of the months from ``first`` (or the opening of the books) to the calendar's."""
        as_of, opens = self.calendar
        since = max(first, opens or first)
        if as_of is not None and since <= as_of:
            for period in months_touched(since, None, as_of):
                yield period.start


class _Far(NamedTuple):
    """Lines under which a day concerns more than its own month."""

    client: Client
    lines: tuple[LineVersion, ...]

    @property
    def longest(self) -> int:
        """Days of their longest billing period."""
        periods = (line.terms.period for line in self.lines if line.terms is not None)
        return max((UNIT_DAYS[period.unit] * period.count for period in periods), default=0)

    def months(self, first: date, last: date, as_of: date | None) -> set[date]:
        """First days of the months that usage or work from ``first`` to ``last`` (both included) concerns, at most a
        year beyond it and the calendar."""
        ahead = min(max(last, as_of or last), date.max - _YEAR) + _YEAR
        days = Period(max(first, reach(last)), min(last, date.max - _DAY) + _DAY)
        return {period.start for period in homes(self.lines, self.client, days) if period.start <= ahead}


_TIES = TIED.format(
    select="""
SELECT c.product, c.part FROM reached r
 CROSS JOIN LATERAL (SELECT * FROM matching.component o WHERE o.tenant = $1 AND o.product = r.one OFFSET 0) c"""
)
_FAR_LINES = """
SELECT c.kind, c.key, c.rank_at, c.rank_run, c.rank_content, c.value, c.source, c.record_type, c.record, m.zone
  FROM (SELECT DISTINCT o.key[1] AS source, o.key[2] AS contract, o.key[3] AS line,
               matching.zone_of($1, o.client) AS zone
          FROM matching.cell o
         WHERE o.tenant = $1 AND o.kind = 'contract_line' AND o.client = ANY ($2::text[])
           AND matching.reaches_far(o.value)) m
 CROSS JOIN LATERAL (
   SELECT * FROM matching.cell v
    WHERE v.kind = 'contract_line'
      AND ARRAY[v.tenant, v.key[1], v.key[2], v.key[3]] = ARRAY[$1, m.source, m.contract, m.line] OFFSET 0) c"""
_EXISTING = """
SELECT k.level, k.owner, k.month, k.item FROM matching.compare_key k
 WHERE k.tenant = $1 AND k.level IN ('product', 'client') AND k.owner = ANY ($2::text[])"""
_RESTING = """
SELECT d.owner, d.month, d.item FROM matching.drawn d
 WHERE d.tenant = $1 AND d.level = 'product' AND d.rests_on_absence
   AND (d.owner = ANY ($2::text[]) OR d.item = ANY ($3::text[]))"""
_OPEN_IDENTIFIERS = """
SELECT d.owner, d.month, d.item FROM matching.drawn d WHERE d.tenant = $1 AND d.level = $2 AND d.state = 'break'"""

# --- usage -------------------------------------------------------------------------------------------------------
_ROUTED = """
SELECT m.meter, m.kind, ra.target, matching.zone_of($1, ra.target), rs.target
  FROM matching.meter m
  JOIN matching.route ra ON (ra.tenant, ra.kind, ra.source, ra.key) = ($1, 'account', m.source, m.account)
  JOIN matching.route rs ON (rs.tenant, rs.kind, rs.source, rs.key) = ($1, 'sku', m.source, m.sku)
 WHERE m.meter = ANY ($2::uuid[])"""
_ROUTED_NOW = _ROUTED + " AND ra.share IS NOT NULL AND rs.share IS NOT NULL"
_NEXT = """
SELECT d.n, (SELECT s.at FROM matching.slot s
              WHERE s.meter = d.meter AND s.day >= (d.at AT TIME ZONE 'UTC')::date AND s.at > d.at
              ORDER BY s.day, s.at LIMIT 1)
  FROM unnest($2::int[], $3::uuid[], $4::timestamptz[]) AS d(n, meter, at) WHERE $1 <> ''"""
_SPANS = """
SELECT d.meter,
       (SELECT s.at FROM matching.slot s WHERE s.meter = d.meter ORDER BY s.day, s.at LIMIT 1),
       (SELECT s.at FROM matching.slot s WHERE s.meter = d.meter ORDER BY s.day DESC, s.at DESC LIMIT 1)
  FROM unnest($2::uuid[]) AS d(meter) WHERE $1 <> ''"""


async def _meters(step: _Step, dues: Sequence[Due]) -> None:
    """Slots that moved: their months; of a gauge until its next instant, or as far as the calendar has got."""
    targets: dict[Any, list[Any]] = {}
    for meter, kind, client, zone, product in await step.fetch(_ROUTED_NOW, list({due.meter for due in dues})):
        targets.setdefault(meter, []).append((kind, client, zone, product))
    gauges = [
        (n, due.meter, due.last_at) for n, due in enumerate(dues) if targets.get(due.meter, [("",)])[0][0] == "gauge"
    ]
    upto = dict(await step.fetch(_NEXT, *zip(*gauges, strict=True))) if gauges else {}
    far = await step.far((client, product) for of in targets.values() for _, client, _, product in of)
    for n, due in enumerate(dues):
        for kind, client, zone, product in targets.get(due.meter, ()):
            assert due.first_at is not None
            assert due.last_at is not None
            last = local_date(upto.get(n) or due.last_at, zone)
            if kind == "gauge" and upto[n] is None and step.calendar.as_of is not None:
                last = max(last, step.calendar.as_of)
            first = local_date(due.first_at, zone)
            months = {period.start for period in months_touched(first, last, last)}
            if (client, product) in far:
                months |= far[client, product].months(first, last, step.calendar.as_of)
            for month in months:
                step.found.group(step.tenant, client, month, product, due.cause)


# In some zone a UTC day's instants are of the day before or after.
_OLD_MONTHS = """
SELECT DISTINCT s.meter, date_trunc('month', s.day + d.days)::date
  FROM matching.slot s CROSS JOIN (VALUES (-1), (0), (1)) AS d(days)
 WHERE s.meter = ANY ($2::uuid[]) AND $1 <> ''"""


async def _whole_meters(step: _Step, dues: Sequence[Due]) -> None:
    """Meters whose owners changed: all that they ever were part of, in every month that they have to do with."""
    causes = {due.meter: due.cause for due in dues}
    spans = {meter: (first, last) for meter, first, last in await step.fetch(_SPANS, list(causes))}
    old = [meter for meter, (first, last) in spans.items() if first.date() < reach(last.date())]
    old_months: dict[Any, list[date]] = _pairs(await step.fetch(_OLD_MONTHS, old)) if old else {}
    pairs: dict[tuple[str, str], str] = {}
    routed = await step.fetch(_ROUTED, list(causes))
    far = await step.far((client, product) for _, _, client, _, product in routed)
    for meter, kind, client, zone, product in routed:
        pairs[client, product] = causes[meter]
        first, last = (local_date(at, zone) for at in spans[meter])
        if kind == "gauge" and step.calendar.as_of is not None:
            last = max(last, step.calendar.as_of)
        months = {period.start for period in months_touched(first, last, last)}.union(old_months.get(meter, ()))
        if (client, product) in far:
            months |= far[client, product].months(first, last, step.calendar.as_of)
        for month in months:
            step.found.group(step.tenant, client, month, product, causes[meter])
    for level, owner, month, item in await step.fetch(_EXISTING, list({client for client, _ in pairs})):
        if (owner, item) in pairs:
            step.found.key(Key(step.tenant, level, owner, month, item), pairs[owner, item])


# An identifier that has a target, or an exclusion without an end, has no group of its own.
_NEW_METERS = """
SELECT m.meter, m.source, m.account, m.sku, matching.known(a.value, $3), matching.known(s.value, $3),
       a.value IS NULL OR a.value -> 'excluded' ->> 'until' IS NOT NULL,
       s.value IS NULL OR s.value -> 'excluded' ->> 'until' IS NOT NULL
  FROM matching.meter m
  LEFT JOIN matching.cell a ON (a.tenant, a.kind, a.key) = ($1, 'mapping', ARRAY['account', m.source, m.account])
  LEFT JOIN matching.cell s ON (s.tenant, s.kind, s.key) = ($1, 'mapping', ARRAY['sku', m.source, m.sku])
 WHERE m.meter = ANY ($2::uuid[])"""
_TARGETS = """
SELECT r.kind, r.source, r.key, r.target FROM matching.route r
  JOIN unnest($2::text[], $3::text[], $4::text[]) AS i(kind, source, key) USING (kind, source, key)
 WHERE r.tenant = $1"""


async def _new_meters(step: _Step, dues: Sequence[Due]) -> None:
    """A meter that was never seen: its identifiers if nobody mapped them, and where usage may hide under them."""
    await _whole_meters(step, dues)
    causes = {due.meter: due.cause for due in dues}
    hiding: dict[tuple[str, str, str], str] = {}
    rows = await step.fetch(_NEW_METERS, list(causes), step.calendar.as_of)
    for meter, source, account, sku, account_known, sku_known, account_open, sku_open in rows:
        cause = causes[meter]
        if account_open:
            step.identifier("account", source, account, cause)
        if sku_open:
            step.identifier("sku", source, sku, cause)
        if not account_known:
            hiding["sku", source, sku] = cause
        if not sku_known:
            hiding["account", source, account] = cause
    await _hidden_under(step, hiding)


async def _hidden_under(step: _Step, identifiers: Mapping[tuple[str, str, str], str]) -> None:
    """Groups that rest on absence, of the clients and products that identifiers belong to."""
    if not identifiers:
        return
    clients: dict[str, str] = {}
    products: dict[str, str] = {}
    for kind, source, key, target in await step.fetch(_TARGETS, *zip(*identifiers, strict=True)):
        (clients if kind == "account" else products)[target] = identifiers[kind, source, key]
    await step.absent(clients, products)


# --- identifiers and mappings ------------------------------------------------------------------------------------
_OPEN = """
SELECT i.kind, i.source, i.key
  FROM unnest($2::text[], $3::text[], $4::text[]) AS i(kind, source, key)
  LEFT JOIN matching.cell c ON (c.tenant, c.kind, c.key) = ($1, 'mapping', ARRAY[i.kind, i.source, i.key])
 WHERE c.value IS NULL OR c.value -> 'excluded' ->> 'until' IS NOT NULL"""
_METERS_OF = """
SELECT m.meter, m.source, m.account, m.sku FROM matching.meter m
 WHERE m.tenant = $1 AND m.source = $2 AND {} = $3"""


async def _identifiers(step: _Step, dues: Sequence[Due]) -> None:
    """New names and charges: they matter only while nobody has mapped the identifier (for good)."""
    causes = {due.key: due.cause for due in dues}
    for kind, source, key in await step.fetch(_OPEN, *zip(*causes, strict=True)):
        step.identifier(kind, source, key, causes[kind, source, key])


async def _mappings(step: _Step, dues: Sequence[Due]) -> None:
    """An identifier has other targets: its own group, its meters under every target that they ever had, and whoever
    waits for usage that may hide under it."""
    hiding: dict[tuple[str, str, str], str] = {}
    for due in dues:
        kind, source, key = due.key
        step.identifier(kind, source, key, due.cause)
        hiding[kind, source, key] = due.cause
        column = "m.account" if kind == "account" else "m.sku"
        for meter, _, account, sku in await step.fetch(_METERS_OF.format(column), source, key):
            step.found.later(step.tenant, "whole_meter", meter, (), due.cause)
            other = ("sku", source, sku) if kind == "account" else ("account", source, account)
            hiding[other] = due.cause
        charged = _CHARGED.format("c.account" if kind == "account" else "c.sku")
        for account, sku in await step.fetch(charged, source, key):
            step.found.later(step.tenant, "charges", None, (source, account, sku), due.cause)
        if kind == "sku":
            for _, feed in await step.fetch(_MISSED, [source]):
                step.found.later(step.tenant, "feed_missed", None, (source, feed), due.cause)
    await _hidden_under(step, hiding)


# --- vendors' charges and time -----------------------------------------------------------------------------------
_CHARGED = """
SELECT DISTINCT c.account, c.sku FROM matching.cell c
 WHERE c.tenant = $1 AND c.kind = 'vendor_bill_line' AND c.source = $2 AND {} = $3"""
_CHARGE_TARGETS = """
SELECT i.n, ra.target, matching.zone_of($1, ra.target), rs.target
  FROM unnest($2::int[], $3::text[], $4::text[], $5::text[]) AS i(n, source, account, sku)
  JOIN matching.route ra ON (ra.tenant, ra.kind, ra.source, ra.key) = ($1, 'account', i.source, i.account)
  JOIN matching.route rs ON (rs.tenant, rs.kind, rs.source, rs.key) = ($1, 'sku', i.source, i.sku)"""
_CHARGE_DAYS = """
SELECT DISTINCT i.n, c.value ->> 'charge_from'
  FROM unnest($2::int[], $3::text[], $4::text[], $5::text[]) AS i(n, source, account, sku)
 CROSS JOIN LATERAL (
   SELECT v.value FROM matching.cell v
    WHERE v.tenant = $1 AND v.kind = 'vendor_bill_line'
      AND v.source = i.source AND v.account = i.account AND v.sku = i.sku OFFSET 0) c"""
_BILLS = """
SELECT DISTINCT i.n, c.source, c.account, c.sku
  FROM unnest($2::int[], $3::text[], $4::text[], $5::text[]) AS i(n, source, issuer, bill)
 CROSS JOIN LATERAL (
   SELECT v.source, v.account, v.sku FROM matching.cell v
    WHERE v.tenant = $1 AND v.kind = 'vendor_bill_line'
      AND v.key[1] = i.source AND v.key[2] = i.issuer AND v.key[3] = i.bill OFFSET 0) c"""


async def _charge(step: _Step, dues: Sequence[Due]) -> None:
    """A charge: its month, of whoever its account and its sku are or ever were."""
    identifiers = [(n, *due.key[:3]) for n, due in enumerate(dues)]
    for n, client, zone, product in await step.fetch(_CHARGE_TARGETS, *zip(*identifiers, strict=True)):
        for home in may_be_home(dues[n].key[3], zone):
            step.found.group(step.tenant, client, home.start, product, dues[n].cause)


async def _charges(step: _Step, dues: Sequence[Due]) -> None:
    """All that a vendor ever charged for an account and a sku."""
    identifiers = [(n, *due.key) for n, due in enumerate(dues)]
    instants = _pairs(await step.fetch(_CHARGE_DAYS, *zip(*identifiers, strict=True)))
    for n, client, zone, product in await step.fetch(_CHARGE_TARGETS, *zip(*identifiers, strict=True)):
        for home in {month for at in instants.get(n, ()) for month in may_be_home(at, zone)}:
            step.found.group(step.tenant, client, home.start, product, dues[n].cause)


async def _bills(step: _Step, dues: Sequence[Due]) -> None:
    """A bill has a newer version: all the lines of its versions."""
    bills = [(n, *due.key) for n, due in enumerate(dues)]
    for n, *charged in await step.fetch(_BILLS, *zip(*bills, strict=True)):
        step.found.later(step.tenant, "charges", None, charged, dues[n].cause)


async def _time_entries(step: _Step, dues: Sequence[Due]) -> None:
    far = await step.far((due.key[0], due.key[1]) for due in dues)
    for due in dues:
        client, product, day = due.key[0], due.key[1], date.fromisoformat(due.key[2])
        months = {month_of(day).start}
        if (client, product) in far:
            months |= far[client, product].months(day, day, step.calendar.as_of)
        for month in months:
            step.found.group(step.tenant, client, month, product, due.cause)


# --- contracts and documents -------------------------------------------------------------------------------------
_VERSIONS = """
SELECT DISTINCT c.key[1], c.key[2], c.key[3], c.client, c.product, c.value #>> '{terms,period}'
  FROM unnest($2::text[], $3::text[], $4::text[]) AS l(source, contract, line)
 CROSS JOIN LATERAL (
   SELECT * FROM matching.cell v
    WHERE v.kind = 'contract_line'
      AND ARRAY[v.tenant, v.key[1], v.key[2], v.key[3]] = ARRAY[$1, l.source, l.contract, l.line] OFFSET 0) c"""


async def _contract_lines(step: _Step, dues: Sequence[Due]) -> None:
    """Terms from a day on: the months whose billing parts hold that day, and the later ones, of whoever the line ever
    belonged to."""
    owners: dict[tuple[str, ...], set[tuple[str, str]]] = {}
    longest_of: dict[tuple[str, ...], int] = {}
    lines = {due.key[:3] for due in dues}
    for *key, client, product, period in await step.fetch(_VERSIONS, *zip(*lines, strict=True)):
        line = tuple(key)
        owners.setdefault(line, set()).add((client, product))
        days = longest({"terms": {"period": orjson.loads(period)}}) if period else 0
        longest_of[line] = max(longest_of.get(line, 0), days)
    pairs = {pair for of_line in owners.values() for pair in of_line} | {(due.key[4], due.key[5]) for due in dues}
    far = await step.far(pairs)
    months: dict[str, set[date]] = {}
    items: dict[str, set[str]] = {}
    for _, owner, month, item in await step.fetch(_EXISTING, list({client for client, _ in pairs})):
        months.setdefault(owner, set()).add(month)
        items.setdefault(owner, {LEVEL}).add(item)
    for due in dues:
        line, first = due.key[:3], date.fromisoformat(due.key[3])
        said, held = due.key[6:] or ("0", "")
        back = max(int(said), longest_of.get(line, 0))
        for client, product in owners.get(line, set()) | {(due.key[4], due.key[5])}:
            # What comes after a line that has ended is reckoned in its periods until another line begins.
            others = far[client, product].longest if (client, product) in far else 0
            since = first - timedelta(days=min(max(back, others), (first - date.min).days))
            later = {month for month in months.get(client, ()) if month >= month_of(since).start}
            # A commitment over several lines is the level's, and takes invoice lines from whatever group they were in.
            products = {product, LEVEL} | items.get(client, set()) if held else {product}
            for month in later.union(step.since(since)):
                for one in products:
                    step.found.group(step.tenant, client, month, one, due.cause)


_DOCUMENTS = """
SELECT i.n, d.source, d.invoice, d.client, d.period_from, d.period_to, d.span_from, d.span_to
  FROM unnest($2::int[], $3::text[], $4::text[]) AS i(n, source, invoice)
  JOIN matching.document d
    ON d.tenant = $1 AND d.source = i.source AND (d.invoice = i.invoice OR d.corrects = i.invoice)
 WHERE d.client IS NOT NULL"""
_LINES = """
SELECT DISTINCT l.key[1], l.key[2], l.product, l.value ->> 'period_from', l.value ->> 'period_to'
  FROM unnest($2::text[], $3::text[]) AS i(source, invoice)
  JOIN matching.cell l ON l.tenant = $1 AND l.kind = 'invoice_line' AND l.key[1] = i.source AND l.key[2] = i.invoice"""
_CONTRACTED = """
SELECT DISTINCT c.client, c.product FROM matching.cell c
 WHERE c.tenant = $1 AND c.kind = 'contract_line' AND c.client = ANY ($2::text[])"""


async def _documents(step: _Step, dues: Sequence[Due]) -> None:
    """An invoice or credit note, or what it corrects: every group of its client in its months (the invoice takes the
    billed side over), what the client has agreed, and what the lines bill."""
    causes = list({due.key: due.cause for due in dues}.items())
    arguments = ([n for n, _ in enumerate(causes)], [key[0] for key, _ in causes], [key[1] for key, _ in causes])
    headers = await step.fetch(_DOCUMENTS, *arguments)
    if not headers:
        return
    clients = list({header["client"] for header in headers})
    products = _pairs(await step.fetch(_CONTRACTED, clients))
    existing = await step.fetch(_EXISTING, clients)
    lines: dict[tuple[str, str], list[Any]] = {}
    documents = {(header["source"], header["invoice"]) for header in headers}
    for source, invoice, *line in await step.fetch(_LINES, *zip(*documents, strict=True)):
        lines.setdefault((source, invoice), []).append(line)
    for header in headers:
        _document(step, header, causes[header["n"]][1], products, existing, lines)


def _document(
    step: _Step,
    header: Any,
    cause: str,
    products: Mapping[str, Sequence[str]],
    existing: Iterable[Any],
    lines: Mapping[tuple[str, str], Sequence[Any]],
) -> None:
    client, start, end = header["client"], header["period_from"], header["period_to"]
    whole = Period(min(start, header["span_from"] or start), max(end, header["span_to"] or end))
    for level, owner, month, item in existing:
        if owner == client and month < whole.end and month_of(month).end > whole.start:
            step.found.key(Key(step.tenant, level, owner, month, item), cause)
    for month in step.touched(start, end - _DAY):
        for product in (LEVEL, *products.get(client, ())):
            step.found.group(step.tenant, client, month, product, cause)
    for product, own_start, own_end in lines.get((header["source"], header["invoice"]), ()):
        first = date.fromisoformat(own_start) if own_start else start
        last = (date.fromisoformat(own_end) if own_end else end) - _DAY
        for month in step.touched(first, last):
            step.found.group(step.tenant, client, month, product, cause)


def _pairs(rows: Iterable[Any]) -> dict[Any, list[Any]]:
    pairs: dict[Any, list[Any]] = {}
    for one, other in rows:
        pairs.setdefault(one, []).append(other)
    return pairs


# --- master data, feeds, settings, the calendar ------------------------------------------------------------------
_ACCOUNTS = """
SELECT DISTINCT r.source, r.key, r.target FROM matching.route r
 WHERE r.tenant = $1 AND r.kind = 'account' AND r.target = ANY ($2::text[])"""


async def _clients(step: _Step, dues: Sequence[Due]) -> None:
    """Name, zone, bill-cycle day: all that was drawn of the client, and its meters, which another zone may move into
    other months; and every unmapped account, which may be this client's."""
    causes = {due.key[0]: due.cause for due in dues}
    await step.existing(causes)
    for source, key, client in await step.fetch(_ACCOUNTS, list(causes)):
        step.found.later(step.tenant, "mapping", None, ("account", source, key), causes[client])
    await step.open_identifiers("account", dues[-1].cause)


_OF_PRODUCTS = """
SELECT k.owner, k.month, k.item FROM matching.compare_key k
 WHERE k.tenant = $1 AND k.level = 'product' AND k.item = ANY ($2::text[])
UNION
SELECT d.owner, d.month, d.item FROM matching.drawn d
 WHERE d.tenant = $1 AND d.level = 'product' AND d.item = ANY ($2::text[])"""


async def _products(step: _Step, dues: Sequence[Due]) -> None:
    """Name, price, cost, or what it is a bundle of: the groups of all the products that it is or was tied to, each by
    itself; the draw says which of them are one group now."""
    named = {product: due.cause for due in dues for product in due.key}
    causes = {tied: named[product] for product, tied in await step.tied(named)}
    for owner, month, item in await step.fetch(_OF_PRODUCTS, list(causes)):
        step.found.group(step.tenant, owner, month, item, causes[item])
    await step.open_identifiers("sku", dues[-1].cause)


_SUPPLIED = """
SELECT DISTINCT r.source, r.target FROM matching.route r
 WHERE r.tenant = $1 AND r.kind = 'sku' AND r.source = ANY ($2::text[]) AND r.share IS NOT NULL"""


# Groups with a gauge of the source that nobody observed within the month (a day of either edge may be another month's,
# by the zone).
_CARRIED = """
SELECT k.owner, k.month, k.item
  FROM matching.compare_key k
 WHERE k.tenant = $1 AND k.level = 'product' AND k.item = ANY ($3::text[]) AND k.month BETWEEN $4 AND $5
   AND EXISTS (
     SELECT FROM matching.route ra
       JOIN matching.meter m ON (m.tenant, m.source, m.account) = ($1, ra.source, ra.key) AND m.kind = 'gauge'
       JOIN matching.route rs ON (rs.tenant, rs.kind, rs.source, rs.key) = ($1, 'sku', m.source, m.sku)
      WHERE ra.tenant = $1 AND ra.kind = 'account' AND ra.target = k.owner AND ra.source = $2
        AND rs.target = k.item AND ra.share IS NOT NULL AND rs.share IS NOT NULL
        AND EXISTS (SELECT FROM matching.slot b WHERE b.meter = m.meter AND b.day <= k.month + 1)
        AND NOT EXISTS (SELECT FROM matching.slot i WHERE i.meter = m.meter AND i.day > k.month + 1
                           AND i.day < (k.month + interval '1 month')::date - 1))"""


async def _feeds(step: _Step, dues: Sequence[Due]) -> None:
    """A span is complete: whatever waited for the absence of usage in it, and levels that are carried into a month
    whose start it reaches (shared.reconciliation.sides: they need a witness)."""
    by_source: dict[str, list[Due]] = {}
    for due in dues:
        by_source.setdefault(due.key[0], []).append(due)
    products = await step.supplied(by_source)
    resting = await step.fetch(_RESTING, [], list({one for of_source in products.values() for one in of_source}))
    far = await step.far((owner, item) for owner, _, item in resting)
    for source, spans in by_source.items():
        # A client's zone moves the edges by less than a day.
        first = min(due.first_at for due in spans if due.first_at).astimezone(UTC).date()
        last = max(due.last_at for due in spans if due.last_at).astimezone(UTC).date()
        first, last = max(first, date.min + _DAY) - _DAY, min(last, date.max - _DAY) + _DAY
        supplied, cause = products.get(source, set()), spans[-1].cause
        for owner, month, item in resting:
            # Parts that begin in the month may end long after it.
            met = month <= last and (month_of(month).end >= first or (owner, item) in far)
            if item in supplied and met:
                step.found.group(step.tenant, owner, month, item, cause)
        for owner, month, item in await step.fetch(_CARRIED, source, list(supplied), first, last):
            step.found.group(step.tenant, owner, month, item, cause)
    missed = {(source, feed) for source, feed in await step.fetch(_MISSED, list(by_source))}
    await _feeds_missed(step, [due for due in dues if due.key[:2] in missed])


_MISSED = """
SELECT c.key[1], c.key[2] FROM matching.cell c
 WHERE c.tenant = $1 AND c.kind = 'feed_missed' AND c.source = ANY ($2::text[])"""


async def _feeds_missed(step: _Step, dues: Sequence[Due]) -> None:
    """A feed has fallen silent, or is heard again: itself, and every group that its source supplies."""
    causes = {due.key[0]: due.cause for due in dues}
    for due in dues:
        step.found.key(Key(step.tenant, "feed", due.key[0], NO_MONTH, due.key[1]), due.cause)
    for source, products in (await step.supplied(causes)).items():
        for owner, month, item in await step.fetch(_OF_PRODUCTS, list(products)):
            step.found.group(step.tenant, owner, month, item, causes[source])


async def _groups_closed(step: _Step, dues: Sequence[Due]) -> None:
    """What a group came to when its period was closed is what it is measured against from then on."""
    for due in dues:
        client, start, item = due.key
        step.found.group(step.tenant, client, month_of(date.fromisoformat(start)).start, item, due.cause)


_OWNERS_OF_GROUPS = "SELECT DISTINCT k.owner FROM matching.compare_key k WHERE k.tenant = $1 AND k.level = 'client'"
_EVERY_CLIENT = """
SELECT c.client FROM matching.cell c WHERE c.tenant = $1 AND c.kind = 'contract_line'
UNION SELECT r.target FROM matching.route r WHERE r.tenant = $1 AND r.kind = 'account'
UNION SELECT e.client FROM matching.cell e WHERE e.tenant = $1 AND e.kind = 'time_entry'
UNION SELECT d.client FROM matching.document d WHERE d.tenant = $1 AND d.client IS NOT NULL"""


async def _tenants(step: _Step, dues: Sequence[Due]) -> None:
    """A setting, or the opening of the books: everything, client by client."""
    for (owner,) in await step.fetch(_OWNERS_OF_GROUPS):
        step.found.later(step.tenant, "client_groups", None, (owner,), dues[-1].cause)


async def _months(step: _Step, dues: Sequence[Due]) -> None:
    """Months that have begun: client by client."""
    for (client,) in await step.fetch(_EVERY_CLIENT):
        for due in dues:
            step.found.later(step.tenant, "client_months", None, (client, *due.key), due.cause)


_EVERY_DOCUMENT = "SELECT DISTINCT d.source, d.invoice FROM matching.document d WHERE d.tenant = $1"


async def _begin(step: _Step, dues: Sequence[Due]) -> None:
    """The calendar's first day: from now on what holds until further notice holds to a date."""
    due = dues[-1]
    for (client,) in await step.fetch(_EVERY_CLIENT):
        step.found.later(step.tenant, "client", None, (client,), due.cause)
        step.found.later(step.tenant, "client_months", None, (client, *due.key), due.cause)
    for document in await step.fetch(_EVERY_DOCUMENT):
        step.found.later(step.tenant, "document", None, tuple(document), due.cause)


_STARTED = """
SELECT DISTINCT c.client, c.product, c.key[4], c.value #> '{terms,scope}' IS NOT NULL FROM matching.cell c
 WHERE c.tenant = $1 AND c.kind = 'contract_line' AND c.key[4] > $2 AND c.key[4] <= $3"""


async def _days(step: _Step, dues: Sequence[Due]) -> None:
    """Days that have come: contract lines that begin on them."""
    for due in dues:
        for client, product, since, held in await step.fetch(_STARTED, *due.key):
            month = month_of(date.fromisoformat(since)).start
            step.found.group(step.tenant, client, month, LEVEL if held else product, due.cause)


async def _client_groups(step: _Step, dues: Sequence[Due]) -> None:
    await step.existing({due.key[0]: due.cause for due in dues})


_GAUGED = """
SELECT DISTINCT ra.target, rs.target
  FROM matching.route ra
  JOIN matching.meter m ON (m.tenant, m.source, m.account) = ($1, ra.source, ra.key) AND m.kind = 'gauge'
  JOIN matching.route rs ON (rs.tenant, rs.kind, rs.source, rs.key) = ($1, 'sku', m.source, m.sku)
 WHERE ra.tenant = $1 AND ra.kind = 'account' AND ra.target = ANY ($2::text[])"""
_BILLED = """
SELECT DISTINCT d.client, l.product
  FROM matching.document d
  JOIN matching.cell l ON l.tenant = $1 AND l.kind = 'invoice_line' AND l.key[1] = d.source AND l.key[2] = d.invoice
   AND l.key[3] = d.version::text
 WHERE d.tenant = $1 AND d.client = ANY ($2::text[])
   AND greatest(d.period_to, d.span_to) > $3 AND least(d.period_from, d.span_from) <= $4"""


async def _client_months(step: _Step, dues: Sequence[Due]) -> None:
    """Every product that a client may have anything of, in some months."""
    clients = list({due.key[0] for due in dues})
    spans = [(date.fromisoformat(due.key[1]), date.fromisoformat(due.key[2])) for due in dues]
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    products: dict[str, list[str]] = {}
    for rows in (
        await step.fetch(_CONTRACTED, clients),
        await step.fetch(_GAUGED, clients),
        await step.fetch(_BILLED, clients, first, last),
    ):
        for client, found in _pairs(rows).items():
            products.setdefault(client, []).extend(found)
    existing = await step.fetch(_EXISTING, clients)
    for due, (start, end) in zip(dues, spans, strict=True):
        client = due.key[0]
        # With the calendar the oldest months go out of reach.
        out_of_reach = (reach(max(start, date.min + _DAY) - _DAY), reach(end))
        for level, owner, month, item in existing:
            within = month <= end and month_of(month).end > start
            if owner == client and (within or out_of_reach[0] <= month < out_of_reach[1]):
                step.found.key(Key(step.tenant, level, owner, month, item), due.cause)
        for month in step.touched(start, end):
            for product in (LEVEL, *products.get(client, ())):
                step.found.group(step.tenant, client, month, product, due.cause)


_EXPANDERS: dict[str, Callable[[_Step, Sequence[Due]], Awaitable[None]]] = {
    "meter": _meters,
    "new_meter": _new_meters,
    "whole_meter": _whole_meters,
    "identifier": _identifiers,
    "charge": _charge,
    "charges": _charges,
    "bill": _bills,
    "time_entry": _time_entries,
    "mapping": _mappings,
    "contract_line": _contract_lines,
    "document": _documents,
    "client": _clients,
    "product": _products,
    "feed": _feeds,
    "feed_missed": _feeds_missed,
    "statement_group": _groups_closed,
    "tenant": _tenants,
    "begin": _begin,
    "months": _months,
    "days": _days,
    "client_groups": _client_groups,
    "client_months": _client_months,
}
