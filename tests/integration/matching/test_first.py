from tests.integration.matching.support import Numbered, running
from tests.unit.reconciliation.book import TENANT, mapped_book
import pytest

async def test_one(database):
    book = mapped_book()
    book.line("northwind","edr","2026-09-01",unit="4.20",recurring=("40","4.20"))
    book.usage("53")
    async with running(database) as m:
        await m.run(book.records)
        await m.check(TENANT)
        print(await m.replay(TENANT))
        for r in await m.verdicts(TENANT): print(r['code'], r['key'], r['amount'])
