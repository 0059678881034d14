"""What stands of a tenant's decisions: the last record of each stream, read forward from the log and remembered."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

import asyncpg
import orjson

from services.ingestion.domain.decisions import newest
from shared.eventlog.postgres import TenantLog
from shared.events.catalogue import PARTITIONS

_PAGE = 2_000
_REMEMBERED = 100
"""Tenants and topics whose fold is kept, so that a list of many pages is not read anew for each."""


class _Fold:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.positions = [0] * PARTITIONS
        self.last: dict[str, dict[str, Any]] = {}


class Standing:
    """Reads on the ``_api`` pool, each tenant under its own row-level security."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._folds: OrderedDict[tuple[str, str], _Fold] = OrderedDict()

    async def of(self, tenant: str, topic: str) -> list[dict[str, Any]]:
        """The last record of each stream of ``topic``, as the log has it now."""
        fold = self._folds.setdefault((tenant, topic), _Fold())
        self._folds.move_to_end((tenant, topic))
        while len(self._folds) > _REMEMBERED:
            self._folds.popitem(last=False)
        log = TenantLog(self._pool, tenant)
        async with fold.lock:
            full = True
            while full:
                page, fold.positions = await log.tail(topic, fold.positions, _PAGE)
                full = len(page) == _PAGE
                fold.last = newest([*fold.last.values(), *(orjson.loads(record.body) for record in page)])
            return list(fold.last.values())
