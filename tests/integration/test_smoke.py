import asyncpg

async def test_up(database):
    c = await asyncpg.connect(database.login("ingestion_api"))
    print(await c.fetchval("select version()"))
    await c.close()
