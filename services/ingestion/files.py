"""A file becomes records: it is kept whole in the vault, given its run, read row by row, and accepted chunk by chunk.

Whatever happens on the way, the same file can be sent again: the run is the same, so the ids are, and what was stored
counts as duplicate. Rejects are accepted under a batch id made of what they say: they are not kept twice either.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any, Literal, NamedTuple
from uuid import UUID

from services.ingestion.domain.decisions import confirm_mapping
from services.ingestion.domain.facts import Fact, Fault, Receipt, Rejected, Result, Sender
from services.ingestion.domain.profiles import Profile
from services.ingestion.domain.rows import Layout, Made, Private, Record, Rows, Span, Spoilt, Survey, Told
from services.ingestion.domain.table import Table
from services.ingestion.handlers.decide import decide
from services.ingestion.parts import Parts
from services.ingestion.runs import FileFeed, Run, assign
from services.ingestion.spool import Spool
from shared.eventlog.model import LogFull
from shared.eventlog.postgres import TenantLog
from shared.events.base import utc_text
from shared.events.catalogue import CATALOGUE, Kind
from shared.events.feeds import FeedObserved
from shared.events.mappings import MappingConfirmed
from shared.events.record import Assertion, Context, FactDrafter, RecordTooLarge
from shared.kernel.canonical import canonical, decimal_text
from shared.runtime.database import tenant_transaction
from shared.vault.documents import Documents
from shared.vault.people import People, Person

CHUNK_ROWS = 400
"""Rows that are read, drafted and accepted together: at most 1,000 records, for an alert never waits behind more."""
GROUPS_SHOWN = 50
_DECISIONS_AT_ONCE = 16
_FULL_TRIES = 6
_FULL_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Upload:
    """What the sender says about the file."""

    profile: Profile
    source: str
    sender: Sender
    batch: str
    """Id of this upload; its chunks are batches of their own."""
    filename: str | None = None
    """Given back in the answer, so that a sender of many files knows them apart; kept nowhere."""
    complete: Literal["no", "yes", "force"] = "no"
    """``force``: although rows of it wait in quarantine."""
    asserted_at: datetime | None = None
    covers_from: datetime | None = None
    covers_to: datetime | None = None


class Group(NamedTuple):
    """Rejects that have one reason."""

    field: str
    reason: str
    fix: str


@dataclass(slots=True)
class Tally:
    """The sums of an upload, and what a person has to see of its rejects."""

    stored: int = 0
    duplicate: int = 0
    quarantined: int = 0
    groups: dict[Group, dict[str, Any]] = field(default_factory=dict)
    spoilt_rows: set[int] = field(default_factory=set)
    rejects: list[UUID] = field(default_factory=list)

    def add(self, rows: Sequence[int], results: Sequence[Result]) -> None:
        """Count results; ``rows`` are the rows that they came from."""
        for row, result in zip(rows, results, strict=True):
            match result.outcome:
                case "stored":
                    self.stored += 1
                case "duplicate":
                    self.duplicate += 1
                case _:
                    self._reject(row, result)

    def _reject(self, row: int, result: Result) -> None:
        self.quarantined += 1
        self.spoilt_rows.add(row)
        if result.quarantine:
            self.rejects.append(result.quarantine)
        fault = result.faults[0]
        group = Group(*fault)
        if group in self.groups or len(self.groups) < GROUPS_SHOWN:
            shown = self.groups.setdefault(group, {"rows": 0, "first": f"row {row}"})
            shown["rows"] += 1
            if result.quarantine:
                shown.setdefault("quarantine", result.quarantine.hex)


async def ingest(here: Parts, upload: Upload, spool: Spool, zone: str) -> dict[str, Any]:
    """Ingest the file in ``spool``; returns the answer once what is stored is committed. ``zone``: the tenant's.

    Raises what :class:`~services.ingestion.domain.table.Table`, :class:`~services.ingestion.domain.rows.Survey`,
    :func:`~services.ingestion.runs.assign` and :meth:`~services.ingestion.intake.Intake.accept` raise. Whatever was
    raised, the same file may be sent again.
    """
    survey = await asyncio.to_thread(_survey, upload.profile, spool, zone)
    document = await here.documents.put(here.pool, upload.sender.tenant, spool.content(), "text/csv")
    now = here.clock.now()
    run = await assign(
        here.pool,
        FileFeed(upload.sender.tenant, upload.source, upload.profile.name),
        f"{document}:{upload.profile.name}.v{upload.profile.version}:{zone}",
        stated=upload.asserted_at,
        now=now,
        documents=survey.documents,
    )
    rows = Rows(survey, Told(zone, run.asserted_at, run.number, now), run.versions)
    work = _Work(here, upload, document, run)
    await work.through(rows, spool)
    answer = _answer(upload, document, run, survey, rows, work.tally)
    if upload.complete != "no":
        answer |= await work.complete(rows.covers())
    return answer


def _survey(profile: Profile, spool: Spool, zone: str) -> Survey:
    table = Table(spool.lines(), profile.delimiter)
    survey = Survey(Layout(profile, table.header), zone)
    for row in table.rows():
        survey.add(row)
    return survey


def _chunks(rows: Rows, spool: Spool) -> Iterator[list[Record]]:
    found = Table(spool.lines(), rows.layout.profile.delimiter).rows()
    while part := list(islice(found, CHUNK_ROWS)):
        yield [record for row in part for record in rows.make(row)]
    headers = rows.headers()
    while heads := list(islice(headers, CHUNK_ROWS)):
        yield heads


class _Work:
    """One upload whose run is known: takes its records where they belong, and counts what became of them."""

    def __init__(self, here: Parts, upload: Upload, document: str, run: Run) -> None:
        self._here = here
        self._people = People(here.master)
        self._upload = upload
        self._sender = upload.sender
        self._document = document
        self._run = run
        self._now = here.clock.now()
        self._drafter = FactDrafter(
            self._sender.tenant,
            Context(self._sender.actor, self._sender.correlation_id, trace_parent=self._sender.trace_parent),
            Assertion(run.asserted_at, run.number),
        )
        self._deciding = asyncio.Semaphore(_DECISIONS_AT_ONCE)
        self.tally = Tally()

    async def through(self, rows: Rows, spool: Spool) -> None:
        """Take every row, then the documents' headers."""
        chunks, number = _chunks(rows, spool), 0
        taking: asyncio.Task[None] | None = None
        try:
            # Rows are parsed in a thread: a long file must not hold up the answers to other callers. While a chunk is
            # committed the next one is parsed, never more.
            while (records := await asyncio.to_thread(next, chunks, None)) is not None:
                named, number = await self._named(records), number + 1
                if taking:
                    await taking
                taking = asyncio.create_task(self._take(number, named))
        finally:
            if taking:
                await taking

    async def _take(self, number: int, records: Sequence[Record]) -> None:
        decisions = [record for record in records if isinstance(record, Made) and _is_decision(record)]
        others = [record for record in records if not (isinstance(record, Made) and _is_decision(record))]
        items = await asyncio.to_thread(lambda: [self._item(record) for record in others])
        placed = list(zip(others, items, strict=True))
        facts = [(record.row, item) for record, item in placed if isinstance(item, Fact)]
        rejects = [(record.row, item) for record, item in placed if isinstance(item, Rejected)]
        told = f"{self._document}:{self._run.number}:{number}"
        await self._accept(f"{self._upload.batch}:{number}", told, facts)
        # What is wrong with a file is the same at every upload: under a batch id made of it, it is kept once.
        wrong = hashlib.sha256(told.encode() + b"".join(item.item for _, item in rejects)).hexdigest()
        await self._accept(f"rejects:{wrong}", wrong, rejects)
        await self._decide(decisions)

    async def _accept(self, batch: str, told: str, items: Sequence[tuple[int, Fact | Rejected]]) -> None:
        if not items:
            return
        for attempt in range(1, _FULL_TRIES + 1):
            try:
                receipt: Receipt = await self._here.intake.accept(
                    self._sender,
                    batch,
                    [item for _, item in items],
                    digest=hashlib.sha256(told.encode()).digest(),
                    received_at=self._now,
                )
                break
            except LogFull:
                # A file waits its turn where a caller of single records would be asked to come again.
                if attempt == _FULL_TRIES:
                    raise
                await self._here.clock.sleep(_FULL_PAUSE_S * attempt * random.uniform(0.5, 1.5))
        self.tally.add([row for row, _ in items], receipt.results)

    async def _decide(self, records: Sequence[Made]) -> None:
        """Several mappings at once, but those of one identifier in the order of their rows."""
        streams: dict[str, list[Made]] = {}
        for record in records:
            streams.setdefault(record.record_id, []).append(record)

        async def one_after_another(stream: list[Made]) -> list[Result]:
            return [await self._mapping(record) for record in stream]

        for stream, results in zip(
            streams.values(), await asyncio.gather(*map(one_after_another, streams.values())), strict=True
        ):
            self.tally.add([record.row for record in stream], results)

    async def _mapping(self, record: Made) -> Result:
        """Confirm a mapping, as its sender would by hand."""
        assert isinstance(record.data, MappingConfirmed)
        tenant, actor = self._sender.tenant, self._sender.actor
        async with self._deciding:
            decided = await decide(
                confirm_mapping(tenant, actor, record.data),
                f"file:{self._document}:{self._run.number}:{record.row}:{actor}",
                tenant,
                log=TenantLog(self._here.pool, tenant),
                writer=self._here.writers["mappings"],
                now=self._now,
                correlation_id=self._sender.correlation_id,
            )
        # What stands already is not decided anew.
        return Result("stored" if decided.outcome == "stored" else "duplicate", decided.place)

    def _item(self, record: Record) -> Fact | Rejected:
        if isinstance(record, Spoilt):
            return self._rejected(record, record.faults, record.data)
        try:
            draft = self._drafter.draft(
                CATALOGUE[record.type],
                source=self._upload.source,
                record_id=record.record_id,
                time=record.time,
                data=record.data,
                origin_document=self._document,
                origin_locator=f"row={record.row}" if record.row else None,
            )
        except RecordTooLarge as error:
            fault = Fault("data", f"makes a record of {error}", "Shorten the row.")
            return self._rejected(record, [fault], record.data.model_dump(mode="json", exclude_defaults=True))
        return Fact(self._upload.source, record.record_id, draft)

    def _rejected(self, record: Record, faults: Sequence[Fault], data: Mapping[str, Any]) -> Rejected:
        """The event that the row should have been, as far as it is one: what a person repairs and sends again."""
        event = {
            "specversion": "1.0",
            "type": record.type,
            "source": self._upload.source,
            "id": record.record_id,
            "time": utc_text(record.time) if isinstance(record.time, datetime) else record.time,
            "assertedat": utc_text(self._run.asserted_at),
            "run": self._run.number,
            "data": data,
        }
        return Rejected(
            self._upload.source,
            record.record_id,
            record.type,
            canonical(event),
            faults,
            self._document,
            f"row={record.row}",
        )

    async def _named(self, records: list[Record]) -> list[Record]:
        """The records, with the vault's names where persons and free text stood."""
        if not any(record.private.people or record.private.notes for record in records):
            return records
        tenant = self._sender.tenant
        async with tenant_transaction(self._here.pool, tenant) as tx:
            spots = [(n, path) for n, record in enumerate(records) for path in record.private.people]
            people = [_person(*records[n].private.people[path]) for n, path in spots]
            names: list[dict[str, str]] = [{} for _ in records]
            for (n, path), person_id in zip(spots, await self._people.ids(tx, tenant, people), strict=True):
                names[n][path] = person_id
            for n, record in enumerate(records):
                for path, text in record.private.notes.items():
                    names[n][path] = await _note(self._here.documents, tx, tenant, record, text)
        return [_with(record, given) if given else record for record, given in zip(records, names, strict=True)]

    async def complete(self, span: Span | None) -> dict[str, str]:
        """Say that the feed is complete, or why that is not said."""
        start = self._upload.covers_from or (span[0] if span else None)
        end = self._upload.covers_to or (span[1] if span else None)
        if start is None or end is None:
            return {"withheld": "the file holds nothing that could be complete"}
        end = min(end, self._run.asserted_at)
        if start >= end:
            return {"withheld": "the file was written before what it would cover was over"}
        if self._upload.complete != "force" and (waiting := await self._waiting()):
            return {"withheld": f"{waiting:,} of its records wait in quarantine; repair them and send the file again"}
        feed = self._upload.profile.name
        said = f"{utc_text(start)}/{utc_text(end)}"
        observed = FeedObserved(
            feed=feed, run=self._run.number, asserted_at=self._run.asserted_at, covers_from=start, covers_to=end
        )
        record_id = f"{feed}/{said}@{self._run.number}"
        item = self._item(Made(0, "feed.observed.v1", record_id, self._run.asserted_at, observed, Private()))
        await self._accept(f"{self._upload.batch}:complete", f"{self._document}:{said}", [(0, item)])
        return {"observed": said}

    async def _waiting(self) -> int:
        """How many rejects of the file nobody has repaired yet."""
        async with tenant_transaction(self._here.pool, self._sender.tenant) as tx:
            found: int = await tx.fetchval(
                "SELECT count(*) FROM ingestion.quarantine WHERE tenant = $1 AND id = ANY($2) AND resolved_at IS NULL",
                self._sender.tenant,
                self.tally.rejects,
            )
        return found


def _is_decision(record: Made) -> bool:
    return CATALOGUE[record.type].kind is Kind.DECISION


def _person(name: str | None, email: str | None) -> Person:
    return Person(name or email or "", email)


async def _note(documents: Documents, tx: Any, tenant: str, record: Record, text: str) -> str:
    """Keep a free text; the same text of another record is another document, so that each can be erased alone."""
    about = record.record_id.rpartition("@")[0]
    return await documents.put(tx, tenant, canonical({"about": about, "text": text}), "application/json")


def _with(record: Record, given: Mapping[str, str]) -> Record:
    if isinstance(record, Made):
        return replace(record, data=record.data.model_copy(update=dict(given)))
    return replace(record, data={**record.data, **given})


def _answer(upload: Upload, document: str, run: Run, survey: Survey, rows: Rows, tally: Tally) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "profile": upload.profile.name,
        "source": upload.source,
        "document": document,
        "run": run.number,
        "asserted_at": utc_text(run.asserted_at),
        "again": run.known,
        "rows": survey.rows,
        "rows_quarantined": len(tally.spoilt_rows),
        "receipt": {
            "batch": upload.batch,
            "accepted": tally.stored + tally.duplicate + tally.quarantined,
            "stored": tally.stored,
            "duplicate": tally.duplicate,
            "quarantined": tally.quarantined,
        },
        "quarantine": [{**group._asdict(), **shown} for group, shown in tally.groups.items()],
        "ignored_columns": survey.layout.ignored,
    }
    if upload.filename:
        answer["filename"] = upload.filename
    if upload.profile.amount:
        amounts = sorted(rows.amounts.items())
        answer["amounts"] = {currency: decimal_text(amount) for currency, amount in amounts}
    if run.superseded_by:
        answer["superseded_by"] = utc_text(run.superseded_by)
    return answer
