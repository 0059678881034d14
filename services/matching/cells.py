"""The fold of everything but usage: cells, and the views of them that are kept (documents, routes, the calendar).

One statement a table and batch; the rows that moved come back with their old and new values, and say what is due.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from shared.kernel.periods import month_of
from shared.reconciliation.facts import Cell, Rank
from shared.reconciliation.views import is_commitment, opening

_STAGE = """
CREATE TEMPORARY TABLE IF NOT EXISTS stage_cell (
  tenant text, kind text, key text[], rank_at timestamptz, rank_run bigint, rank_content text COLLATE "C",
  value jsonb, source text, record text, record_type text, cause jsonb) ON COMMIT DELETE ROWS"""
_COLUMNS = (
    "tenant", "kind", "key", "rank_at", "rank_run", "rank_content",
    "value", "source", "record", "record_type", "cause",
)  # fmt: skip
_MERGE = """
INSERT INTO matching.cell AS o
  (tenant, kind, key, rank_at, rank_run, rank_content, value, source, record, record_type, cause)
SELECT DISTINCT ON (s.tenant, s.kind, s.key) s.* FROM pg_temp.stage_cell s
 ORDER BY s.tenant, s.kind, s.key, s.rank_at DESC, s.rank_run DESC, s.rank_content DESC
ON CONFLICT (tenant, kind, key) DO UPDATE SET
  rank_at = excluded.rank_at, rank_run = excluded.rank_run, rank_content = excluded.rank_content,
  value = excluded.value, source = excluded.source, record = excluded.record, record_type = excluded.record_type,
  cause = excluded.cause
WHERE (o.rank_at, o.rank_run, o.rank_content) < (excluded.rank_at, excluded.rank_run, excluded.rank_content)
RETURNING new.tenant, new.kind, new.key, old.key IS NULL AS inserted, old.value AS before, new.value, new.cause"""


class Moved(NamedTuple):
    """A cell that holds something else than before."""

    tenant: str
    kind: str
    key: tuple[str, ...]
    inserted: bool
    before: dict[str, Any] | None
    value: dict[str, Any] | None
    cause: str


def row(cell: Cell, cause: str) -> tuple[Any, ...]:
    """A cell as it is staged."""
    value = None if cell.value is None else orjson.dumps(cell.value).decode()
    return (
        cell.tenant, cell.kind, list(cell.key), cell.rank.asserted_at, cell.rank.run, cell.rank.content,
        value, cell.source, cell.record_id, cell.record_type, cause,
    )  # fmt: skip


def cell_of(tenant: str, row: Sequence[Any]) -> Cell:
    """A cell from the nine columns kind, key, rank_at, rank_run, rank_content, value, source, record_type, record."""
    kind, key, rank_at, rank_run, rank_content, value, source, record_type, record = row[:9]
    rank = Rank(rank_at, rank_run, rank_content)
    return Cell(
        kind, tenant, tuple(key), rank, None if value is None else orjson.loads(value), source, record_type, record
    )


async def merge(tx: Any, rows: Sequence[tuple[Any, ...]]) -> None:
    """Fold staged rows; what moved is due when this returns."""
    await tx.execute(_STAGE)
    await tx.copy_records_to_table("stage_cell", schema_name="pg_temp", columns=_COLUMNS, records=rows)
    moved = [_moved(answer) for answer in await tx.fetch(_MERGE)]
    if not moved:
        return
    dues = Dues()
    by_kind: dict[str, list[Moved]] = {}
    for cell in moved:
        by_kind.setdefault(cell.kind, []).append(cell)
    await _keep_documents(tx, by_kind)
    await _keep_routes(tx, by_kind.get("mapping", ()))
    await _keep_components(tx, by_kind.get("product", ()))
    await _keep_bills(tx, by_kind.get("vendor_bill_line", ()), dues)
    await _keep_calendar(tx, by_kind.get("calendar", ()), dues)
    for kind, cells in by_kind.items():
        for cell in cells:
            _due_of(kind, cell, dues)
    await dues.insert(tx)


def _moved(answer: Any) -> Moved:
    tenant, kind, key, inserted, before, value, cause = answer
    return Moved(tenant, kind, tuple(key), inserted, _json(before), _json(value), cause)


def _json(text: str | None) -> dict[str, Any] | None:
    value: dict[str, Any] | None = None if text is None else orjson.loads(text)
    return value


Span = tuple[datetime | None, datetime | None]


class Dues:
    """Rows for ``matching.due``, each key once a batch, with the cause that came last."""

    def __init__(self) -> None:
        self._rows: dict[tuple[Any, ...], str] = {}

    def add(self, tenant: str, kind: str, key: Iterable[str], cause: str, span: Span = (None, None)) -> None:
        self._rows[tenant, kind, tuple(key), span] = cause

    async def insert(self, tx: Any) -> None:
        await tx.copy_records_to_table(
            "due",
            schema_name="matching",
            columns=("tenant", "kind", "key", "first_at", "last_at", "cause"),
            records=[
                (tenant, kind, list(key), *span, cause) for (tenant, kind, key, span), cause in self._rows.items()
            ],
        )


def _due_of(kind: str, cell: Moved, dues: Dues) -> None:
    value, before = cell.value or {}, cell.before or {}
    match kind:
        case "client":
            dues.add(cell.tenant, kind, [cell.key[1]], cell.cause)
        case "product":
            # What a bundle was made of is named here: nothing else remembers it.
            parts = {part for one in (value, before) if one for part in one["components"]}
            dues.add(cell.tenant, kind, [cell.key[1], *sorted(parts)], cell.cause)
        case "contract_line":
            # So is whose the line was, how long its periods were, and whether it was a commitment over others.
            said = [one for one in (value, before) if one]
            far = str(max(longest(one) for one in said))
            held = "commitment" if any(is_commitment(one) for one in said) else ""
            for client, product in sorted({(one["client"], one["product"]) for one in said}):
                dues.add(cell.tenant, kind, [*cell.key, client, product, far, held], cell.cause)
        case "invoice":
            dues.add(cell.tenant, "document", cell.key[:2], cell.cause)
            if before and any(before[name] != value[name] for name in ("client", "period_from", "period_to")):
                was = (before["client"], before["period_from"], before["period_to"])
                dues.add(cell.tenant, "client_months", was, cell.cause)
        case "invoice_line" | "invoice_void":
            dues.add(cell.tenant, "document", cell.key[:2], cell.cause)
        case "vendor_bill":
            dues.add(cell.tenant, "bill", cell.key[:3], cell.cause)
        case "vendor_bill_line":
            for one in (value, before):
                if one:
                    dues.add(cell.tenant, "identifier", ["account", cell.key[0], one["account"]], cell.cause)
                    dues.add(cell.tenant, "identifier", ["sku", cell.key[0], one["sku"]], cell.cause)
                    charge = [cell.key[0], one["account"], one["sku"], one["charge_from"]]
                    dues.add(cell.tenant, "charge", charge, cell.cause)
        case "time_entry":
            for one in (value, before):
                if one:
                    worked = [one["client"], one["product"], one["worked_on"]]
                    dues.add(cell.tenant, kind, worked, cell.cause)
        case "mapping":
            dues.add(cell.tenant, "mapping", cell.key, cell.cause)
        case "feed":
            span = (datetime.fromisoformat(value["covers_from"]), datetime.fromisoformat(value["covers_to"]))
            dues.add(cell.tenant, "feed", cell.key[:2], cell.cause, span)
        case "feed_missed":
            dues.add(cell.tenant, kind, cell.key, cell.cause)
        case "statement_group":
            dues.add(cell.tenant, kind, [cell.key[0], cell.key[1], cell.key[3]], cell.cause)
        case "setting":
            dues.add(cell.tenant, "tenant", [], cell.cause)


UNIT_DAYS = {"once": 1, "day": 1, "week": 7, "month": 31, "quarter": 92, "year": 366}


def longest(line: Mapping[str, Any]) -> int:
    """Days of the longest billing period that a version of a contract line may have; 0: a month of the calendar's."""
    period = (line["terms"] or {}).get("period")
    return 0 if period is None else UNIT_DAYS[period.get("unit", "month")] * int(period.get("count", 1))


# --- documents ---------------------------------------------------------------------------------------------------
_ADD_LINES = """
INSERT INTO matching.document AS d (tenant, source, invoice, version, have, span_from, span_to)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::int[], $6::date[], $7::date[])
ON CONFLICT (tenant, source, invoice, version) DO UPDATE SET
  have = d.have + excluded.have,
  span_from = least(d.span_from, excluded.span_from), span_to = greatest(d.span_to, excluded.span_to)"""
_SET_HEADERS = """
INSERT INTO matching.document
  (tenant, source, invoice, version, client, period_from, period_to, corrects, lines, digest)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::text[], $6::date[], $7::date[], $8::text[],
                     $9::int[], $10::text[])
ON CONFLICT (tenant, source, invoice, version) DO UPDATE SET
  client = excluded.client, period_from = excluded.period_from, period_to = excluded.period_to,
  corrects = excluded.corrects, lines = excluded.lines, digest = excluded.digest"""
# The lines are looked at only where the count is right: each is there once, whatever it says, and the header's digest
# (shared.events.invoices.lines_digest) is theirs.
_CHECK = """
UPDATE matching.document d SET complete = CASE
    WHEN d.lines IS DISTINCT FROM d.have THEN false
    ELSE (
      SELECT count(DISTINCT c.line) = d.have
         AND (d.digest IS NULL OR d.digest = encode(sha256(convert_to(
               coalesce(string_agg(c.digest, E'\\n' ORDER BY c.digest), ''), 'UTF8')), 'hex'))
        FROM (SELECT l.key[4] AS line, (l.value ->> 'digest') COLLATE "C" AS digest FROM matching.cell l
               WHERE l.kind = 'invoice_line' AND l.tenant = d.tenant AND l.key[1] = d.source AND l.key[2] = d.invoice
                 AND l.key[3] = d.version::text) c)
    END
  FROM unnest($1::text[], $2::text[], $3::text[], $4::int[]) AS t(tenant, source, invoice, version)
 WHERE (d.tenant, d.source, d.invoice, d.version) = (t.tenant, t.source, t.invoice, t.version)"""


class _Lines:
    """What a batch brings to one version of a document."""

    def __init__(self) -> None:
        self.more = 0
        self.first: date | None = None
        self.last: date | None = None

    def add(self, line: Moved) -> None:
        value = line.value or {}
        self.more += line.inserted
        if value["period_from"]:
            self.first = min(filter(None, (self.first, date.fromisoformat(value["period_from"]))))
        if value["period_to"]:
            self.last = max(filter(None, (self.last, date.fromisoformat(value["period_to"]))))


async def _keep_documents(tx: Any, moved: Mapping[str, Sequence[Moved]]) -> None:
    """All of a document comes through one partition, so counts can be added up here."""
    lines: dict[tuple[str, str, str, int], _Lines] = {}
    for line in moved.get("invoice_line", ()):
        lines.setdefault(_document(line), _Lines()).add(line)
    headers = {_document(header): header.value or {} for header in moved.get("invoice", ())}
    if lines:
        counts = [(*key, found.more, found.first, found.last) for key, found in lines.items()]
        await tx.execute(_ADD_LINES, *zip(*counts, strict=True))
    if headers:
        rows = [
            (*key, value["client"], date.fromisoformat(value["period_from"]), date.fromisoformat(value["period_to"]),
             value["corrects"], value["lines"], value["lines_digest"])
            for key, value in headers.items()
        ]  # fmt: skip
        await tx.execute(_SET_HEADERS, *zip(*rows, strict=True))
    if lines or headers:
        await tx.execute(_CHECK, *zip(*(lines.keys() | headers.keys()), strict=True))


def _document(cell: Moved) -> tuple[str, str, str, int]:
    return (cell.tenant, cell.key[0], cell.key[1], int(cell.key[2]))


# --- routes ------------------------------------------------------------------------------------------------------
_CLOSE_ROUTES = """
UPDATE matching.route r SET share = NULL
  FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS m(tenant, kind, source, key)
 WHERE (r.tenant, r.kind, r.source, r.key) = (m.tenant, m.kind, m.source, m.key) AND r.share IS NOT NULL"""
_OPEN_ROUTES = """
INSERT INTO matching.route (tenant, kind, source, key, target, share)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::numeric[])
ON CONFLICT (tenant, kind, source, key, target) DO UPDATE SET share = excluded.share"""


async def _keep_routes(tx: Any, mappings: Sequence[Moved]) -> None:
    if not mappings:
        return
    await tx.execute(_CLOSE_ROUTES, *zip(*((m.tenant, *m.key) for m in mappings), strict=True))
    targets = [
        (m.tenant, *m.key, target["id"], Decimal(target["share"]))
        for m in mappings
        if m.value is not None
        for target in m.value["targets"]
    ]
    if targets:
        await tx.execute(_OPEN_ROUTES, *zip(*targets, strict=True))


# --- bundles -----------------------------------------------------------------------------------------------------
_DROP_COMPONENTS = """
DELETE FROM matching.component c USING unnest($1::text[], $2::text[], $3::text[]) AS p(tenant, source, product)
 WHERE (c.tenant, c.product, c.source) = (p.tenant, p.product, p.source)"""
_ADD_COMPONENTS = """
INSERT INTO matching.component (tenant, source, product, part)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) ON CONFLICT DO NOTHING"""


async def _keep_components(tx: Any, products: Sequence[Moved]) -> None:
    """All that one source says of a product comes through one partition."""
    was = [one for one in products if (one.before or {}).get("components")]
    if was:
        await tx.execute(_DROP_COMPONENTS, *zip(*((one.tenant, *one.key) for one in was), strict=True))
    parts = [(one.tenant, *one.key, part) for one in products for part in (one.value or {})["components"]]
    if parts:
        await tx.execute(_ADD_COMPONENTS, *zip(*parts, strict=True))


TIED = """
  WITH RECURSIVE reached(one) AS (
    SELECT DISTINCT p.one FROM unnest($2::text[]) AS p(one)
    UNION
    SELECT n.other FROM reached r
     CROSS JOIN LATERAL (
       (SELECT c.part AS other FROM matching.component c WHERE c.tenant = $1 AND c.product = r.one)
       UNION ALL
       (SELECT c.product FROM matching.component c WHERE c.tenant = $1 AND c.part = r.one)) n)
{select}"""
"""``reached``: every product that bundles tie to some, whatever source says so: a little too much rather than too
little."""


# --- vendors' bills ----------------------------------------------------------------------------------------------
_KEEP_BILLS = """
INSERT INTO matching.bill AS b (tenant, source, issuer, bill, newest, here)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::int[])
ON CONFLICT (tenant, source, issuer, bill) DO UPDATE SET
  newest = greatest(b.newest, excluded.newest),
  here = CASE WHEN b.newest < excluded.newest THEN excluded.here
              WHEN b.newest = excluded.newest THEN b.here + excluded.here ELSE b.here END
RETURNING new.tenant, new.source, new.issuer, new.bill, old.newest < new.newest, coalesce(old.here, 0) AS was, new.here,
  (SELECT (h.value ->> 'lines')::int FROM matching.cell h
    WHERE (h.tenant, h.kind, h.key) =
      (new.tenant, 'vendor_bill', ARRAY[new.source, new.issuer, new.bill, new.newest::text]))"""


async def _keep_bills(tx: Any, lines: Sequence[Moved], dues: Dues) -> None:
    """With the first line of a newer version all the lines of the older ones no longer count; with the last one the
    bill has arrived."""
    added: dict[tuple[str, ...], dict[int, int]] = {}
    causes: dict[tuple[str, ...], str] = {}
    for line in lines:
        of = added.setdefault((line.tenant, *line.key[:3]), {})
        version = (line.value or {})["version"]
        of[version] = of.get(version, 0) + line.inserted
        causes[line.tenant, *line.key[:3]] = line.cause
    if added:
        rows = [(*bill, max(of), of[max(of)]) for bill, of in added.items()]
        for *bill, risen, was, here, wanted in await tx.fetch(_KEEP_BILLS, *zip(*rows, strict=True)):
            if risen or (wanted is not None and here != was and here >= wanted):
                dues.add(bill[0], "bill", bill[1:], causes[tuple(bill)])


# --- the calendar ------------------------------------------------------------------------------------------------
_TICK = """
INSERT INTO matching.calendar AS c (tenant, as_of, first_day, cause)
SELECT * FROM unnest($1::text[], $2::date[], $3::date[], $4::jsonb[])
ON CONFLICT (tenant) DO UPDATE SET
  as_of = greatest(c.as_of, excluded.as_of), first_day = least(c.first_day, excluded.first_day),
  cause = CASE WHEN excluded.as_of > c.as_of THEN excluded.cause ELSE c.cause END
RETURNING new.tenant, old.as_of, old.first_day, new.as_of, new.first_day"""


async def _keep_calendar(tx: Any, ticks: Sequence[Moved], dues: Dues) -> None:
    """A day's passing alone wakes only whoever waits for it (``matching.wake``) and begins the contract lines of that
    day; a month's begins new groups; the first day, or an earlier one, opens the books."""
    days: dict[str, list[tuple[date, str]]] = {}
    for tick in ticks:
        days.setdefault(tick.tenant, []).append((date.fromisoformat(tick.key[0]), tick.cause))
    if not days:
        return
    rows = [(tenant, max(seen)[0], min(seen)[0], max(seen)[1]) for tenant, seen in days.items()]
    for tenant, old_as_of, old_first, as_of, first in await tx.fetch(_TICK, *zip(*rows, strict=True)):
        cause = max(days[tenant])[1]
        if old_as_of is None:
            dues.add(tenant, "begin", [str(opening(first)), str(as_of)], cause)
        elif opening(old_first) != opening(first):
            dues.add(tenant, "tenant", [], cause)
            dues.add(tenant, "months", [str(opening(first)), str(as_of)], cause)
        elif month_of(as_of) != month_of(old_as_of):
            dues.add(tenant, "months", [str(month_of(old_as_of).end), str(as_of)], cause)
        if old_as_of is not None and as_of > old_as_of:
            dues.add(tenant, "days", [str(old_as_of), str(as_of)], cause)
