"""What request handlers hold. Nothing here reaches the ``_work`` pool: a request can only do what row-level security
lets its tenant do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg
from fastapi import Request

from services.ingestion.intake import Intake
from services.ingestion.standing import Standing
from shared.access.principal import Access
from shared.eventlog.model import LogWriter
from shared.runtime.clock import Clock
from shared.vault.documents import MAX_DOCUMENT_BYTES, Documents
from shared.vault.keys import Master


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a running ingestion, as its routes see them."""

    pool: asyncpg.Pool
    """Of the ``_api`` role."""
    access: Access
    intake: Intake
    """The one path by which facts enter."""
    writers: Mapping[str, LogWriter]
    """Topic -> appender of decisions, and of the calendar's days."""
    standing: Standing
    """What stands of a tenant's decisions."""
    documents: Documents
    master: Master
    clock: Clock
    file_bytes_max: int = MAX_DOCUMENT_BYTES
    """The largest file that is taken in."""


async def parts(request: Request) -> Parts:
    """The dependency of routes. Async although it waits for nothing: FastAPI runs a plain function in a thread."""
    found: Parts = request.app.state.parts
    return found
