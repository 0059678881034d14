from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conftest import Database

pytest.register_assert_rewrite("tests.integration.messaging.support")

from tests.integration.messaging.support import World, make_world  # noqa: E402 - its asserts are rewritten first


@pytest_asyncio.fixture
async def world(database: Database) -> AsyncIterator[World]:
    """A migrated database with the test's consumer in it, and a cell name of its own."""
    async with make_world(database, f"t{secrets.token_hex(6)}") as made:
        yield made
