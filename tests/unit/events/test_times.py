"""Times in records: exact, in UTC, and never guessed from a number."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.events.base import Day, Exact, Instant, utc_text
from shared.events.invoices import InvoiceIssued

INSTANT, DAY = TypeAdapter(Instant), TypeAdapter(Day)


@given(
    st.datetimes(
        datetime(1970, 1, 2),
        datetime(2199, 12, 30),
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


@pytest.mark.parametrize("text", ["0001-01-01", "1969-12-31", "2200-01-01", "9999-12-31"])
def test_a_day_or_an_instant_of_a_year_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="years 1970 to 2199"):
        DAY.validate_json(f'"{text}"')
    with pytest.raises(ValidationError, match="years 1970 to 2199"):
        INSTANT.validate_json(f'"{text}T23:59:59-14:00"')


@pytest.mark.parametrize(
    ("start", "end", "words"), [("2026-10-01", "2026-10-01", "after"), ("2010-01-01", "2026-01-01", "ten years")]
)
def test_a_service_period_is_a_span_of_at_most_ten_years(start: str, end: str, words: str) -> None:
    data = {"invoice": "INV-1", "client": "a", "issued_on": "2026-11-01", "currency": "EUR", "lines": 1}
    with pytest.raises(ValidationError, match=words):
        InvoiceIssued.model_validate({**data, "period_from": start, "period_to": end})


@pytest.mark.parametrize("text", ["1_000", "٣", " 5 ", "5\n", "", "NaN", "Infinity", "1,000"])
def test_a_decimal_is_plain_digits_as_in_a_csv(text: str) -> None:
    with pytest.raises(ValidationError, match="is not a decimal"):
        TypeAdapter(Exact).validate_json(json.dumps(text))
