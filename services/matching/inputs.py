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
from typing import Any, NamedTuple

import orjson

from services.matching.cells import TIED, cell_of
from services.matching.expand import Due, Key, expand
from services.matching.fold import CONSUMER, TOPICS
from shared.events.discrepancies import Basis, Source
from shared.kernel.periods import Period, bounds, local_date, month_of
from shared.reconciliation import spans, views
from shared.reconciliation.client_level import LEVEL
from shared.reconciliation.exact import exact
from shared.reconciliation.facts import Cell, Rank, evidence
from shared.reconciliation.inputs import (
    Client,
    ClientInputs,
    GroupInputs,
    GroupTotal,
    InvoiceLineFacts,
    InvoiceState,
    LineVersion,
    Measured,
    MissedFeed,
    Observation,
    Product,
    Unmapped,
    UnmappedInputs,
    VendorCost,
)
from shared.reconciliation.settings import Settings
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


# --- a client's month --------------------------------------------------------------------------------------------
# "LATERAL ... OFFSET 0" asks for one look into an index per row: the table holds cells of many kinds, and right after a
# load its statistics know nothing of the new ones, so a plan of the database's own choice may read all for each row.
# The products that bundles may tie to some, and what is recorded of each.
_PRODUCTS = TIED.format(
    select="""
SELECT c.kind, c.key, c.rank_at, c.rank_run, c.rank_content, c.value, c.source, c.record_type, c.record, t.one AS tied
  FROM reached t
  LEFT JOIN LATERAL (
    SELECT * FROM matching.cell p
     WHERE p.tenant = $1 AND p.kind = 'product' AND p.product = t.one OFFSET 0) c ON true"""
)

# The client, every version of the lines that were ever its (and these products'), and of its commitments.
_CONTRACT = """
SELECT c.kind, c.key, c.rank_at, c.rank_run, c.rank_content, c.value, c.source, c.record_type, c.record
  FROM matching.cell c WHERE c.tenant = $1 AND c.kind = 'client' AND c.client = $2
UNION ALL
SELECT c.kind, c.key, c.rank_at, c.rank_run, c.rank_content, c.value, c.source, c.record_type, c.record
  FROM (SELECT o.key[1] AS source, o.key[2] AS contract, o.key[3] AS line FROM matching.cell o
         WHERE o.tenant = $1 AND o.kind = 'contract_line' AND o.client = $2
           AND ($3::text[] IS NULL OR o.product = ANY ($3))
        UNION
        SELECT o.key[1], o.key[2], o.key[3] FROM matching.cell o
         WHERE o.tenant = $1 AND o.kind = 'contract_line' AND o.client = $2
           AND o.value #> '{terms,scope}' IS NOT NULL) m
 CROSS JOIN LATERAL (
   SELECT * FROM matching.cell v
    WHERE v.kind = 'contract_line'
      AND ARRAY[v.tenant, v.key[1], v.key[2], v.key[3]] = ARRAY[$1, m.source, m.contract, m.line] OFFSET 0) c"""

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
SELECT c.kind, c.key, c.rank_at, c.rank_run, c.rank_content, c.value, c.source, c.record_type, c.record, 0, false
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
      AND l.key[1] = d.source AND l.key[2] = d.invoice AND l.key[3] = d.version
      AND ($5::text[] IS NULL OR l.product = ANY ($5)) OFFSET 0) c"""

_METERS = """
SELECT m.meter, m.source, m.account, m.sku, m.name, m.kind, m.unit, rs.target AS product, ra.share, rs.share,
       l.at AS last_at
  FROM matching.route ra
  JOIN matching.route rs ON rs.tenant = $1 AND rs.kind = 'sku' AND rs.source = ra.source
   AND ($3::text[] IS NULL OR rs.target = ANY ($3))
 CROSS JOIN LATERAL (
   SELECT * FROM matching.meter o
    WHERE o.tenant = $1 AND o.source = ra.source AND o.account = ra.key AND o.sku = rs.key OFFSET 0) m
  LEFT JOIN LATERAL (
    SELECT s.at FROM matching.slot s WHERE m.kind = 'gauge' AND s.meter = m.meter
     ORDER BY s.day DESC, s.at DESC LIMIT 1) l ON true
 WHERE ra.tenant = $1 AND ra.kind = 'account' AND ra.target = $2 AND ra.share IS NOT NULL AND rs.share IS NOT NULL"""
# Counters are the sum of their whole UTC days, and of the slots of the days that a span's edges cut.
_SUMS = """
SELECT w.n, coalesce(c.total, p.total, 0) AS total, coalesce(c.n, p.n, 0)::bigint AS records
  FROM unnest($1::int[], $2::uuid[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::date[], $7::date[])
       AS w(n, meter, kind, start, upto, first, last)
  LEFT JOIN LATERAL (
    SELECT sum(x.value) AS total, sum(x.n) AS n FROM (
      SELECT t.value, t.n FROM matching.total t
       WHERE w.kind = 'counter' AND t.meter = w.meter AND t.day >= w.first AND t.day < w.last
      UNION ALL
      SELECT s.value, 1 FROM matching.slot s
       WHERE w.kind = 'counter' AND s.meter = w.meter AND s.day IN (w.first - 1, w.last)
         AND s.at >= w.start AND s.at < w.upto) x) c ON true
  LEFT JOIN LATERAL (
    SELECT max(s.value) AS total, count(*) AS n FROM matching.slot s
     WHERE w.kind = 'peak' AND s.meter = w.meter AND s.day BETWEEN (w.start AT TIME ZONE 'UTC')::date
       AND (w.upto AT TIME ZONE 'UTC')::date AND s.at >= w.start AND s.at < w.upto) p ON true"""
# A gauge stands, at a span's start, where its last instant before left it. (Of counters: each event, led by nothing.)
_OBSERVATIONS = """
SELECT w.n, s.at, s.until, s.value, s.record, s.record_type
  FROM unnest($1::int[], $2::uuid[], $3::text[], $4::timestamptz[], $5::timestamptz[])
       AS w(n, meter, kind, start, upto)
 CROSS JOIN LATERAL (
   SELECT i.at, i.until, i.value, i.record, i.record_type FROM matching.slot i
    WHERE i.meter = w.meter AND i.day BETWEEN (w.start AT TIME ZONE 'UTC')::date AND (w.upto AT TIME ZONE 'UTC')::date
      AND i.at >= w.start AND i.at < w.upto
   UNION ALL
   SELECT b.at, b.until, b.value, b.record, b.record_type FROM matching.slot b
     JOIN (SELECT l.at, l.day FROM matching.slot l
            WHERE w.kind = 'gauge' AND l.meter = w.meter AND l.day <= (w.start AT TIME ZONE 'UTC')::date
              AND l.at < w.start
            ORDER BY l.day DESC, l.at DESC LIMIT 1) last ON (b.day, b.at) = (last.day, last.at)
    WHERE b.meter = w.meter) s"""
# The first twenty records by id; of a meter with very many, from the first twenty of each day.
_SAMPLES = """
SELECT w.n, s.record, s.record_type
  FROM unnest($1::int[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::boolean[])
       AS w(n, meter, start, upto, many)
 CROSS JOIN LATERAL (
   SELECT x.record, x.record_type FROM (
     SELECT i.record, i.record_type FROM matching.slot i
      WHERE NOT w.many AND i.meter = w.meter AND i.day BETWEEN (w.start AT TIME ZONE 'UTC')::date
        AND (w.upto AT TIME ZONE 'UTC')::date AND i.at >= w.start AND i.at < w.upto
     UNION ALL
     SELECT f.record, f.record_type
       FROM generate_series(0, (w.upto AT TIME ZONE 'UTC')::date - (w.start AT TIME ZONE 'UTC')::date) AS g(n)
      CROSS JOIN LATERAL (
        SELECT i.record, i.record_type FROM matching.slot i
         WHERE w.many AND i.meter = w.meter AND i.day = (w.start AT TIME ZONE 'UTC')::date + g.n
           AND i.at >= w.start AND i.at < w.upto
         ORDER BY i.record COLLATE "C" LIMIT 20) f) x
    ORDER BY x.record COLLATE "C" LIMIT 20) s"""
_MANY = 1_000

# Vendors' charges by the day on which what they charge begins (a zone may move it by a day), of each bill's newest
# version.
_CHARGES = """
SELECT c.kind, c.key, c.rank_at, c.rank_run, c.rank_content, c.value, c.source, c.record_type, c.record,
       rs.target AS product, ra.share, rs.share, b.arrived
  FROM matching.route ra
  JOIN matching.route rs ON rs.tenant = $1 AND rs.kind = 'sku' AND rs.source = ra.source
   AND ($3::text[] IS NULL OR rs.target = ANY ($3))
 CROSS JOIN LATERAL (
   SELECT * FROM matching.cell v
    WHERE v.tenant = $1 AND v.kind = 'vendor_bill_line' AND v.source = ra.source AND v.account = ra.key
      AND v.sku = rs.key AND (v.value ->> 'charge_from') COLLATE "C" >= $4
      AND (v.value ->> 'charge_from') COLLATE "C" < $5 OFFSET 0) c
 CROSS JOIN LATERAL (
   SELECT EXISTS (
       SELECT FROM matching.cell h
        WHERE (h.tenant, h.kind, h.key) = ($1, 'vendor_bill', c.key[1:4]) AND (h.value ->> 'lines')::int <= b.here
     ) AS arrived
     FROM matching.bill b
    WHERE (b.tenant, b.source, b.issuer, b.bill) = ($1, c.key[1], c.key[2], c.key[3])
      AND b.newest = (c.value ->> 'version')::int OFFSET 0) b
 WHERE ra.tenant = $1 AND ra.kind = 'account' AND ra.target = $2 AND ra.share IS NOT NULL AND rs.share IS NOT NULL"""
# Its work, and what its groups came to when the month was closed.
_ENTRIES = """
SELECT c.kind, c.key, c.rank_at, c.rank_run, c.rank_content, c.value, c.source, c.record_type, c.record
  FROM matching.cell c
 WHERE c.tenant = $1 AND c.kind = 'time_entry' AND c.client = $2 AND ($3::text[] IS NULL OR c.product = ANY ($3))
   AND (c.value ->> 'worked_on') COLLATE "C" >= $4 AND (c.value ->> 'worked_on') COLLATE "C" < $5
UNION ALL
SELECT c.kind, c.key, c.rank_at, c.rank_run, c.rank_content, c.value, c.source, c.record_type, c.record
  FROM matching.cell c
 WHERE c.tenant = $1 AND c.kind = 'statement_group' AND c.key[1] = $2 AND c.key[2] = $6 AND c.key[3] = $7"""

# The sources that supply the products, what these have declared complete of the spans at hand or up to their start,
# and the runs of theirs that were missed, each with how far its feed has come since.
_SUPPLY = """
SELECT 'supply', ARRAY[r.source], c.rank_at, c.rank_run, c.rank_content, c.value, r.source, c.record_type, c.record,
       r.target, NULL::bigint AS run, NULL::timestamptz AS until
  FROM matching.route r
  LEFT JOIN LATERAL (
    SELECT * FROM matching.cell f
     WHERE f.tenant = $1 AND f.kind = 'feed' AND f.source = r.source
       AND (f.value ->> 'covers_to')::timestamptz >= $3 AND (f.value ->> 'covers_from')::timestamptz < $4 OFFSET 0) c
    ON true
 WHERE r.tenant = $1 AND r.kind = 'sku' AND r.target = ANY ($2) AND r.share IS NOT NULL
UNION ALL
SELECT c.kind, c.key, c.rank_at, c.rank_run, c.rank_content, c.value, c.source, c.record_type, c.record,
       NULL, f.run, f.until
  FROM (SELECT DISTINCT r.source FROM matching.route r
         WHERE r.tenant = $1 AND r.kind = 'sku' AND r.target = ANY ($2) AND r.share IS NOT NULL) r
 CROSS JOIN LATERAL (
   SELECT * FROM matching.cell m WHERE m.tenant = $1 AND m.kind = 'feed_missed' AND m.source = r.source OFFSET 0) c
  LEFT JOIN LATERAL (
    SELECT max((o.value ->> 'run')::bigint) AS run, max((o.value ->> 'covers_to')::timestamptz) AS until
      FROM matching.cell o
     WHERE o.tenant = $1 AND o.kind = 'feed' AND o.source = c.source AND o.key[2] = c.key[2]) f ON true"""

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
    wanted: frozenset[str]
    """The products that were asked for."""
    lines: list[Cell]
    documents: list[views.Document]
    """Those of the client that count, with the lines of the products at hand."""
    waiting: list[views.Incomplete]
    commitments: tuple[LineVersion, ...] = ()
    speaks: bool = False
    """Whether the level above the groups is at hand too: it is due, or what the groups come to may change it."""
    settled: bool = True
    """Whether every other group of the month is as it was drawn last; else the level, where it is ``whole``, waits."""
    products: dict[str, Product] = field(default_factory=dict)
    """Every product at hand and those that bundles may tie to it."""
    measured: dict[str, list[Measured]] = field(default_factory=dict)
    last_at: dict[str, list[datetime]] = field(default_factory=dict)
    """The last instant of each gauge of a product that was observed by the month's end."""
    charges: list[views.Charge] = field(default_factory=list)
    entries: list[Cell] = field(default_factory=list)
    closed: dict[str, Cell] = field(default_factory=dict)
    supply: dict[str, list[Cell]] = field(default_factory=dict)
    """Product -> the cells of its sources' feeds (one without a value for a source that has declared nothing)."""
    missed: tuple[MissedFeed, ...] = ()
    hiding: dict[str, list[Unmapped]] = field(default_factory=dict)

    @cached_property
    def invoices(self) -> InvoiceState:
        return views.invoice_state(self.documents, self.waiting, self.client.id, self.period)

    @property
    def unanswered(self) -> bool:
        """Whether an invoice is overdue, and none says anything: then the level above the groups speaks."""
        return (
            not (self.answered or self.invoices.incomplete)
            and is_overdue(self.snapshot.as_of, self.period, self.snapshot.settings.invoice_grace_days)
        )  # fmt: skip

    @property
    def answered(self) -> bool:
        """Whether an invoice says that the client is billed."""
        return bool(self.invoices.complete or self.invoices.straddling)

    @property
    def whole(self) -> bool:
        """Whether the level above the groups adds them up. What it says becomes a record, which must be what its basis
        gives: whatever of the month may differ from what was drawn last is drawn with it."""
        return self.unanswered or bool(self.commitments)

    # --- which groups there are ------------------------------------------------------------------------------------
    @cached_property
    def bundles(self) -> dict[str, tuple[str, ...]]:
        return views.bundles(self.products.values())

    def members(self, product: str) -> tuple[str, ...]:
        """The products of a group; the first of them is its id."""
        return self.bundles.get(product, (product,))

    @cached_property
    def items(self) -> list[str]:
        """The groups at hand, and whatever was asked for that is none (any more)."""
        return sorted({self.members(product)[0] for product in self.wanted} | self.wanted)

    @cached_property
    def posted(self) -> dict[str, list[InvoiceLineFacts]]:
        """Product -> the lines that bill it; those that answer commitments are the level's (``*``)."""
        held = views.committed(self.lines, self.client.id) if self.commitments else views.Committed()
        found: dict[str, list[InvoiceLineFacts]] = defaultdict(list)
        for document in self.documents:
            for line, fact in views.invoice_lines(document):
                found[LEVEL if held.holds(_value(line)) else fact.product].append(fact)
        return found

    @cached_property
    def lines_of(self) -> dict[str, list[Cell]]:
        """Product -> every version of the lines that were ever sold to the client for it."""
        by_line: dict[tuple[str, ...], list[Cell]] = defaultdict(list)
        for cell in self.lines:
            by_line[cell.key[:3]].append(cell)
        found: dict[str, list[Cell]] = defaultdict(list)
        for versions in by_line.values():
            for client, product in views.agreed_from(versions):
                if client == self.client.id:
                    found[product] += versions
        return found

    def versions(self, members: tuple[str, ...]) -> tuple[LineVersion, ...]:
        """The contract lines of a group."""
        if members not in self._versions:
            self._versions[members] = self._versions_of(members)
        return self._versions[members]

    @cached_property
    def _versions(self) -> dict[tuple[str, ...], tuple[LineVersion, ...]]:
        return {}

    def _versions_of(self, members: tuple[str, ...]) -> tuple[LineVersion, ...]:
        cells = {cell.key: cell for product in members for cell in self.lines_of.get(product, ())}
        return views.line_versions(cells.values(), self.client.id, members)

    def group(self, item: str) -> GroupInputs | None:
        """The inputs of a group, or ``None`` if there is no such group (shared.reconciliation.world: ``groups``)."""
        members = self.members(item)
        if members[0] != item or not self._exists(members):
            return None
        feeds = [cell for product in members for cell in self.supply.get(product, ())]
        sources = tuple(sorted({cell.source for cell in feeds}))
        posted = (line for product in members for line in self.posted.get(product, ()))
        known = [self.products.get(product) or views.product(product, ()) for product in members]
        lines = self.versions(members)
        charges = [one for one in self.charges if one.product in members]
        return GroupInputs(
            client=self.client,
            product=known[0],
            period=self.period,
            as_of=self.snapshot.as_of,
            lines=lines,
            measured=tuple(one for product in members for one in self.measured.get(product, ())),
            invoices=self.invoices,
            invoice_lines=views.meeting(posted, self.period),
            feeds=views.spans(feeds, sources),
            feed_sources=sources,
            unmapped=tuple(sorted({one for product in members for one in self.hiding.get(product, ())})),
            opens=self.snapshot.opens,
            settings=self.snapshot.settings,
            others=tuple(known[1:]),
            vendor_lines=views.vendor_lines(charges),
            entries=views.time_entries(
                self.entries, self.client.id, members, spans.entry_span(lines, self.client, self.period)
            ),
            closed=views.closed_group(self.closed.get(item)),
            missed=tuple(one for one in self.missed if one.source in sources),
        )

    def level(self, groups: Iterable[GroupTotal]) -> ClientInputs:
        """The inputs of the level above the groups."""
        snapshot = self.snapshot
        return ClientInputs(
            client=self.client,
            period=self.period,
            as_of=snapshot.as_of,
            groups=tuple(groups),
            invoices=self.invoices,
            opens=snapshot.opens,
            settings=snapshot.settings,
            commitments=self.commitments,
            commitment_lines=views.meeting(self.posted.get(LEVEL, ()), self.period),
            documents=views.document_facts(self.documents, self.client.id, self.period),
        )

    def _exists(self, members: Sequence[str]) -> bool:
        return (
            self._agreed(members)
            or any(self._used(one) or self._billed(one) for one in members)
            or any(one.product in members for one in self.charges)
            or any(_value(one)["product"] in members and self._worked(one) for one in self.entries)
            or members[0] in self.closed
        )

    def _used(self, product: str) -> bool:
        start, as_of = self.period.start, self.snapshot.as_of or date.min
        zone = self.client.time_zone
        ends = [max(local_date(at, zone), as_of) for at in self.last_at.get(product, ())]
        if any(views.reach(end) <= start <= end for end in ends):
            return True
        own = (meter for meter in self.measured.get(product, ()) if meter.span is None)
        return any(meter.kind != "gauge" and meter.records for meter in own)

    @cached_property
    def _agreed_from(self) -> dict[tuple[str, str], date]:
        return views.agreed_from(self.lines)

    def _agreed(self, members: Sequence[str]) -> bool:
        first = self._agreed_from
        since = [first[self.client.id, product] for product in members if (self.client.id, product) in first]
        if not since or self.period.end <= min(since):
            return False
        as_of, opens = self.snapshot.as_of, self.snapshot.opens
        for period in [*(d.period for d in self.documents), *(w.period for w in self.waiting)]:
            if self._touches(period):
                return True
        begins = [one if opens is None else max(one, opens) for one in since]
        return as_of is not None and any(
            one <= as_of and self.period in views.months_touched(one, None, as_of) for one in begins
        )

    def _billed(self, product: str) -> bool:
        return any(self._touches(line.period) for line in self.posted.get(product, ()))

    def _worked(self, entry: Cell) -> bool:
        return self.period.contains(date.fromisoformat(_value(entry)["worked_on"]))

    def _touches(self, service: Period) -> bool:
        last = service.end - _DAY
        return self.period in views.months_touched(service.start, last, self.snapshot.as_of)


def _value(cell: Cell) -> dict[str, Any]:
    return cell.value or {}


async def read_month(
    b: Reading, snapshot: Snapshot, client_id: str, month: date, products: Sequence[str], *, level: bool
) -> Month:
    """A client's month for the groups of ``products``, and with ``level`` for the level above them; also for groups
    that are due or about to be, where the level adds the groups up."""
    tenant, period = snapshot.tenant, month_of(month)
    documents, waiting = await _documents(b, tenant, client_id, period)
    known = await _products(b, tenant, products)
    cells = await _cells(b, _CONTRACT, tenant, client_id, sorted(known))
    client = views.client(client_id, [cell for cell in cells if cell.kind == "client"])
    lines = [cell for cell in cells if cell.kind == "contract_line"]
    commitments = views.line_versions(lines, client_id, None, commitments=True)
    read = Month(snapshot, client, period, frozenset(products), lines, documents, waiting, commitments, products=known)
    if read.whole:
        await _with_moving(b, read)
    wanted = sorted(read.products)
    read.speaks = level or read.whole or not read.answered
    read.documents = await _with_lines(b, tenant, documents, None if read.speaks else wanted)
    agreed = views.line_versions(read.lines, client_id, None)
    days = spans.entry_span(agreed, client, period)
    dates = (str(day) for day in (days.start, days.end, period.start, period.end))
    cells = await _cells(b, _ENTRIES, tenant, client_id, wanted, *dates)
    read.entries = [cell for cell in cells if cell.kind == "time_entry"]
    read.closed = {cell.key[3]: cell for cell in cells if cell.kind == "statement_group"}
    read.charges = await _charges(b, read, wanted)
    await _usage(b, read, await b.fetch(_METERS, tenant, client_id, wanted))
    await _supply(b, read, spans.hull(spans.needed(agreed, client, period)))
    return read


# --- what may have moved -------------------------------------------------------------------------------------------
# What is due of a month, also by a date that has come.
_MOVING = """
SELECT k.item FROM matching.due_key k
 WHERE k.tenant = $1 AND k.level = 'product' AND k.owner = $2 AND k.month = $3
UNION
SELECT w.item FROM matching.wake w
 WHERE w.tenant = $1 AND w.level = 'product' AND w.owner = $2 AND w.month = $3 AND w.on_date <= $4
LIMIT $5"""
# Of whatever tenant: the rows have no index, and are mostly few.
_RAW = "SELECT tenant, kind, meter, key, first_at, last_at, cause FROM matching.due ORDER BY id LIMIT $1"
_MOVING_MAX, _RAW_MAX, _ROUNDS_MAX = 50, 200, 5
"""So many groups are drawn for the level above them, from so many raw rows, that come to groups in so many steps."""


async def _with_moving(b: Reading, month: Month) -> None:
    """Adds the groups that may differ from what was drawn last, if they are few; and the lines of the commitments'
    products, which say what of the invoices is the level's."""
    tenant, client = month.snapshot.tenant, month.client.id
    moving = await _moving(b, month)
    month.settled = moving is not None
    month.wanted |= moving or frozenset()
    held = {_value(cell)["product"] for cell in month.lines if views.is_commitment(_value(cell))}
    more = (month.wanted | held) - month.products.keys()
    if more:
        month.products |= await _products(b, tenant, sorted(more))
        cells = await _cells(b, _CONTRACT, tenant, client, sorted(month.products))
        month.lines = [cell for cell in cells if cell.kind == "contract_line"]


async def _moving(b: Reading, month: Month) -> frozenset[str] | None:
    """The products of a month's groups that may differ from what was drawn last; ``None``: too many.

    Found as the resolver finds them, by the snapshot: a fold leaves its rows with the cells that it moved. No lock is
    needed for it, since nobody else draws the month.
    """
    snapshot, client, start = month.snapshot, month.client.id, month.period.start
    limit = len(month.wanted) + _MOVING_MAX
    rows = await b.fetch(_MOVING, snapshot.tenant, client, start, snapshot.as_of, limit + 1)
    moving = {row["item"] for row in rows}
    raw = await b.fetch(_RAW, _RAW_MAX + 1)
    if len(raw) > _RAW_MAX:
        return None
    dues = [
        Due(tenant, kind, meter, tuple(key or ()), *rest)
        for tenant, kind, meter, key, *rest in raw
        if tenant == snapshot.tenant
    ]
    for _ in range(_ROUNDS_MAX):
        if not dues:
            break
        found = await expand(b, dues, lock=False)
        moving |= {key.item for key in found.keys if key[1:4] == ("product", client, start)}
        dues = [
            Due(tenant, kind, meter, tuple(key), None, None, cause)
            for (tenant, kind, meter, key), cause in found.raw.items()
        ]
        if len(dues) > _RAW_MAX:
            return None
    return None if dues or len(moving) > limit else frozenset(moving)


async def _cells(b: Reading, sql: str, tenant: str, *arguments: Any) -> list[Cell]:
    return [cell_of(tenant, row) for row in await b.fetch(sql, tenant, *arguments)]


async def _products(b: Reading, tenant: str, products: Sequence[str]) -> dict[str, Product]:
    """The products that bundles may tie to some, themselves among them."""
    cells: dict[str, list[Cell]] = {}
    for row in await b.fetch(_PRODUCTS, tenant, list(products)):
        of_product = cells.setdefault(row["tied"], [])
        if row["kind"] is not None:
            of_product.append(cell_of(tenant, row))
    return {product: views.product(product, of_product) for product, of_product in cells.items()}


async def _charges(b: Reading, month: Month, products: list[str] | None) -> list[views.Charge]:
    """Vendors' charges whose home is the month."""
    period, zone = month.period, month.client.time_zone
    first, last = period.start - 2 * _DAY, period.end + _DAY  # a day for the zone, half a one for the vendor's midnight
    rows = await b.fetch(_CHARGES, month.snapshot.tenant, month.client.id, products, str(first), str(last))
    found = []
    for row in rows:
        cell = cell_of(month.snapshot.tenant, row)
        if views.charged_in(cell, zone) == period:
            found.append(views.Charge(cell, row["product"], _share(row[10], row[11]), row["arrived"]))
    return found


@exact
def _share(of_account: Decimal, of_sku: Decimal) -> Decimal:
    return of_account * of_sku


async def _supply(b: Reading, month: Month, days: Period) -> None:
    start, end = bounds(days, month.client.time_zone)
    missed: list[Cell] = []
    heard: dict[tuple[str, ...], tuple[int, datetime]] = {}
    at_hand = [product for item in month.items for product in month.members(item)]
    for row in await b.fetch(_SUPPLY, month.snapshot.tenant, at_hand, start, end):
        cell = cell_of(month.snapshot.tenant, row)
        if cell.kind == "supply":
            month.supply.setdefault(row["target"], []).append(cell)
            continue
        missed.append(cell)
        if row["until"] is not None:
            heard[cell.key] = (row["run"], row["until"])
    month.missed = views.silent(missed, heard)


async def read_hiding(b: Reading, month: Month, items: Sequence[str]) -> None:
    """Adds, for some groups, the identifiers under which their usage may hide."""
    products = [product for item in items for product in month.members(item)]
    rows = await b.fetch(_HIDING, month.snapshot.tenant, month.client.id, products, month.snapshot.as_of)
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
        cell = cell_of(tenant, row)
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
        cell = cell_of(tenant, row)
        lines.setdefault(cell.key[:3], []).append(cell)
    return [
        replace(document, lines=tuple(sorted(lines.get(version, ()), key=lambda cell: cell.key)))
        for document, version in zip(documents, versions, strict=True)
    ]


# --- usage -------------------------------------------------------------------------------------------------------
class _Asked(NamedTuple):
    """A meter in one span."""

    meter: Any
    kind: str
    window: views.Window


class _Usage:
    """What the meters of a month came to, each once for every span that any of its groups asks for."""

    def __init__(self) -> None:
        self.sources: dict[Any, str] = {}
        self.numbers: dict[tuple[Any, datetime, datetime], int] = {}
        self.asked: list[_Asked] = []
        self.events: set[int] = set()
        self.sums: dict[int, tuple[Decimal, int]] = {}
        self.seen: dict[int, list[Observation]] = defaultdict(list)
        self.samples: dict[int, list[Source]] = defaultdict(list)

    def ask(self, row: Any, window: views.Window, *, events: bool) -> int:
        """The number of a meter's span."""
        key = (row["meter"], window.start, window.end)
        if key not in self.numbers:
            self.numbers[key] = len(self.asked)
            self.asked.append(_Asked(row["meter"], row["kind"], window))
            self.sources[row["meter"]] = row["source"]
        if events and row["kind"] == "counter":
            self.events.add(self.numbers[key])
        return self.numbers[key]

    async def read(self, b: Reading) -> None:
        numbered = list(enumerate(self.asked))
        listed = [
            (n, meter, kind, window.start, window.end)
            for n, (meter, kind, window) in numbered
            if kind == "gauge" or n in self.events
        ]
        if listed:
            for n, at, until, value, record, record_type in await b.fetch(_OBSERVATIONS, *zip(*listed, strict=True)):
                self.seen[n].append(Observation(at, value, self._source(n, record_type, record), until))
        summed = [
            (n, meter, kind, window.start, window.end, *_whole_days(window.start, window.end))
            for n, (meter, kind, window) in numbered
            if kind != "gauge"
        ]
        if summed:
            for n, total, records in await b.fetch(_SUMS, *zip(*summed, strict=True)):
                self.sums[n] = (total, records)
        sampled = [
            (n, self.asked[n].meter, self.asked[n].window.start, self.asked[n].window.end, records > _MANY)
            for n, (_, records) in self.sums.items()
            if records
        ]
        if sampled:
            for n, record, record_type in await b.fetch(_SAMPLES, *zip(*sampled, strict=True)):
                self.samples[n].append(self._source(n, record_type, record))

    def _source(self, n: int, record_type: str, record: str) -> Source:
        return evidence(record_type, self.sources[self.asked[n].meter], record)

    @exact
    def measured(self, row: Any, n: int, *, events: bool) -> Measured:
        """One meter in the span of that number, as a product gets it."""
        _, source, account, sku, name, kind, unit, product, of_account, of_sku, _ = row
        seen = tuple(sorted(self.seen.get(n, ()), key=views.in_time))
        total, records = self.sums.get(n, (Decimal(0), len(seen)))
        of_gauge = sorted((one.record for one in seen), key=lambda one: one.id)[: views.SAMPLE]
        return Measured(
            source=source,
            account=account,
            sku=sku,
            meter=name,
            kind=kind,
            unit=unit,
            share=of_account * of_sku,
            total=total,
            observations=seen if kind == "gauge" else (),
            records=records,
            sample=tuple(of_gauge if kind == "gauge" else self.samples.get(n, ())),
            product=product,
            span=None if kind == "gauge" else self.asked[n].window.span,
            events=seen if events and kind == "counter" else (),
        )


async def _usage(b: Reading, month: Month, rows: Sequence[Any]) -> None:
    """Measures each meter for the spans of the groups that it is a part of."""
    usage = _Usage()
    zone, period = month.client.time_zone, month.period
    wanted: dict[str, tuple[tuple[views.Window, ...], bool]] = {}
    asked: list[tuple[Any, int, bool]] = []
    for row in rows:
        members = month.members(row["product"])
        if members[0] not in wanted:
            lines = month.versions(members)
            needed = spans.needed(lines, month.client, period)
            wanted[members[0]] = views.windows(needed, period, zone), spans.wants_events(lines)
        windows, events = wanted[members[0]]
        for window in (views.whole(windows),) if row["kind"] == "gauge" else windows:
            asked.append((row, usage.ask(row, window, events=events), events))
    await usage.read(b)
    _, end = bounds(period, zone)
    for row, n, events in asked:
        measured = usage.measured(row, n, events=events)
        month.measured.setdefault(row["product"], []).append(measured)
        # A month before a gauge's first instant has nothing of it.
        if any(seen.at < end for seen in measured.observations):
            month.last_at.setdefault(row["product"], []).append(row["last_at"])


def _whole_days(start: datetime, end: datetime) -> tuple[date, date]:
    """The whole UTC days in ``[start, end)`` as ``[first, last)``; its edges cut the day before and ``last`` itself."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    first = start.date()
    return (first if start.time() == datetime.min.time() else first + _DAY), end.date()


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


# --- feeds -------------------------------------------------------------------------------------------------------
_FEEDS = """
SELECT c.kind, c.key, c.rank_at, c.rank_run, c.rank_content, c.value, c.source, c.record_type, c.record, f.run, f.until
  FROM unnest($2::text[], $3::text[]) AS i(source, feed)
  JOIN matching.cell c ON (c.tenant, c.kind, c.key) = ($1, 'feed_missed', ARRAY[i.source, i.feed])
  LEFT JOIN LATERAL (
    SELECT max((o.value ->> 'run')::bigint) AS run, max((o.value ->> 'covers_to')::timestamptz) AS until
      FROM matching.cell o
     WHERE o.tenant = $1 AND o.kind = 'feed' AND o.source = i.source AND o.key[2] = i.feed) f ON true"""


async def read_feeds(b: Reading, snapshot: Snapshot, keys: Sequence[Key]) -> Mapping[Key, MissedFeed | None]:
    """The run of each feed that was missed; ``None`` for one that is heard."""
    missed: list[Cell] = []
    heard: dict[tuple[str, ...], tuple[int, datetime]] = {}
    for row in await b.fetch(_FEEDS, snapshot.tenant, [key.owner for key in keys], [key.item for key in keys]):
        missed.append(cell_of(snapshot.tenant, row))
        if row["until"] is not None:
            heard[missed[-1].key] = (row["run"], row["until"])
    silent = {(one.source, one.feed): one for one in views.silent(missed, heard)}
    return {key: silent.get((key.owner, key.item)) for key in keys}
