"""What enters: facts ready to be appended, and rejects that a person can repair. Every door (HTTP, files, resubmission)
turns its input into these two, and :meth:`services.ingestion.intake.Intake.accept` takes nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from shared.eventlog.model import Place
from shared.events.record import Draft


class Fact(NamedTuple):
    """A valid fact of one source."""

    source: str
    record_id: str
    draft: Draft


class Fault(NamedTuple):
    """One thing that is wrong with an item."""

    field: str
    """JSON path in the item, such as ``data.quantity``; empty: the item as a whole."""
    reason: str
    """What is wrong. Never the value itself: it may be a person's."""
    fix: str
    """What to do, in words."""


class Rejected(NamedTuple):
    """An item that parsed but is not valid. It is kept whole, to be repaired and sent again."""

    source: str
    """Whom it counts for: the key's source, else what the item claims, else empty."""
    record_id: str | None
    type: str | None
    item: bytes
    """The item exactly as it was sent: a CloudEvent as far as it is one (what a repair is applied to)."""
    faults: Sequence[Fault]
    """At least one."""
    origin_document: str | None = None
    """SHA-256 (of the ciphertext) of the document that it came from."""
    origin_locator: str | None = None
    """Its row or page there."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose batch it is."""

    tenant: str
    source: str | None
    """The source that the key owns; ``None``: an operator, for any source."""
    actor: str
    correlation_id: str
    trace_parent: str | None = None
    """The request's W3C trace context, for events that bring none of their own."""

    @property
    def scope(self) -> str:
        """Batch ids are unique within it, so that two sources of a tenant may both call a batch ``1``."""
        return self.source or ""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one item."""

    outcome: str
    """``stored``, ``duplicate`` or ``quarantined``."""
    place: Place | None = None
    """Its own (stored), the first one's (duplicate, conflict), or none (invalid)."""
    quarantine: UUID | None = None
    faults: Sequence[Fault] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to a batch, the same however often the batch is sent: accepted = stored + duplicate + quarantined."""

    batch: str
    stored: int
    duplicate: int
    quarantined: int
    results: Sequence[Result]
    """One for each item, in order."""

    @property
    def accepted(self) -> int:
        return self.stored + self.duplicate + self.quarantined


CONFLICT = Fault(
    "id",
    "another record with this id and source says something else",
    "If this is a correction, send it under an id of its own (such as <id>@<run>); else discard it.",
)


def quarantine_id(tenant: str, scope: str, batch: str, index: int) -> UUID:
    """The id of a reject: a function of where it stood, so that a repeated batch finds the same one."""
    text = "\x00".join((tenant, scope, batch, str(index)))
    return UUID(bytes=hashlib.sha256(text.encode()).digest()[:16])
