"""What verdicts are a function of, read from one snapshot: a fixed number of queries, however many meters and lines.

The snapshot also says what it is: the marks of the fold, the basis of every record drawn from it. What cells mean is
``shared.reconciliation.views``; here is only which rows can matter, and the sums that SQL does better.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

import orjson

from services.matching.expand import Key
from services.matching.fold import CONSUMER, TOPICS
from shared.events.discrepancies import Basis, Source
from shared.kernel.periods import Period, bounds, local_date, month_of
from shared.reconciliation import views
from shared.reconciliation.exact import exact
from shared.reconciliation.facts import Cell, Rank
from shared.reconciliation.inputs import (
    Client,
    ClientInputs,
    GroupInputs,
    GroupTotal,
    InvoiceState,
    Measured,
    Observation,
    Settings,
    Unmapped,
    UnmappedInputs,
    VendorCost,
)
from shared.reconciliation.sides import is_overdue
from shared.reconciliation.verdict import RULES

EXCLUDED_MAX = 100
"""More open dead letters than a basis can name: then nothing is concluded (protocols.md section 9)."""
_DAY = timedelta(days=1)


class Reading:
    """A snapshot's connection that counts the rows it gave: what a draw costs, whatever else the machine is doing."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.rows = 0

    async def fetchrow(self, sql: str, *arguments: Any) -> Any:
        return await self._connection.fetchrow(sql, *arguments)

    async def fetch(self, sql: str, *arguments: Any) -> list[Any]:
        rows: list[Any] = await self._connection.fetch(sql, *arguments)
        self.rows += len(rows)
        return rows


# --- the snapshot ------------------------------------------------------------------------------------------------
# Dead letters of a tenant, and those so unreadable that nobody knows whose they are.
_HEAD = """
SELECT (SELECT m.epoch FROM log.meta m),
       (SELECT max(t.recorded_at) FROM log.topic t WHERE t.topic = ANY ($3)),
       (SELECT jsonb_object_agg(c.topic, c.positions) FROM (
          SELECT topic, jsonb_agg(position ORDER BY partition) AS positions FROM matching.consumed
           WHERE consumer = $2 AND topic = ANY ($3) GROUP BY topic) c),
       ARRAY(SELECT d.topic || '/' || d.partition || '/' || d.position FROM matching.dead_letter d
              WHERE d.consumer = $2 AND d.state = 'open' AND d.tenant IN ($1, '')
              ORDER BY d.topic, d.partition, d.position LIMIT $4),
       (SELECT jsonb_agg(jsonb_build_array(s.key, s.value)) FROM matching.cell s
         WHERE s.tenant = $1 AND s.kind = 'setting'),
       k.as_of, k.first_day
  FROM (SELECT 1) AS one LEFT JOIN matching.calendar k ON k.tenant = $1"""


@dataclass(frozen=True)
class Snapshot:
    """What holds for a whole tenant, and of which moment."""

    tenant: str
    basis: Basis
    """Without its cause."""
    floor: datetime
    """No record of the cut was recorded later."""
    incomplete: bool
    """More records than a basis can name could not be read."""
    opens: date | None
    settings: Settings

    @property
    def as_of(self) -> date | None:
        return self.basis.as_of


async def read_snapshot(b: Reading, tenant: str) -> Snapshot:
    """The first question of a snapshot's transaction: every later one answers of the same moment."""
    epoch, floor, cut, excluded, settings, as_of, first_day = await b.fetchrow(
        _HEAD, tenant, CONSUMER, list(TOPICS), EXCLUDED_MAX + 1
    )
    cells = [_setting(tenant, key, value) for key, value in orjson.loads(settings or "[]")]
    return Snapshot(
        tenant=tenant,
        basis=Basis(
            cut=orjson.loads(cut), epoch=epoch, excluded=tuple(excluded[:EXCLUDED_MAX]), as_of=as_of, rules=RULES
        ),
        floor=floor,
        incomplete=len(excluded) > EXCLUDED_MAX,
        opens=views.opening(first_day),
        settings=views.settings(cells),
    )


_NO_RANK = Rank(datetime(1970, 1, 1, tzinfo=UTC), 0, "")


def _setting(tenant: str, key: Sequence[str], value: dict[str, Any] | None) -> Cell:
    return Cell("setting", tenant, tuple(key), _NO_RANK, value, "", "", "")


def _cell(tenant: str, row: Any) -> Cell:
    """A cell from the nine columns that every query below begins with."""
    kind, key, rank_at, rank_run, rank_content, value, source, record_type, record = row[:9]
    rank = Rank(rank_at, rank_run, rank_content)
    return Cell(
        kind, tenant, tuple(key), rank, None if value is None else orjson.loads(value), source, record_type, record
    )


# --- a client's month --------------------------------------------------------------------------------------------
# "LATERAL ... OFFSET 0" asks for one look into an index per row: the table holds cells of many kinds, and right after a
# load its statistics know nothing of the new ones, so a plan of the database's own choice may read all for each row.
# The client, and every version of the lines that were ever its (and these products').
_CONTRACT = """
SELECT c.kind, c.key, c.rank_at, c.rank_run, c.rank_content, c.value, c.source, c.record_type, c.record
  FROM matching.cell c WHERE c.tenant = $1 AND c.kind = 'client' AND c.client = $2
UNION ALL
SELECT c.kind, c.key, c.rank_at, c.rank_run, c.rank_content, c.value, c.source, c.record_type, c.record
  FROM (SELECT DISTINCT o.key[1] AS source, o.key[2] AS contract, o.key[3] AS line FROM matching.cell o
         WHERE o.tenant = $1 AND o.kind = 'contract_line' AND o.client = $2
           AND ($3::text[] IS NULL OR o.product = ANY ($3))) m
 CROSS JOIN LATERAL (
   SELECT * FROM matching.cell v
    WHERE v.tenant = $1 AND v.kind = 'contract_line'
      AND v.key[1] = m.source AND v.key[2] = m.contract AND v.key[3] = m.line OFFSET 0) c"""

# Headers of the client's documents that meet the month, with all their versions and whatever they correct.
_DOCUMENTS = """
WITH mine AS (
  SELECT d.source, d.invoice FROM matching.document d
   WHERE d.tenant = $1 AND d.client = $2
     AND greatest(d.period_to, d.span_to) > $3 AND least(d.period_from, d.span_from) < $4),
concerned AS (
  SELECT m.source, m.invoice FROM mine m
  UNION SELECT d.source, d.corrects FROM mine m CROSS JOIN LATERAL (
   SELECT * FROM matching.document o WHERE o.tenant = $1 AND o.source = m.source AND o.invoice = m.invoice OFFSET 0) d
   WHERE d.corrects IS NOT NULL)
SELECT c.kind, c.key, c.rank_at, c.rank_run, c.rank_content, c.value, c.source, c.record_type, c.record,
       d.have, d.complete
  FROM concerned m
 CROSS JOIN LATERAL (
   SELECT * FROM matching.document o WHERE o.tenant = $1 AND o.source = m.source AND o.invoice = m.invoice OFFSET 0) d
 CROSS JOIN LATERAL (
   SELECT * FROM matching.cell h
    WHERE h.tenant = $1 AND h.kind = 'invoice' AND h.key = ARRAY[d.source, d.invoice, d.version::text] OFFSET 0) c
UNION ALL
SELECT c.kind, c.key, c.rank_at, c.rank_run, c.rank_content, c.value, c.source, c.record_type, c.record,
       0, false
  FROM concerned m
 CROSS JOIN LATERAL (
   SELECT * FROM matching.cell v
    WHERE v.tenant = $1 AND v.kind = 'invoice_void' AND v.key = ARRAY[m.source, m.invoice] OFFSET 0) c"""
_LINES = """
SELECT c.kind, c.key, c.rank_at, c.rank_run, c.rank_content, c.value, c.source, c.record_type, c.record
  FROM unnest($2::text[], $3::text[], $4::text[]) AS d(source, invoice, version)
 CROSS JOIN LATERAL (
   SELECT * FROM matching.cell l
    WHERE l.tenant = $1 AND l.kind = 'invoice_line'
      AND l.key[1] = d.source AND l.key[2] = d.invoice AND l.key[3] = d.version OFFSET 0) c
 WHERE $5::text[] IS NULL OR c.product = ANY ($5)"""

# Counters are the sum of their whole UTC days, and of the slots of the days that the month's edges cut.
_METERS = """
SELECT m.meter, m.source, m.account, m.sku, m.name, m.kind, m.unit, rs.target AS product, ra.share, rs.share,
       coalesce(c.total, p.total, 0) AS total, coalesce(c.n, p.n, 0)::bigint AS n, l.at AS last_at
  FROM matching.route ra
  JOIN matching.meter m ON (m.tenant, m.source, m.account) = ($1, ra.source, ra.key)
  JOIN matching.route rs ON (rs.tenant, rs.kind, rs.source, rs.key) = ($1, 'sku', m.source, m.sku)
  LEFT JOIN LATERAL (
    SELECT sum(x.value) AS total, sum(x.n) AS n FROM (
      SELECT t.value, t.n FROM matching.total t
       WHERE m.kind = 'counter' AND t.meter = m.meter AND t.day >= $6 AND t.day < $7
      UNION ALL
      SELECT s.value, 1 FROM matching.slot s
       WHERE m.kind = 'counter' AND s.meter = m.meter AND s.day = ANY ($8) AND s.at >= $4 AND s.at < $5) x) c ON true
  LEFT JOIN LATERAL (
    SELECT max(s.value) AS total, count(*) AS n FROM matching.slot s
     WHERE m.kind = 'peak' AND s.meter = m.meter AND s.day BETWEEN ($4 AT TIME ZONE 'UTC')::date
       AND ($5 AT TIME ZONE 'UTC')::date AND s.at >= $4 AND s.at < $5) p ON true
  LEFT JOIN LATERAL (
    SELECT s.at FROM matching.slot s WHERE m.kind = 'gauge' AND s.meter = m.meter
     ORDER BY s.day DESC, s.at DESC LIMIT 1) l ON true
 WHERE ra.tenant = $1 AND ra.kind = 'account' AND ra.target = $2 AND ra.share IS NOT NULL AND rs.share IS NOT NULL
   AND ($3::text[] IS NULL OR rs.target = ANY ($3))"""
# A gauge stands, at the month's start, where its last instant before left it.
_OBSERVATIONS = """
SELECT m.meter, s.at, s.until, s.value, s.record, s.record_type
  FROM unnest($1::uuid[]) AS m(meter)
 CROSS JOIN LATERAL (
   SELECT i.at, i.until, i.value, i.record, i.record_type FROM matching.slot i
    WHERE i.meter = m.meter AND i.day BETWEEN ($2 AT TIME ZONE 'UTC')::date AND ($3 AT TIME ZONE 'UTC')::date
      AND i.at >= $2 AND i.at < $3
   UNION ALL
   SELECT b.at, b.until, b.value, b.record, b.record_type FROM matching.slot b
     JOIN (SELECT l.at, l.day FROM matching.slot l
            WHERE l.meter = m.meter AND l.day <= ($2 AT TIME ZONE 'UTC')::date AND l.at < $2
            ORDER BY l.day DESC, l.at DESC LIMIT 1) last ON (b.day, b.at) = (last.day, last.at)
    WHERE b.meter = m.meter) s"""
# The first twenty records by id; of a meter with very many, from the first twenty of each day.
_SAMPLES = """
SELECT m.meter, s.record, s.record_type
  FROM unnest($1::uuid[], $4::boolean[]) AS m(meter, many)
 CROSS JOIN LATERAL (
   SELECT x.record, x.record_type FROM (
     SELECT i.record, i.record_type FROM matching.slot i
      WHERE NOT m.many AND i.meter = m.meter AND i.day BETWEEN ($2 AT TIME ZONE 'UTC')::date
        AND ($3 AT TIME ZONE 'UTC')::date AND i.at >= $2 AND i.at < $3
     UNION ALL
     SELECT f.record, f.record_type
       FROM generate_series(0, ($3 AT TIME ZONE 'UTC')::date - ($2 AT TIME ZONE 'UTC')::date) AS g(n)
      CROSS JOIN LATERAL (
        SELECT i.record, i.record_type FROM matching.slot i
         WHERE m.many AND i.meter = m.meter AND i.day = ($2 AT TIME ZONE 'UTC')::date + g.n AND i.at >= $2 AND i.at < $3
         ORDER BY i.record COLLATE "C" LIMIT 20) f) x
    ORDER BY x.record COLLATE "C" LIMIT 20) s"""
_MANY = 1_000

# The products, the sources that supply them, and what these have declared complete of the month or up to its start.
_SUPPLY = """
SELECT c.kind, c.key, c.rank_at, c.rank_run, c.rank_content, c.value, c.source, c.record_type, c.record,
       NULL AS target
  FROM matching.cell c
 WHERE c.tenant = $1 AND c.kind = 'product' AND c.product = ANY ($2)
UNION ALL
SELECT 'supply', ARRAY[r.source], c.rank_at, c.rank_run, c.rank_content, c.value, r.source, c.record_type,
       c.record, r.target
  FROM matching.route r
  LEFT JOIN matching.cell c ON c.tenant = $1 AND c.kind = 'feed' AND c.source = r.source
   AND (c.value ->> 'covers_to')::timestamptz >= $3 AND (c.value ->> 'covers_from')::timestamptz < $4
 WHERE r.tenant = $1 AND r.kind = 'sku' AND r.target = ANY ($2) AND r.share IS NOT NULL"""

# Where missing usage may hide (GroupInputs.unmapped). A source in which the client has an account is done with at once:
# a vendor's sku has an account of nearly every client.
_HIDING = """
WITH supply AS MATERIALIZED (
  SELECT r.target, r.source, r.key FROM matching.route r
   WHERE r.tenant = $1 AND r.kind = 'sku' AND r.target = ANY ($3) AND r.share IS NOT NULL),
mine AS MATERIALIZED (
  SELECT r.source, r.key FROM matching.route r
   WHERE r.tenant = $1 AND r.kind = 'account' AND r.target = $2 AND r.share IS NOT NULL)
SELECT DISTINCT s.target, 'account', s.source, m.account
  FROM supply s
 CROSS JOIN LATERAL (
   SELECT DISTINCT u.account FROM matching.meter u
    WHERE u.tenant = $1 AND u.source = s.source AND u.sku = s.key OFFSET 0) m
  LEFT JOIN LATERAL (
   SELECT c.value FROM matching.cell c
    WHERE c.tenant = $1 AND c.kind = 'mapping' AND c.key = ARRAY['account', s.source, m.account] OFFSET 0) c ON true
 WHERE s.source NOT IN (SELECT mine.source FROM mine) AND NOT matching.known(c.value, $4)
UNION
SELECT DISTINCT s.target, 'sku', s.source, m.sku
  FROM mine a
 CROSS JOIN LATERAL (
   SELECT DISTINCT u.sku FROM matching.meter u
    WHERE u.tenant = $1 AND u.source = a.source AND u.account = a.key OFFSET 0) m
  LEFT JOIN LATERAL (
   SELECT c.value FROM matching.cell c
    WHERE c.tenant = $1 AND c.kind = 'mapping' AND c.key = ARRAY['sku', a.source, m.sku] OFFSET 0) c ON true
  JOIN supply s ON s.source = a.source
 WHERE NOT matching.known(c.value, $4)"""


@dataclass
class Month:
    """A client's month as one snapshot shows it, for some of its products or for all."""

    snapshot: Snapshot
    client: Client
    period: Period
    lines: list[Cell]
    documents: list[views.Document]
    """Those of the client that count, with the lines of the products at hand."""
    waiting: list[views.Incomplete]
    measured: dict[str, list[Measured]]
    last_at: dict[str, list[datetime]]
    """The last instant of each gauge of a product."""
    supply: dict[str, list[Cell]] = field(default_factory=dict)
    """Product -> the cells of its sources' feeds (one without a value for a source that has declared nothing)."""
    products: dict[str, list[Cell]] = field(default_factory=dict)
    hiding: dict[str, list[Unmapped]] = field(default_factory=dict)

    @cached_property
    def invoices(self) -> InvoiceState:
        return views.invoice_state(self.documents, self.waiting, self.client.id, self.period)

    @cached_property
    def by_product(self) -> dict[str, list[views.Document]]:
        """Product -> the documents with the lines that bill it."""
        found: dict[str, list[views.Document]] = defaultdict(list)
        for document in self.documents:
            lines: dict[str, list[Cell]] = defaultdict(list)
            for line in document.lines:
                lines[(line.value or {})["product"]].append(line)
            for product, of_product in lines.items():
                found[product].append(replace(document, lines=tuple(of_product)))
        return found

    @cached_property
    def known_products(self) -> set[str]:
        """Every product of which anything is at hand."""
        agreed = {value["product"] for value in self._line_values if value["client"] == self.client.id}
        return agreed | self.measured.keys() | self.by_product.keys()

    @cached_property
    def _line_values(self) -> list[dict[str, Any]]:
        return [cell.value for cell in self.lines if cell.value is not None]

    @property
    def unanswered(self) -> bool:
        """Whether the level above the groups would speak: an invoice is overdue, and none says anything."""
        answered = self.invoices.complete or self.invoices.straddling or self.invoices.incomplete
        grace = self.snapshot.settings.invoice_grace_days
        return not answered and is_overdue(self.snapshot.as_of, self.period, grace)

    def group(self, product: str) -> GroupInputs | None:
        """The inputs of a group, or ``None`` if there is no such group (shared.reconciliation.world: ``groups``)."""
        if not (self._used(product) or self._agreed(product) or self._billed(product)):
            return None
        feeds = self.supply.get(product, [])
        sources = tuple(sorted({cell.source for cell in feeds}))
        return GroupInputs(
            client=self.client,
            product=views.product(product, self.products.get(product, ())),
            period=self.period,
            as_of=self.snapshot.as_of,
            lines=views.line_versions(self.lines, self.client.id, product),
            measured=tuple(self.measured.get(product, ())),
            invoices=self.invoices,
            invoice_lines=views.invoice_lines(self.by_product.get(product, ()), self.client.id, product, self.period),
            feeds=views.spans(feeds, sources),
            feed_sources=sources,
            unmapped=tuple(sorted(self.hiding.get(product, ()))),
            opens=self.snapshot.opens,
            settings=self.snapshot.settings,
        )

    def level(self, groups: Iterable[GroupTotal]) -> ClientInputs:
        """The inputs of the level above the groups."""
        snapshot = self.snapshot
        return ClientInputs(
            self.client, self.period, snapshot.as_of, tuple(groups), self.invoices, snapshot.opens, snapshot.settings
        )

    def _used(self, product: str) -> bool:
        start, as_of = self.period.start, self.snapshot.as_of or date.min
        zone = self.client.time_zone
        ends = [max(local_date(at, zone), as_of) for at in self.last_at.get(product, ())]
        if any(views.reach(end) <= start <= end for end in ends):
            return True
        return any(meter.kind != "gauge" and meter.records for meter in self.measured.get(product, ()))

    def _agreed(self, product: str) -> bool:
        owned = {
            cell.key[:3]
            for cell in self.lines
            if cell.value and (cell.value["client"], cell.value["product"]) == (self.client.id, product)
        }
        if not owned:
            return False
        as_of, opens = self.snapshot.as_of, self.snapshot.opens
        for period in [*(d.period for d in self.documents), *(w.period for w in self.waiting)]:
            if self._touches(period):
                return True
        first = min(date.fromisoformat(cell.key[3]) for cell in self.lines if cell.key[:3] in owned)
        since = first if opens is None else max(first, opens)
        return as_of is not None and since <= as_of and self.period in views.months_touched(since, None, as_of)

    def _billed(self, product: str) -> bool:
        return any(
            self._touches(views.line_period(document, line))
            for document in self.by_product.get(product, ())
            for line in document.lines
        )

    def _touches(self, service: Period) -> bool:
        last = service.end - _DAY
        return self.period in views.months_touched(service.start, last, self.snapshot.as_of)


async def read_month(b: Reading, snapshot: Snapshot, client_id: str, month: date, products: Sequence[str]) -> Month:
    """A client's month for ``products``; for all that it has anything of, where the level above them would speak."""
    tenant, period = snapshot.tenant, month_of(month)
    documents, waiting = await _documents(b, tenant, client_id, period)
    cells = [_cell(tenant, row) for row in await b.fetch(_CONTRACT, tenant, client_id, list(products))]
    client = views.client(client_id, [cell for cell in cells if cell.kind == "client"])
    read = Month(snapshot, client, period, cells, documents, waiting, {}, {})
    wanted: list[str] | None = list(products)
    if read.unanswered:
        wanted = None
        cells = [_cell(tenant, row) for row in await b.fetch(_CONTRACT, tenant, client_id, None)]
    read.lines = [cell for cell in cells if cell.kind == "contract_line"]
    read.documents = await _with_lines(b, tenant, documents, wanted)
    start, end = bounds(period, client.time_zone)
    read.measured, read.last_at = await _measured(b, tenant, client_id, wanted, start, end)
    at_hand = list(read.known_products.union(products))
    for row in await b.fetch(_SUPPLY, tenant, at_hand, start, end):
        cell = _cell(tenant, row)
        if cell.kind == "product":
            read.products.setdefault(cell.key[1], []).append(cell)
        else:
            read.supply.setdefault(row["target"], []).append(cell)
    return read


async def read_hiding(b: Reading, month: Month, products: Sequence[str]) -> None:
    """Adds, for some products, the identifiers under which their usage may hide."""
    rows = await b.fetch(_HIDING, month.snapshot.tenant, month.client.id, list(products), month.snapshot.as_of)
    for product, kind, source, key in rows:
        month.hiding.setdefault(product, []).append(Unmapped(kind, source, key))


async def _documents(
    b: Reading, tenant: str, client: str, period: Period
) -> tuple[list[views.Document], list[views.Incomplete]]:
    """The documents that concern a client's month: those that count (still without lines), and those that wait."""
    headers: list[Cell] = []
    voids: dict[tuple[str, str], int] = {}
    lines: dict[tuple[str, ...], views.Lines] = {}
    for row in await b.fetch(_DOCUMENTS, tenant, client, period.start, period.end):
        cell = _cell(tenant, row)
        if cell.kind == "invoice_void":
            voids[cell.key[0], cell.key[1]] = (cell.value or {})["version"]
        else:
            headers.append(cell)
            lines[cell.key] = views.Lines(row["have"], row["complete"])
    counting, waiting = views.standing(headers, voids, lambda header: lines[header.key])
    return [d for d in counting if d.client == client], [w for w in waiting if w.client == client]


async def _with_lines(
    b: Reading, tenant: str, documents: Sequence[views.Document], products: list[str] | None
) -> list[views.Document]:
    if not documents:
        return []
    versions = [(d.source, d.invoice, str(d.version)) for d in documents]
    lines: dict[tuple[str, ...], list[Cell]] = {}
    for row in await b.fetch(_LINES, tenant, *zip(*versions, strict=True), products):
        cell = _cell(tenant, row)
        lines.setdefault(cell.key[:3], []).append(cell)
    return [
        replace(document, lines=tuple(sorted(lines.get(version, ()), key=lambda cell: cell.key)))
        for document, version in zip(documents, versions, strict=True)
    ]


async def _measured(
    b: Reading, tenant: str, client: str, products: list[str] | None, start: datetime, end: datetime
) -> tuple[dict[str, list[Measured]], dict[str, list[datetime]]]:
    """Product -> its meters in ``[start, end)``, and the last instants of its gauges."""
    rows = await b.fetch(_METERS, tenant, client, products, start, end, *_whole_days(start, end))
    gauges = list({row["meter"] for row in rows if row["kind"] == "gauge" and row["last_at"]})
    seen: dict[Any, list[Observation]] = defaultdict(list)
    sources = {row["meter"]: row["source"] for row in rows}
    if gauges:
        for meter, at, until, value, record, record_type in await b.fetch(_OBSERVATIONS, gauges, start, end):
            source = Source(type=record_type, source=sources[meter], id=record)
            seen[meter].append(Observation(at, value, source, until))
    counted = {row["meter"]: row["n"] > _MANY for row in rows if row["n"]}
    samples: dict[Any, list[Source]] = defaultdict(list)
    if counted:
        for meter, record, record_type in await b.fetch(_SAMPLES, list(counted), start, end, list(counted.values())):
            samples[meter].append(Source(type=record_type, source=sources[meter], id=record))
    measured: dict[str, list[Measured]] = defaultdict(list)
    last_at: dict[str, list[datetime]] = defaultdict(list)
    for row in rows:
        meter = row["meter"]
        measured[row["product"]].append(_meter(row, seen.get(meter, []), samples.get(meter, [])))
        # A month before a gauge's first instant has nothing of it.
        if seen.get(meter):
            last_at[row["product"]].append(row["last_at"])
    return measured, last_at


@exact
def _meter(row: Any, seen: list[Observation], samples: list[Source]) -> Measured:
    _, source, account, sku, name, kind, unit, _, of_account, of_sku, total, n, _ = row
    observations = tuple(sorted(seen, key=lambda one: (one.at, one.record.id)))
    return Measured(
        source=source,
        account=account,
        sku=sku,
        meter=name,
        kind=kind,
        unit=unit,
        share=of_account * of_sku,
        total=total,
        observations=observations,
        records=len(seen) if kind == "gauge" else n,
        sample=tuple(sorted((one.record for one in seen), key=lambda one: one.id)[: views.SAMPLE])
        if kind == "gauge"
        else tuple(samples),
    )


def _whole_days(start: datetime, end: datetime) -> tuple[date, date, list[date]]:
    """The whole UTC days in ``[start, end)`` as ``[first, last)``, and the days that its edges cut."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    first, last = start.date(), end.date()
    edges = []
    if start.time() != datetime.min.time():
        edges.append(first)
        first += _DAY
    if end.time() != datetime.min.time():
        edges.append(last)
    return first, last, edges


# --- identifiers -------------------------------------------------------------------------------------------------
# Of each bill only its greatest version among the identifier's lines counts (shared.reconciliation.views.vendor_cost).
_IDENTIFIERS = """
SELECT i.source, i.key, n.name, map.value AS mapping, v.amount, v.currencies, v.n, v.records, v.record_types,
       EXISTS (SELECT FROM matching.meter m WHERE m.tenant = $1 AND m.source = i.source AND {meter} = i.key) AS metered
  FROM unnest($2::text[], $3::text[]) AS i(source, key)
  LEFT JOIN matching.cell map ON (map.tenant, map.kind, map.key) = ($1, 'mapping', ARRAY[$4, i.source, i.key])
  LEFT JOIN LATERAL (
    SELECT a.name FROM matching.name a WHERE (a.tenant, a.kind, a.source, a.key) = ($1, $4, i.source, i.key)
     ORDER BY a.rank_at DESC, a.rank_run DESC, a.name LIMIT 1) n ON true
  LEFT JOIN LATERAL (
    SELECT sum(l.cost) AS amount, array_agg(DISTINCT l.currency) AS currencies, count(*) AS n,
           (array_agg(l.record ORDER BY l.record COLLATE "C"))[1:20] AS records,
           (array_agg(l.record_type ORDER BY l.record COLLATE "C"))[1:20] AS record_types FROM (
      SELECT c.record, c.record_type, (c.value ->> 'billed_cost')::numeric AS cost, c.value ->> 'currency' AS currency,
             (c.value ->> 'version')::int AS version,
             max((c.value ->> 'version')::int) OVER (PARTITION BY c.key[1], c.key[2], c.key[3]) AS newest
        FROM matching.cell c
       WHERE c.tenant = $1 AND c.kind = 'vendor_bill_line' AND c.source = i.source AND {charge} = i.key) l
     WHERE l.version = l.newest) v ON true"""
_IDENTIFIERS_OF = {
    "account": _IDENTIFIERS.format(meter="m.account", charge="c.account"),
    "sku": _IDENTIFIERS.format(meter="m.sku", charge="c.sku"),
}
_NAMES = """
SELECT DISTINCT ON ({id}) {id}, c.value ->> 'name' FROM matching.cell c
 WHERE c.tenant = $1 AND c.kind = $2
 ORDER BY {id}, c.rank_at DESC, c.rank_run DESC, c.rank_content DESC, c.source COLLATE "C" DESC"""
_NAMES_OF = {"account": _NAMES.format(id="c.client"), "sku": _NAMES.format(id="c.product")}


async def read_identifiers(
    b: Reading, snapshot: Snapshot, kind: str, keys: Sequence[Key]
) -> Mapping[Key, UnmappedInputs | None]:
    """The inputs of identifiers of one kind; ``None`` for one that nothing bears any more."""
    tenant = snapshot.tenant
    rows = await b.fetch(_IDENTIFIERS_OF[kind], tenant, [key.owner for key in keys], [key.item for key in keys], kind)
    by_key = {(row["source"], row["key"]): row for row in rows}
    known = await b.fetch(_NAMES_OF[kind], tenant, "client" if kind == "account" else "product")
    names = tuple((one, name) for one, name in known)
    return {key: _unmapped(kind, by_key[key.owner, key.item], names, snapshot.as_of) for key in keys}


def _unmapped(kind: Any, row: Any, known: tuple[tuple[str, str], ...], as_of: date | None) -> UnmappedInputs | None:
    if not row["metered"] and row["currencies"] is None:
        return None
    mapping = views.mapping(None if row["mapping"] is None else orjson.loads(row["mapping"]), as_of)
    currencies = row["currencies"] or []
    cost = None
    if len(currencies) == 1:
        named = zip(row["record_types"], row["records"], strict=True)
        sample = tuple(Source(type=type_, source=row["source"], id=record) for type_, record in named)
        cost = VendorCost(Decimal(row["amount"]), currencies[0], row["n"], sample)
    return UnmappedInputs(
        kind=kind,
        source=row["source"],
        key=row["key"],
        name=row["name"],
        mapped=mapping.known,
        cost=cost,
        known=known,
        until=mapping.until,
    )
