"""One process of a service: its relays and the test's consumer. Started and killed by the tests.

python -m tests.integration.messaging.member DATABASE_URL BOOTSTRAP CELL
"""

from __future__ import annotations

import asyncio
import sys

from shared.messaging.runner import Messaging
from shared.runtime.database import open_pool
from tests.integration.messaging.support import consumer


async def main(url: str, bootstrap: str, cell: str) -> None:
    pool = await open_pool(url, name="member", size=12)
    # Small pieces: more commits for a kill to fall between.
    consumers = [consumer(batch_records_max=50)]
    async with Messaging(service="ingestion", pool=pool, bootstrap=bootstrap, cell=cell, consumers=consumers):
        await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
