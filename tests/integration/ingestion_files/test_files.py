from __future__ import annotations

from services.ingestion.domain.profiles import profiles, template
from tests.integration.ingestion.conftest import Ingestion
from tests.integration.ingestion_files.sending import balanced, count, send, sums


async def test_each_template_is_stored_whole_and_again_stores_nothing(ingestion: Ingestion) -> None:
    for name in profiles():
        first = await send(ingestion, name, template(name))
        stored, duplicate, quarantined = sums(first)
        assert (duplicate, quarantined) == (0, 0), first
        before = await count(ingestion)
        again = await send(ingestion, name, template(name))
        assert sums(again) == (0, stored, 0)
        assert again["again"] is True
        assert (again["document"], again["run"]) == (first["document"], first["run"])
        assert await count(ingestion) == before
    await balanced(ingestion)
