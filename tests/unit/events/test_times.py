"""Times in records: exact, in UTC, and never guessed from a number."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.events.base import Day, Instant, utc_text

INSTANT, DAY = TypeAdapter(Instant), TypeAdapter(Day)


@given(
    st.datetimes(
        datetime(2, 1, 1),
        datetime(9998, 1, 1),
        timezones=st.integers(-840, 840).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    )
)
def test_an_instant_in_text_is_utc_exact_and_as_short_as_can_be(when: datetime) -> None:
    text = utc_text(when)
    assert datetime.fromisoformat(text) == when
    assert text == INSTANT.dump_python(INSTANT.validate_json(f'"{text}"'), mode="json")
    assert len(text) == 20 or (text[19] == "." and text[-2] != "0")


@pytest.mark.parametrize("text", ["1788220800", '"1788220800"', '"20260901"', "20260901", '"01/09/2026"', "true", "[]"])
def test_a_time_in_json_is_text_that_begins_with_a_date(text: str) -> None:
    for adapter in (INSTANT, DAY):
        with pytest.raises(ValidationError):
            adapter.validate_json(text)


def test_a_date_and_an_instant_are_read() -> None:
    assert DAY.validate_json('"2026-09-01"') == date(2026, 9, 1)
    assert INSTANT.validate_json('"2026-09-01T02:00:00+02:00"') == datetime(2026, 9, 1, tzinfo=UTC)
