"""What every log does. One suite; each implementation inherits it and says how it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import orjson
import pytest

from shared.eventlog.model import CutTooRecent, LogReader, LogWriter, Outcome, Place, Stored, Verdict
from shared.events.catalogue import PARTITIONS, WRITERS, setting_stream
from tests.integration.eventlog.records import command, derived, fact

STORED, DUPLICATE, CONFLICT, MOVED = Verdict.STORED, Verdict.DUPLICATE, Verdict.CONFLICT, Verdict.VERSION_MOVED


class Reader(LogReader, Protocol):
    async def cut_at(self, instant: datetime) -> dict[str, list[int]]: ...


class TenantReader(LogReader, Protocol):
    async def tail(self, topic: str, after: Sequence[int], limit: int) -> tuple[list[Stored], list[int]]: ...


@dataclass
class Log:
    """One log under test."""

    usage: LogWriter
    settings: LogWriter
    reader: Reader

    def only(self, tenant: str) -> TenantReader:
        raise NotImplementedError

    def now(self) -> datetime:
        raise NotImplementedError

    def consumer(self) -> AbstractAsyncContextManager[Any]:
        """A consumer's transaction; ``append_in(drafts, floor)`` on what it yields."""
        raise NotImplementedError

    async def age(self, by: timedelta) -> None:
        """Everything so far becomes older."""
        raise NotImplementedError


def verdicts(outcomes: Sequence[Outcome]) -> list[Verdict]:
    return [outcome.verdict for outcome in outcomes]


def positions(records: Sequence[Stored]) -> list[int]:
    return [record.place.position for record in records]


def decoded(record: Stored) -> dict[str, Any]:
    fields: dict[str, Any] = orjson.loads(record.body)
    return fields


async def everything(log: Log, topic: str) -> list[Stored]:
    return [r for partition in range(PARTITIONS) for r in await log.reader.page(topic, partition, 0, 10_000)]


class LogBehaviour:
    """Inherit it and give a fixture ``log``."""

    async def test_a_record_gets_the_next_place_of_its_partition(self, log: Log) -> None:
        outcomes = await log.usage.append([fact(n, account="one") for n in range(3)])
        assert verdicts(outcomes) == [STORED] * 3
        assert [o.place.position for o in outcomes if o.place] == [1, 2, 3]
        assert len({o.place.partition for o in outcomes if o.place}) == 1

    async def test_a_record_is_found_at_its_place_with_its_bytes(self, log: Log) -> None:
        draft = fact(1)
        [outcome] = await log.usage.append([draft])
        assert outcome.place is not None
        stored = await log.reader.at(outcome.place)
        assert stored is not None
        assert stored.tenant == "acme"
        assert stored.recorded_at == outcome.recorded_at
        stamp = stored.recorded_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
        assert stored.body == draft.body.replace(b"0000-00-00T00:00:00.000000Z", stamp)

    async def test_no_record_stands_where_none_was_put(self, log: Log) -> None:
        await log.usage.append([fact(1, account="one")])
        assert await log.reader.at(Place("usage", fact(1, account="one").partition, 2)) is None

    async def test_only_the_envelope_is_stamped_not_a_look_alike_in_the_data(self, log: Log) -> None:
        look_alike = '"recordedat":"0000-00-00T00:00:00.000000Z"'
        [outcome] = await log.usage.append([fact(1, account=look_alike)])
        assert outcome.place is not None
        stored = await log.reader.at(outcome.place)
        assert stored is not None
        assert decoded(stored)["data"]["account"] == look_alike
        assert not decoded(stored)["recordedat"].startswith("0000")

    async def test_the_same_content_again_is_a_duplicate_of_the_first_place(self, log: Log) -> None:
        [first] = await log.usage.append([fact(1)])
        [again] = await log.usage.append([fact(1)])
        assert (again.verdict, again.place) == (DUPLICATE, first.place)
        assert len(await everything(log, "usage")) == 1

    async def test_another_day_trace_and_document_do_not_make_another_fact(self, log: Log) -> None:
        await log.usage.append([fact(1)])
        again = fact(1, correlation="c", asserted_at=datetime.fromisoformat("2026-09-09T00:00Z"), document="d" * 64)
        assert verdicts(await log.usage.append([again])) == [DUPLICATE]

    async def test_other_content_under_the_same_id_is_a_conflict_that_names_the_first_place(self, log: Log) -> None:
        [first] = await log.usage.append([fact(1, quantity=5)])
        [other] = await log.usage.append([fact(1, quantity=7)])
        assert (other.verdict, other.place) == (CONFLICT, first.place)
        assert len(await everything(log, "usage")) == 1

    async def test_one_id_under_two_partition_keys_is_a_conflict_not_two_records(self, log: Log) -> None:
        await log.usage.append([fact(1, account="one")])
        assert verdicts(await log.usage.append([fact(1, account="two")])) == [CONFLICT]

    async def test_a_conflict_that_only_the_stored_hash_shows_is_a_duplicate(self, log: Log) -> None:
        """As after a new version of a type: the stored hash is of the old form, the content says the same."""
        await log.usage.append([replace(fact(1), content_hash=UUID(int=1))])
        assert verdicts(await log.usage.append([fact(1)])) == [DUPLICATE]

    async def test_another_tenants_record_with_the_same_source_and_id_is_another_record(self, log: Log) -> None:
        outcomes = await log.usage.append([fact(1, tenant="acme"), fact(1, 2, tenant="zeta")])
        assert verdicts(outcomes) == [STORED, STORED]

    async def test_facts_of_one_unit_are_independent(self, log: Log) -> None:
        await log.usage.append([fact(1), fact(2)])
        outcomes = await log.usage.append([fact(1), fact(2, quantity=9), fact(3)])
        assert verdicts(outcomes) == [DUPLICATE, CONFLICT, STORED]

    async def test_an_id_twice_in_one_unit_is_stored_once(self, log: Log) -> None:
        outcomes = await log.usage.append([fact(1), fact(1), fact(1, quantity=2)])
        assert verdicts(outcomes) == [STORED, DUPLICATE, CONFLICT]
        assert {outcome.place for outcome in outcomes} == {outcomes[0].place}

    async def test_an_empty_unit_is_nothing(self, log: Log) -> None:
        assert await log.usage.append([]) == []

    async def test_more_facts_than_a_group_holds_are_stored_in_order(self, log: Log) -> None:
        outcomes = await log.usage.append([fact(n, account="one") for n in range(4_500)])
        assert [o.place.position for o in outcomes if o.place] == list(range(1, 4_501))

    async def test_concurrent_callers_leave_no_gap_and_double_nothing(self, log: Log) -> None:
        units = [[fact(f"{caller % 20}-{n}", account=f"a{n}") for n in range(10)] for caller in range(60)]
        answers = await asyncio.gather(*(log.usage.append(unit) for unit in units))
        assert sum(verdicts(answer).count(STORED) for answer in answers) == 200
        heads = (await log.reader.heads())["usage"]
        for partition, head in enumerate(heads):
            assert positions(await log.reader.page("usage", partition, 0, 1_000)) == list(range(1, head + 1))
        assert sum(heads) == 200

    async def test_recorded_time_never_decreases_and_never_precedes_a_cause(self, log: Log) -> None:
        cause = log.now() + timedelta(seconds=20)
        [caused] = await log.usage.append([fact(1)], floor=cause)
        [later] = await log.usage.append([fact(2)])
        assert caused.recorded_at is not None
        assert later.recorded_at is not None
        assert cause <= caused.recorded_at <= later.recorded_at

    async def test_a_cause_far_in_the_future_is_refused_and_harms_no_neighbour(self, log: Log) -> None:
        bad = log.usage.append([fact(1)], floor=log.now() + timedelta(minutes=5))
        refused, good = await asyncio.gather(bad, log.usage.append([fact(2)]), return_exceptions=True)
        assert isinstance(refused, Exception)
        assert "cause lies in the future" in str(refused)
        assert not isinstance(good, BaseException)
        assert verdicts(good) == [STORED]

    async def test_a_topic_takes_only_its_own_records(self, log: Log) -> None:
        with pytest.raises(ValueError, match="topic"):
            await log.usage.append([fact(1), *command("a", 0, name="c1")])

    # Commands

    async def test_a_command_gets_consecutive_versions_of_its_stream(self, log: Log) -> None:
        await log.settings.append(command("a", 0, name="c1", values=("1", "2")))
        await log.settings.append(command("a", 2, name="c2"))
        stream = await log.reader.stream("settings", setting_stream("acme", "a"))
        assert [decoded(record)["streamversion"] for record in stream] == [1, 2, 3]
        assert len({record.place.partition for record in stream}) == 1

    async def test_an_unknown_stream_is_empty(self, log: Log) -> None:
        assert await log.reader.stream("settings", setting_stream("acme", "none")) == []

    async def test_a_command_decided_on_an_old_version_stores_nothing(self, log: Log) -> None:
        await log.settings.append(command("a", 0, name="c1"))
        outcomes = await log.settings.append(command("a", 0, name="c2", values=("1", "2")))
        assert outcomes == [Outcome(MOVED, None, None)] * 2
        assert len(await everything(log, "settings")) == 1

    async def test_a_command_that_expects_a_version_to_come_stores_nothing(self, log: Log) -> None:
        assert verdicts(await log.settings.append(command("a", 1, name="c1"))) == [MOVED]

    async def test_a_repeated_command_is_a_duplicate_however_far_its_stream_has_moved(self, log: Log) -> None:
        first = await log.settings.append(command("a", 0, name="c1", values=("1", "2")))
        await log.settings.append(command("a", 2, name="c2"))
        again = await log.settings.append(command("a", 0, name="c1", values=("1", "2")))
        assert verdicts(again) == [DUPLICATE, DUPLICATE]
        assert [outcome.place for outcome in again] == [outcome.place for outcome in first]

    async def test_a_repeated_command_decided_anew_on_the_moved_version_is_still_a_duplicate(self, log: Log) -> None:
        await log.settings.append(command("a", 0, name="c1"))
        assert verdicts(await log.settings.append(command("a", 1, name="c1"))) == [DUPLICATE]

    async def test_a_command_id_used_for_another_command_is_a_conflict(self, log: Log) -> None:
        await log.settings.append(command("a", 0, name="c1", values=("1",)))
        assert verdicts(await log.settings.append(command("a", 1, name="c1", values=("2",)))) == [CONFLICT]

    async def test_a_command_of_which_a_part_is_known_is_a_conflict_whole(self, log: Log) -> None:
        longer = command("a", 0, name="c1", values=("1", "2"))
        await log.settings.append(longer[:1])
        outcomes = await log.settings.append(longer)
        assert verdicts(outcomes) == [CONFLICT, CONFLICT]
        assert len(await everything(log, "settings")) == 1

    async def test_concurrent_commands_on_one_stream_store_one_and_move_the_others(self, log: Log) -> None:
        answers = await asyncio.gather(*(log.settings.append(command("a", 0, name=f"c{n}")) for n in range(8)))
        assert sorted(verdict for answer in answers for verdict in verdicts(answer)) == [STORED] + [MOVED] * 7

    async def test_a_command_on_two_streams_is_refused(self, log: Log) -> None:
        with pytest.raises(ValueError, match="one stream"):
            await log.settings.append([*command("a", 0, name="c1"), *command("b", 0, name="c2")])

    # A consumer's transaction

    async def test_a_consumer_appends_many_streams_each_all_or_nothing(self, log: Log) -> None:
        async with log.consumer() as tx:
            assert verdicts(await tx.append_in([derived("x", 0), derived("y", 0)], None)) == [STORED, STORED]
        async with log.consumer() as tx:
            outcomes = await tx.append_in([derived("x", 1), derived("y", 0), derived("z", 3), derived("w", 0)], None)
        assert verdicts(outcomes) == [STORED, DUPLICATE, MOVED, STORED]

    async def test_a_consumer_repeats_an_id_without_harm(self, log: Log) -> None:
        async with log.consumer() as tx:
            assert verdicts(await tx.append_in([derived("x", 0), derived("x", 0)], None)) == [STORED, DUPLICATE]

    async def test_a_consumer_that_gives_one_id_to_two_contents_is_refused(self, log: Log) -> None:
        async with log.consumer() as tx:
            with pytest.raises(ValueError, match="two contents"):
                await tx.append_in([derived("x", 0, amount="1.00"), derived("x", 0, amount="2.00")], None)

    # Reading

    async def test_every_topic_of_the_catalogue_has_a_head_for_each_partition(self, log: Log) -> None:
        heads = await log.reader.heads()
        assert heads == {topic: [0] * PARTITIONS for topic in WRITERS}

    async def test_pages_follow_on_and_end_where_told(self, log: Log) -> None:
        await log.usage.append([fact(n, account="one") for n in range(10)])
        partition = fact(0, account="one").partition
        assert positions(await log.reader.page("usage", partition, 0, 4)) == [1, 2, 3, 4]
        assert positions(await log.reader.page("usage", partition, 4, 4)) == [5, 6, 7, 8]
        assert positions(await log.reader.page("usage", partition, 4, 100, upto=6)) == [5, 6]
        assert positions(await log.reader.page("usage", partition, 10, 4)) == []

    async def test_a_record_is_found_by_its_identity(self, log: Log) -> None:
        [outcome] = await log.usage.append([fact(1)])
        found = await log.reader.by_identity("usage", fact(1).id_hash)
        assert found is not None
        assert found.place == outcome.place
        assert await log.reader.by_identity("usage", fact(2).id_hash) is None

    async def test_correlated_records_come_in_order_of_recording(self, log: Log) -> None:
        for n in range(6):
            await log.usage.append([fact(n, correlation="this"), fact(f"x{n}", correlation="other")])
        found = [record async for record in log.reader.correlated("acme", "this")]
        assert [decoded(record)["id"] for record in found] == [str(n) for n in range(6)]
        assert [record async for record in log.reader.correlated("zeta", "this")] == []

    async def test_words_like_a_correlation_in_the_data_do_not_count(self, log: Log) -> None:
        await log.usage.append([fact(1, account='"correlationid":"this"')])
        assert [record async for record in log.reader.correlated("acme", "this")] == []

    async def test_a_cut_by_time_holds_what_was_recorded_until_then(self, log: Log) -> None:
        for n in range(9):
            await log.usage.append([fact(f"{n}-{m}", account=f"a{m}") for m in range(n)])
        await log.age(timedelta(hours=1))
        await log.usage.append([fact("young")])
        records = [r for r in await everything(log, "usage") if decoded(r)["id"] != "young"]
        for instant in [records[0].recorded_at - timedelta(days=1), *sorted({r.recorded_at for r in records})]:
            cut = (await log.reader.cut_at(instant))["usage"]
            expected = [0] * PARTITIONS
            for record in records:
                if record.recorded_at <= instant:
                    expected[record.place.partition] += 1
            assert cut == expected

    async def test_a_cut_less_than_a_minute_old_is_refused(self, log: Log) -> None:
        with pytest.raises(CutTooRecent):
            await log.reader.cut_at(log.now() - timedelta(seconds=30))

    # One tenant's view

    async def test_a_tenant_reads_its_own_records_alone(self, log: Log) -> None:
        await log.usage.append([fact(n, tenant=tenant) for n in range(8) for tenant in ("acme", "zeta")])
        mine = log.only("acme")
        for partition in range(PARTITIONS):
            assert {record.tenant for record in await mine.page("usage", partition, 0, 100)} <= {"acme"}
        total = [r for partition in range(PARTITIONS) for r in await mine.page("usage", partition, 0, 100)]
        assert len(total) == 8
        others = fact(1, tenant="zeta").id_hash
        assert await mine.by_identity("usage", others) is None
        assert await mine.by_identity("usage", fact(1).id_hash) is not None
        place = (await log.reader.by_identity("usage", others)).place  # type: ignore[union-attr]
        assert await mine.at(place) is None

    async def test_a_tenant_does_not_read_anothers_stream(self, log: Log) -> None:
        await log.settings.append(command("a", 0, name="c1", tenant="zeta"))
        assert await log.only("acme").stream("settings", setting_stream("zeta", "a")) == []
        assert len(await log.only("zeta").stream("settings", setting_stream("zeta", "a"))) == 1

    async def test_a_tenants_tail_gives_each_record_once_in_order_of_recording(self, log: Log) -> None:
        seen: list[Stored] = []
        at = [0] * PARTITIONS
        for n in range(5):
            await log.usage.append([fact(f"{n}-{m}", tenant=t) for m in range(7) for t in ("acme", "zeta")])
            records, at = await log.only("acme").tail("usage", at, 5)
            seen += records
        while records:
            records, at = await log.only("acme").tail("usage", at, 5)
            seen += records
        assert sorted(decoded(record)["id"] for record in seen) == sorted(
            f"{n}-{m}" for n in range(5) for m in range(7)
        )
        assert [record.recorded_at for record in seen] == sorted(record.recorded_at for record in seen)
        assert {record.tenant for record in seen} == {"acme"}
