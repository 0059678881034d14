"""The one handler of decisions (protocols.md section 3): load the stream, decide, append at the version read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from services.ingestion.domain.decisions import Command, type_of
from shared.eventlog.model import LogReader, LogWriter, Place, Stored, Verdict
from shared.events.record import Context, draft_decision
from shared.kernel.canonical import canonical
from shared.kernel.identity import content_hash, decision_id

SOURCE = "plumbline.ingestion"
"""Source of what ingestion itself decides and sees."""
_TRIES = 5


class Reused(Exception):
    """The command id was used for another command."""


class Contended(Exception):
    """The stream moved under each of five tries."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What stands after a command: its own record, or the one that said so already (``outcome`` ``unchanged``; then the
    place is ``None`` if nothing was ever decided)."""

    outcome: str
    place: Place | None


async def decide(
    command: Command,
    command_id: str,
    tenant: str,
    *,
    log: LogReader,
    writer: LogWriter,
    now: datetime,
    correlation_id: str,
) -> Decided:
    """Carry out ``command`` once, however often it comes under ``command_id``.

    Raises :class:`~services.ingestion.domain.decisions.Refused`, :class:`Reused`, :class:`Contended`.
    """
    record_id = decision_id(command_id, 1)
    command_hash = content_hash(canonical(command.content)).hex
    for _ in range(_TRIES):
        stored = await log.stream(command.topic, command.stream)
        records = [orjson.loads(record.body) for record in stored]
        before = _found(record_id, records, stored)
        if before is not None:
            if before[0]["commandhash"] != command_hash:
                raise Reused(command_id)
            return Decided("duplicate", before[1])
        data = command.decide(records)
        if data is None:
            return Decided("unchanged", stored[-1].place if stored else None)
        draft = draft_decision(
            type_of(data),
            tenant=tenant,
            source=SOURCE,
            record_id=record_id,
            time=now,
            data=data,
            command=command.content,
            stream=command.stream,
            expected=len(stored),
            context=Context(command.actor, correlation_id),
        )
        [outcome] = await writer.append([draft])
        if outcome.verdict is Verdict.STORED:
            return Decided("stored", outcome.place)
        if outcome.verdict is Verdict.DUPLICATE:
            return Decided("duplicate", outcome.place)
        if outcome.verdict is Verdict.CONFLICT:
            raise Reused(command_id)
    raise Contended(command_id)


def _found(
    record_id: str, records: Sequence[dict[str, Any]], stored: Sequence[Stored]
) -> tuple[dict[str, Any], Place] | None:
    for fields, record in zip(records, stored, strict=True):
        if fields["id"] == record_id:
            return fields, record.place
    return None
