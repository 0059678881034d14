"""What a draw leaves behind: verdict rows, group rows, the dates that they wait for, and last the records.

A stream's row is its last record; whoever draws compares with it. Nothing is written where nothing differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any, NamedTuple

import orjson

from services.matching.expand import Key, cause_order
from services.matching.inputs import EXCLUDED_MAX, Month, Snapshot
from shared.eventlog.model import Verdict as Outcome
from shared.eventlog.postgres import append_in
from shared.events.catalogue import CATALOGUE
from shared.events.discrepancies import (
    Basis,
    Cause,
    Code,
    DiscrepancyBody,
    DiscrepancyChanged,
    DiscrepancyCleared,
    DiscrepancyDetected,
    Source,
)
from shared.events.record import Context, Draft, draft_derived
from shared.kernel.canonical import canonical
from shared.kernel.identity import derived_id
from shared.kernel.periods import month_of
from shared.reconciliation.client_level import LEVEL, draw_client, total_of
from shared.reconciliation.diff import Change, StoredVerdict, StreamKey, diff, discrepancy_stream
from shared.reconciliation.exact import exact
from shared.reconciliation.inputs import GroupTotal, ScopeTotal
from shared.reconciliation.statement import GroupLines, group_lines
from shared.reconciliation.verdict import StatementLine, Verdict
from shared.reconciliation.views import SAMPLE, sample

SOURCE = "plumbline.matching"
PENDING = timedelta(seconds=60)
"""When a unit is looked at again that could not be drawn: dead letters, or a defect."""
LEVEL_WAITS = timedelta(seconds=1)
"""When a client's level is looked at again whose groups are still to be drawn."""


@dataclass(frozen=True)
class Drawn:
    """A unit's verdicts. ``None``: nothing to compare."""

    unit: Key
    snapshot: Snapshot
    causes: Mapping[Key, str]
    verdicts: dict[Key, Verdict | None]
    rows: int
    """Read for it."""
    month: Month | None = None
    names: Mapping[Key, str | None] = field(default_factory=dict)
    """What their vendors call the identifiers."""

    def cause(self, key: Key) -> str:
        """What made a group due; one that was drawn with the others has theirs."""
        return self.causes.get(key) or max(self.causes.values(), key=cause_order)


def rests_on_absence(verdict: Verdict) -> bool:
    """Whether a feed's completeness, or an identifier that nobody has mapped, may have a say in a verdict: also behind
    invoice lines that are still to come, and where the vendor's bill says what was used as long as no feed does."""
    return (
        any(one.body.code in (Code.PHANTOM_LINE, Code.QTY_OVER) for one in verdict.breaks)
        or any(waiting.side in ("usage_complete", "mapping", "invoice_lines") for waiting in verdict.waiting)
        or any(map(_by_bill, verdict.lines))
    )


def _by_bill(line: StatementLine) -> bool:
    return any(
        one.label == "used" and any(source.type == "vendor_bill.line.v1" for source in one.sources)
        for one in line.steps
    )


async def write(a: Any, drawn: Drawn) -> bool:
    """Write what differs, append last; whether anything was appended."""
    if drawn.snapshot.incomplete:
        await _write_pending(a, drawn)
        return False
    before = await _before(a, drawn)
    if drawn.month is not None and drawn.month.whole and not drawn.month.settled:
        await _wait_with_level(a, drawn)
    else:
        draw_level(drawn, before)
    written = _written(drawn)
    drafts = await _write_streams(a, drawn, before, written)
    await _write_groups(a, drawn, {key: one for key, one in written.items() if one.digest != before.digest(key)})
    outcomes = await append_in(a, drafts, drawn.snapshot.floor)
    for draft, outcome in zip(drafts, outcomes, strict=True):
        if outcome.verdict is not Outcome.STORED:
            raise RuntimeError(f"stream {draft.stream} is not at version {draft.expected}: {outcome}")
    return bool(drafts)


@dataclass(frozen=True)
class _Written:
    """A verdict as the tables hold it."""

    verdict: Verdict | None
    bodies: Mapping[StreamKey, dict[str, Any]]
    lines: GroupLines
    """Its part of the client's statement; an identifier has none."""
    digest: str | None
    """``None``: no row."""

    @classmethod
    def of(cls, key: Key, verdict: Verdict | None, name: str | None) -> _Written:
        in_month = verdict is not None and key.level in ("product", "client")
        lines = group_lines(key.item, verdict, month_of(key.month)) if in_month else GroupLines(key.item, ())
        if verdict is None:
            return cls(None, {}, lines, None)
        bodies = {one.stream_key: one.body.model_dump(mode="json", exclude_defaults=True) for one in verdict.breaks}
        figures = (verdict.expected, verdict.billed, verdict.explained, verdict.explained_by, verdict.broken)
        rest = (verdict.state, verdict.currency, verdict.next_change, verdict.owed, name)
        said = [[list(key), body] for key, body in bodies.items()]
        content: list[Any] = [*figures, *rest, _waiting(verdict), said, lines.document()]
        content += [_said(verdict.scope), verdict.measured, _evidence(verdict), verdict.records]
        return cls(verdict, bodies, lines, sha256(canonical(content)).hexdigest()[:32])

    @property
    @exact
    def pending(self) -> Decimal:
        """Of the difference, what its lines cannot conclude yet."""
        of_verdict = (line.pending for line in self.lines.lines if line.key[0] != "break")
        return sum(of_verdict, Decimal(0))

    @property
    def wakes_on(self) -> date | None:
        """The next date on which something in it changes: the answer, or the deadline that its breaks name."""
        assert self.verdict is not None
        dates = [self.verdict.next_change, *(one.body.deadline for one in self.verdict.breaks)]
        return min((one for one in dates if one is not None), default=None)


def _written(drawn: Drawn) -> dict[Key, _Written]:
    return {key: _Written.of(key, verdict, drawn.names.get(key)) for key, verdict in drawn.verdicts.items()}


def _said(scope: Sequence[ScopeTotal]) -> list[dict[str, Any]]:
    return [asdict(one) for one in scope]


def _evidence(verdict: Verdict) -> list[dict[str, str]]:
    return [one.model_dump() for one in verdict.sources]


def _waiting(verdict: Verdict) -> list[dict[str, Any]]:
    return [{"side": one.side, "what": one.what, "until": one.until} for one in verdict.waiting]


_DRAWN = """
SELECT d.tenant, d.level, d.owner, d.month, d.item, d.expected, d.currency, d.owed, d.scope, d.digest
  FROM matching.drawn d
 WHERE d.tenant = $1 AND d.level = ANY ($2) AND d.owner = ANY ($3) AND d.month = $4"""


# What the groups that ask for an invoice rest on, some of them left out. The first twenty records are among those of
# the groups that begin with one of the first twenty.
_EVIDENCE = """
WITH owed AS NOT MATERIALIZED (
  SELECT d.sources, d.first_source, d.records FROM matching.drawn d
   WHERE d.tenant = $1 AND d.level = 'product' AND d.owner = $2 AND d.month = $3 AND d.owed AND NOT d.item = ANY ($4)),
first AS (
  SELECT max(f.first_source) AS last, count(*) AS n FROM (
    SELECT DISTINCT o.first_source FROM owed o WHERE o.first_source IS NOT NULL ORDER BY 1 LIMIT $5) f)
SELECT (SELECT coalesce(sum(o.records), 0)::bigint FROM owed o),
       (SELECT jsonb_agg(o.sources) FROM owed o, first f WHERE f.n < $5 OR o.first_source <= f.last)"""


@dataclass(frozen=True)
class Before:
    """What the tables hold of a unit: of a client's month every group."""

    digests: Mapping[Key, str] = field(default_factory=dict)
    totals: Mapping[Key, GroupTotal] = field(default_factory=dict)
    evidence: tuple[tuple[Source, ...], int] = ((), 0)
    """What the groups that are not drawn now rest on, all together: known where an invoice is overdue."""

    def digest(self, key: Key) -> str | None:
        return self.digests.get(key)


async def _before(a: Any, drawn: Drawn) -> Before:
    unit = drawn.unit
    levels = ["product", "client"] if unit.level == "client" else [unit.level]
    owners = list({key.owner for key in drawn.verdicts} | {unit.owner})
    digests, totals = {}, {}
    for *columns, expected, currency, owed, scope, digest in await a.fetch(
        _DRAWN, unit.tenant, levels, owners, unit.month
    ):
        key = Key(*columns)
        digests[key] = digest
        if key.level == "product":
            totals[key] = GroupTotal(key.item, expected, currency, owed, scope=_scope(scope))
    if drawn.month is None or not drawn.month.unanswered:
        return Before(digests, totals)
    now = [key.item for key in drawn.verdicts]
    records, of_groups = await a.fetchrow(_EVIDENCE, unit.tenant, unit.owner, unit.month, now, SAMPLE)
    sources = sample(Source(**one) for of_group in orjson.loads(of_groups or "[]") for one in of_group)
    return Before(digests, totals, (sources, records))


def _scope(text: str) -> tuple[ScopeTotal, ...]:
    return tuple(ScopeTotal(**one | {"total": Decimal(one["total"])}) for one in orjson.loads(text))


def draw_level(drawn: Drawn, before: Before) -> None:
    """The level above a client's groups, if it is due or one of its groups counts otherwise than before.

    The groups that are not drawn now count as they were drawn last. Where it adds them up, they are what they were
    (:attr:`Month.settled`); elsewhere no record comes of it, and a group that changes brings this level up again.
    """
    month = drawn.month
    if month is None or not month.speaks:
        return
    now = {key: total_of(key.item, verdict) for key, verdict in drawn.verdicts.items() if verdict is not None}
    # Where it adds the groups up it also names what they rest on, and has invoice lines of its own.
    moved = month.whole or any(now.get(key) != before.totals.get(key) for key in drawn.verdicts)
    level = drawn.unit._replace(item=LEVEL)
    if moved or level in drawn.causes:
        others = [total for key, total in before.totals.items() if key not in drawn.verdicts]
        drawn.verdicts[level] = draw_client(month.level([*_resting(others, before.evidence), *now.values()]))


def _resting(others: Sequence[GroupTotal], evidence: tuple[tuple[Source, ...], int]) -> Iterator[GroupTotal]:
    """Totals with what they rest on: only all together counts, so one that asks for an invoice bears it."""
    sources, records = evidence
    for one in others:
        yield replace(one, sources=sources, records=records) if one.owed else one
        if one.owed:
            sources, records = (), 0


_LEVEL_LATER = """
INSERT INTO matching.due_key (tenant, level, owner, month, item, ready_at, cause)
SELECT $1::text, $2::text, $3::text, $4::date, $5::text, clock_timestamp() + $7::interval, $6::jsonb
 WHERE NOT EXISTS (SELECT FROM matching.due_key k
                    WHERE (k.tenant, k.level, k.owner, k.month, k.item) = ($1, $2, $3, $4, $5))"""


async def _wait_with_level(a: Any, drawn: Drawn) -> None:
    """Bring the level up again behind the groups that are due: they are too many to be drawn with it."""
    level = drawn.unit._replace(item=LEVEL)
    await a.execute(_LEVEL_LATER, *level, drawn.cause(level), LEVEL_WAITS)


# Looked up by keys whatever the statistics say: the ids first, then the rows.
_VERDICTS = """
SELECT v.tenant, v.level, v.owner, v.month, v.item, v.stream, v.key, v.version, v.state, v.reopened, v.recorded
  FROM matching.verdict v
 WHERE v.tenant = $1 AND v.stream = ANY (ARRAY(
   SELECT unnest($2::uuid[])
    UNION
   SELECT x.stream FROM unnest($4::text[], $5::text[], $6::text[]) AS g(level, owner, item)
    CROSS JOIN LATERAL (
      SELECT w.stream FROM matching.verdict w
       WHERE (w.tenant, w.level, w.owner, w.month, w.item) = ($1, g.level, g.owner, $3, g.item) OFFSET 0) x))
 ORDER BY v.stream"""
_RECORD = """
INSERT INTO matching.verdict AS v
  (tenant, level, owner, month, item, stream, key, version, state, reopened, code, client, amount, currency, body,
   recorded)
SELECT u.tenant, u.level, u.owner, u.month, u.item, u.stream, u.key, u.version, u.state, u.reopened,
       u.body ->> 'code', u.body ->> 'client', (u.body ->> 'amount')::numeric, u.body ->> 'currency', u.body, u.body
  FROM unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::text[], $6::uuid[], $7::jsonb[], $8::int[],
              $9::text[], $10::int[], $11::jsonb[])
       AS u(tenant, level, owner, month, item, stream, key, version, state, reopened, body)
ON CONFLICT (tenant, stream) DO UPDATE SET
  level = excluded.level, owner = excluded.owner, month = excluded.month, item = excluded.item, key = excluded.key,
  version = excluded.version, state = excluded.state, reopened = excluded.reopened, code = excluded.code,
  client = excluded.client, amount = excluded.amount, currency = excluded.currency, body = excluded.body,
  recorded = excluded.recorded"""
# Evidence has grown, a name or a deadline is another: no event, but what is shown is what holds.
_REFRESH = """
UPDATE matching.verdict v SET level = u.level, owner = u.owner, month = u.month, item = u.item, body = u.body
  FROM unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::text[], $6::uuid[], $7::jsonb[])
       AS u(tenant, level, owner, month, item, stream, body)
 WHERE v.tenant = u.tenant AND v.stream = u.stream
   AND (v.body, v.level, v.owner, v.month, v.item) IS DISTINCT FROM (u.body, u.level, u.owner, u.month, u.item)"""


async def changes(a: Any, drawn: Drawn) -> list[tuple[Key, Change, DiscrepancyBody | None]]:
    """What a draw would record, with the group of each and what is open before. Nothing is written or locked."""
    before = await _before(a, drawn)
    draw_level(drawn, before)
    written = _written(drawn)
    previous = await _previous(a, drawn, written, _VERDICTS)
    return [
        (key, change, _open(previous.verdicts[key].get(change.stream_key)))
        for key, change in _changes(written, previous)
    ]


def _open(stored: StoredVerdict | None) -> DiscrepancyBody | None:
    return stored.body if stored is not None and stored.open else None


class _Previous(NamedTuple):
    """What stood before a draw."""

    verdicts: Mapping[Key, dict[StreamKey, StoredVerdict]]
    """Of each group."""
    held_by: Mapping[StreamKey, Key]
    """The group whose each stream was."""


async def _previous(a: Any, drawn: Drawn, written: Mapping[Key, _Written], verdicts: str) -> _Previous:
    """The verdicts that stand of each group, as ``verdicts`` reads them."""
    tenant = drawn.unit.tenant
    holders = {stream_key: key for key, one in written.items() for stream_key in one.bodies}
    streams = [discrepancy_stream(tenant, stream_key) for stream_key in holders]
    groups = [(key.level, key.owner, key.item) for key in written]
    previous: dict[Key, dict[StreamKey, StoredVerdict]] = {key: {} for key in written}
    held_by: dict[StreamKey, Key] = {}
    if not groups:
        return _Previous(previous, held_by)
    drawn_now = {one.stream_key: one.body for of in written.values() if of.verdict for one in of.verdict.breaks}
    # A stream that another group of this draw holds now is that group's, whoever held it before.
    for *group, _, key_text, version, state, reopened, recorded in await a.fetch(
        verdicts, tenant, streams, drawn.unit.month, *zip(*groups, strict=True)
    ):
        stream_key = tuple(orjson.loads(key_text))
        held_by[stream_key] = Key(*group)
        holder = holders.get(stream_key, held_by[stream_key])
        said = orjson.loads(recorded)
        # Mostly it is what was drawn now, which need not be read again.
        same = stream_key in holders and said == written[holder].bodies[stream_key]
        body = drawn_now[stream_key] if same else DiscrepancyBody.model_validate(said)
        previous[holder][stream_key] = StoredVerdict(version, state == "open", body, reopened)
    return _Previous(previous, held_by)


def _changes(written: Mapping[Key, _Written], previous: _Previous) -> list[tuple[Key, Change]]:
    return [
        (key, change)
        for key, one in written.items()
        for change in diff(
            previous.verdicts[key],
            one.verdict.breaks if one.verdict else (),
            one.verdict.state if one.verdict else None,
        )
    ]


async def _write_streams(a: Any, drawn: Drawn, before: Before, written: Mapping[Key, _Written]) -> list[Draft]:
    """Verdict rows and the drafts of what became a record."""
    tenant = drawn.unit.tenant
    holders = {stream_key: key for key, one in written.items() for stream_key in one.bodies}
    if not holders and all(before.digest(key) is None for key in written):
        return []
    previous = await _previous(a, drawn, written, _VERDICTS + " FOR UPDATE")
    moved = _changes(written, previous)
    changed = {change.stream_key for _, change in moved}
    if moved:
        await a.execute(_RECORD, *zip(*(_record_row(key, change) for key, change in moved), strict=True))
    # A group that says what it said before, of streams that are still its own, has shown it already.
    same = {key for key, one in written.items() if one.digest == before.digest(key)}
    unchanged = [
        (stream_key, key)
        for stream_key, key in holders.items()
        if stream_key not in changed and not (key in same and previous.held_by.get(stream_key) == key)
    ]
    if unchanged:
        await a.execute(
            _REFRESH,
            *zip(
                *(
                    (*key, discrepancy_stream(tenant, stream_key), canonical(written[key].bodies[stream_key]).decode())
                    for stream_key, key in unchanged
                ),
                strict=True,
            ),
        )
    return [_draft(tenant, change, _basis(drawn, key), drawn.cause(key)) for key, change in moved]


def _record_row(key: Key, change: Change) -> tuple[Any, ...]:
    stream, after = discrepancy_stream(key.tenant, change.stream_key), change.after
    stream_key = canonical(list(change.stream_key)).decode()
    body = canonical(change.body.model_dump(mode="json", exclude_defaults=True)).decode()
    return (*key, stream, stream_key, after.version, "open" if after.open else "cleared", after.reopened, body)


def _basis(drawn: Drawn, key: Key) -> Basis:
    cause = orjson.loads(drawn.cause(key))
    named = Cause(record=cause["record"], type=cause["type"], recorded_at=cause["recorded_at"])
    return drawn.snapshot.basis.model_copy(update={"cause": named})


def _draft(tenant: str, change: Change, basis: Basis, cause: str) -> Draft:
    data: DiscrepancyDetected | DiscrepancyChanged | DiscrepancyCleared
    if change.kind == "detected":
        data = DiscrepancyDetected(body=change.body, basis=basis, reopened=change.reopened)
    elif change.kind == "changed":
        data = DiscrepancyChanged(body=change.body, basis=basis, previous_amount=change.previous_amount)
    else:
        data = DiscrepancyCleared(body=change.body, basis=basis, verdict=change.verdict)
    fields = orjson.loads(cause)
    stream = discrepancy_stream(tenant, change.stream_key)
    return draft_derived(
        CATALOGUE[f"discrepancy.{change.kind}.v1"],
        tenant=tenant,
        source=SOURCE,
        record_id=derived_id(stream, change.expected + 1),
        # It occurred when its cause arrived: no clock enters a derived record.
        time=datetime.fromisoformat(fields["recorded_at"]),
        data=data,
        stream=stream,
        expected=change.expected,
        context=Context(actor="service:matching", correlation_id=fields["correlation"], causation_id=fields["id"]),
    )


_KEEP = """
INSERT INTO matching.drawn AS d
  (tenant, level, owner, month, item, state, expected, billed, explained, explained_by, pending, broken, currency, owed,
   waiting, rests_on_absence, digest, name, lines, vendor, lines_matched, lines_explained, lines_pending, lines_broken,
   scope, measured, sources, records)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::text[], $6::text[], $7::numeric[],
                     $8::numeric[], $9::numeric[], $10::text[], $11::numeric[], $12::numeric[], $13::text[],
                     $14::boolean[], $15::jsonb[], $16::boolean[], $17::text[], $18::text[], $19::jsonb[],
                     $20::jsonb[], $21::int[], $22::int[], $23::int[], $24::int[], $25::jsonb[], $26::numeric[],
                     $27::jsonb[], $28::bigint[])
ON CONFLICT (tenant, level, owner, month, item) DO UPDATE SET
  state = excluded.state, expected = excluded.expected, billed = excluded.billed, explained = excluded.explained,
  explained_by = excluded.explained_by, pending = excluded.pending, broken = excluded.broken,
  currency = excluded.currency, owed = excluded.owed, waiting = excluded.waiting,
  rests_on_absence = excluded.rests_on_absence, digest = excluded.digest, name = excluded.name, lines = excluded.lines,
  vendor = excluded.vendor, lines_matched = excluded.lines_matched, lines_explained = excluded.lines_explained,
  lines_pending = excluded.lines_pending, lines_broken = excluded.lines_broken, scope = excluded.scope,
  measured = excluded.measured, sources = excluded.sources, records = excluded.records"""
_NO_SUBTOTALS = """
DELETE FROM matching.subtotal s USING unnest($1::text[], $2::text[], $3::date[], $4::text[])
       AS k(tenant, owner, month, item)
 WHERE (s.tenant, s.month, s.owner, s.item) = (k.tenant, k.month, k.owner, k.item)"""
_SUBTOTALS = """
INSERT INTO matching.subtotal
  (tenant, owner, month, item, currency, expected, billed, explained, pending, broken, cost)
SELECT * FROM unnest($1::text[], $2::text[], $3::date[], $4::text[], $5::text[], $6::numeric[], $7::numeric[],
                     $8::numeric[], $9::numeric[], $10::numeric[], $11::numeric[])"""
_FORGET = """
DELETE FROM matching.drawn d USING unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::text[])
       AS k(tenant, level, owner, month, item)
 WHERE (d.tenant, d.level, d.owner, d.month, d.item) = (k.tenant, k.level, k.owner, k.month, k.item)"""
_SLEEP = """
DELETE FROM matching.wake w USING unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::text[])
       AS k(tenant, level, owner, month, item)
 WHERE (w.tenant, w.level, w.owner, w.month, w.item) = (k.tenant, k.level, k.owner, k.month, k.item)"""
_WAKE_ON = """
INSERT INTO matching.wake AS w (tenant, level, owner, month, item, on_date)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::text[], $6::date[])
ON CONFLICT (tenant, level, owner, month, item) DO UPDATE SET on_date = excluded.on_date"""


async def _write_groups(a: Any, drawn: Drawn, differing: Mapping[Key, _Written]) -> None:
    """The rows of the groups, and the dates that they wait for."""
    kept = {key: one for key, one in differing.items() if one.verdict is not None}
    wakes = [(*key, one.wakes_on) for key, one in kept.items() if one.wakes_on is not None]
    gone = [key for key, one in differing.items() if one.verdict is None]
    asleep = [key for key, one in differing.items() if one.verdict is None or one.wakes_on is None]
    if kept:
        rows = [_group_row(key, one, drawn.names.get(key)) for key, one in kept.items()]
        await a.execute(_KEEP, *zip(*rows, strict=True))
    if drawn.month is not None and differing:
        await _write_subtotals(a, differing)
    if wakes:
        await a.execute(_WAKE_ON, *zip(*wakes, strict=True))
    if gone:
        await a.execute(_FORGET, *zip(*gone, strict=True))
    if asleep:
        await a.execute(_SLEEP, *zip(*asleep, strict=True))


def _group_row(key: Key, one: _Written, name: str | None) -> tuple[Any, ...]:
    verdict, pending = one.verdict, one.pending
    assert verdict is not None
    said = one.lines.document()
    return (
        *key, verdict.state, verdict.expected, verdict.billed, _less(verdict.explained, pending), verdict.explained_by,
        pending, verdict.broken, verdict.currency, verdict.owed, canonical(_waiting(verdict)).decode(),
        rests_on_absence(verdict), one.digest, name,
        canonical(said["lines"]).decode(), canonical(said["vendor"]).decode(), *one.lines.counts[1:],
        canonical(_said(verdict.scope)).decode(), verdict.measured, canonical(_evidence(verdict)).decode(),
        verdict.records,
    )  # fmt: skip


@exact
def _less(one: Decimal, other: Decimal) -> Decimal:
    return one - other


async def _write_subtotals(a: Any, differing: Mapping[Key, _Written]) -> None:
    """What the lines of a month's groups come to."""
    groups = [(key.tenant, key.owner, key.month, key.item) for key in differing]
    await a.execute(_NO_SUBTOTALS, *zip(*groups, strict=True))
    rows = [
        (*group, one.currency, one.expected, one.billed, one.explained, one.pending, one.broken, one.cost)
        for group, of_group in zip(groups, differing.values(), strict=True)
        for one in of_group.lines.totals
    ]
    if rows:
        await a.execute(_SUBTOTALS, *zip(*rows, strict=True))


# More dead letters than a basis can name: what was found stays, and says that it is not up to date.
_PENDING_ROWS = """
UPDATE matching.drawn d SET state = 'not_comparable', digest = 'pending', waiting = $6
  FROM unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::text[]) AS k(tenant, level, owner, month, item)
 WHERE (d.tenant, d.level, d.owner, d.month, d.item) = (k.tenant, k.level, k.owner, k.month, k.item)"""
_LATER = """
INSERT INTO matching.due_key (tenant, level, owner, month, item, ready_at, cause)
SELECT k.tenant, k.level, k.owner, k.month, k.item, clock_timestamp() + $7, k.cause
  FROM unnest($1::text[], $2::text[], $3::text[], $4::date[], $5::text[], $6::jsonb[])
       AS k(tenant, level, owner, month, item, cause)"""


async def _write_pending(a: Any, drawn: Drawn) -> None:
    what = f"more than {EXCLUDED_MAX} records could not be read; their dead letters say why"
    waiting = canonical([{"side": "incomplete_input", "what": what, "until": None}]).decode()
    await a.execute(_PENDING_ROWS, *zip(*drawn.causes, strict=True), waiting)
    rows = [(*key, cause) for key, cause in drawn.causes.items()]
    await a.execute(_LATER, *zip(*rows, strict=True), PENDING)
