"""A sender says that a run of its feed is complete."""

from __future__ import annotations

import hashlib
from datetime import datetime

import asyncpg
from pydantic import Field

from services.ingestion import store
from services.ingestion.domain.envelope import read
from services.ingestion.domain.facts import Fault, Rejected, Result, Sender
from services.ingestion.intake import Intake
from services.ingestion.store import Run
from shared.events.base import Data, Instant, Sha256, utc_text
from shared.kernel.canonical import canonical
from shared.runtime.database import tenant_transaction


class Observed(Data):
    """What a sender says of a complete run."""

    covers_from: Instant
    """Start of the span that is complete."""
    covers_to: Instant
    """Its end, exclusive."""
    run: int | None = Field(default=None, ge=1, lt=2**31)
    """The source's own number of the run; left out: the next one."""
    asserted_at: Instant | None = None
    """When the run began at the source; left out: the time of arrival."""
    keys: int | None = Field(default=None, ge=0)
    """How many distinct keys the run held."""
    digest: Sha256 | None = None
    """Digest of what the run held."""


class Invalid(ValueError):
    """What was said cannot be so."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.field} {fault.reason}")
        self.fault = fault


async def observe(
    pool: asyncpg.Pool,
    intake: Intake,
    sender: Sender,
    source: str,
    feed: str,
    command: str,
    said: Observed,
    now: datetime,
) -> tuple[int, Result]:
    """Give the run its number, once for ``command``, and append ``feed.observed``; the number and what became of it.

    A run whose number was given and whose record was not appended (the process died) has no record: it counts for
    nothing, and the same command goes on where it stopped. Raises :class:`Invalid`,
    :class:`~services.ingestion.store.RunTaken`, and what :meth:`Intake.accept` raises.
    """
    first = Run(said.run or 1, said.asserted_at or now)
    [draft] = read(_event(source, feed, first, said), sender, now)
    if isinstance(draft, Rejected):
        raise Invalid(draft.faults[0])
    async with tenant_transaction(pool, sender.tenant) as connection:
        run = await store.take_run(connection, sender.tenant, source, feed, command, first.asserted_at, said.run)
    event = _event(source, feed, run, said)
    receipt = await intake.accept(
        sender,
        f"observed/{source}/{feed}/{command}",
        read(event, sender, now),
        digest=hashlib.sha256(event).digest(),
        received_at=now,
    )
    return run.run, receipt.results[0]


def _event(source: str, feed: str, run: Run, said: Observed) -> bytes:
    """The event as a sender would write it: read like every other, so that the same rules hold."""
    asserted_at = utc_text(run.asserted_at)
    data = said.model_dump(mode="json", exclude={"run", "asserted_at"}, exclude_defaults=True)
    return canonical(
        {
            "specversion": "1.0",
            "type": "feed.observed.v1",
            "source": source,
            "id": f"{feed}/{run.run}",
            "time": asserted_at,
            "assertedat": asserted_at,
            "run": run.run,
            "data": {**data, "feed": feed, "run": run.run, "asserted_at": asserted_at},
        }
    )
