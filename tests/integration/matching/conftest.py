"""The service without its server, over a fresh database."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.conftest import Database
from tests.integration.matching.support import Matching, running


@pytest_asyncio.fixture
async def matching(database: Database) -> AsyncIterator[Matching]:
    async with running(database) as matching:
        yield matching
