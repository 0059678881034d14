from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingestion.domain.cells import BadCell, Notation, parse

UTC_NOTATION = Notation()
BERLIN = Notation(zone="Europe/Berlin")
GERMAN = Notation(decimal_mark=",", thousands_mark=".", date_formats=("%d.%m.%Y",))


@given(st.decimals(allow_nan=False, allow_infinity=False, places=18, min_value=-(10**20), max_value=10**20))
def test_a_decimal_keeps_every_digit(value: Decimal) -> None:
    assert parse("decimal", format(value, "f"), UTC_NOTATION) == value


@pytest.mark.parametrize(
    "text", ["1,204", "1_000", "NaN", "Infinity", "$4.20", "4.20 EUR", "1e400", "٣", "0x1f", "--1", "."]
)
def test_what_is_no_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(BadCell):
        parse("decimal", text, UTC_NOTATION)


@pytest.mark.parametrize(
    ("text", "value"),
    [("2.000,5", "2000.5"), ("1.234.567", "1234567"), ("0,10", "0.1"), ("-3", "-3"), ("1E-7", "0.0000001")],
)
def test_another_locale_is_read_by_its_own_marks(text: str, value: str) -> None:
    assert parse("decimal", text, GERMAN) == Decimal(value)


def test_marks_of_another_locale_are_not_guessed() -> None:
    for text in ("2,000.5", "1.20", "12.34"):
        with pytest.raises(BadCell):
            parse("decimal", text, GERMAN)


@pytest.mark.parametrize("text", ["2026-02-30", "01/09/2026", "20260901", "1850-01-01", "9999-01-01", "2026-9-1"])
def test_a_date_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadCell):
        parse("date", text, UTC_NOTATION)


def test_a_profile_may_write_dates_in_its_own_way() -> None:
    assert parse("date", "01.09.2026", GERMAN) == date(2026, 9, 1)
    assert parse("instant", "01.09.2026", GERMAN) == datetime(2026, 9, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-09-01", datetime(2026, 8, 31, 22, tzinfo=UTC)),
        ("2026-09-01 14:00", datetime(2026, 9, 1, 12, tzinfo=UTC)),
        ("2026-09-01T14:00:00Z", datetime(2026, 9, 1, 14, tzinfo=UTC)),
        ("2026-09-01 14:00:00 UTC", datetime(2026, 9, 1, 14, tzinfo=UTC)),
        ("2026-09-01T14:00:00.1234560Z", datetime(2026, 9, 1, 14, 0, 0, 123456, tzinfo=UTC)),
        ("2026-09-01T14:00+05:30", datetime(2026, 9, 1, 8, 30, tzinfo=UTC)),
    ],
)
def test_a_time_is_its_own_or_belongs_to_the_zone(text: str, instant: datetime) -> None:
    assert parse("instant", text, BERLIN) == instant


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2026-03-29 02:30", "is skipped"),
        ("2026-10-25 02:30", "happens twice"),
        ("2026-09-01T25:00:00", "no time of the day"),
        ("2026-09-01T14:00+99:00", "no clock has"),
        ("2026-09-01T14:00:00.1234567Z", "finer than a microsecond"),
        ("1756684800", "not a time"),
    ],
)
def test_a_time_that_nobody_can_place_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(BadCell) as refused:
        parse("instant", text, BERLIN)
    assert why in refused.value.reason


def test_a_duration_is_read_in_minutes() -> None:
    assert parse("hours", "1.25", UTC_NOTATION) == 75
    assert parse("hours", "1:15", UTC_NOTATION) == 75
    assert parse("hours", "0:30:00", UTC_NOTATION) == 30
    assert parse("hours", "01:00:01", UTC_NOTATION) == Decimal("60.016666666666666666")
    for text in ("1:75", "1h", "0:00:75"):
        with pytest.raises(BadCell):
            parse("hours", text, UTC_NOTATION)


def test_small_types() -> None:
    assert parse("bool", "Yes", UTC_NOTATION) is True
    assert parse("bool", "0", UTC_NOTATION) is False
    assert parse("int", "12", UTC_NOTATION) == 12
    assert parse("currency", "eur", UTC_NOTATION) == "EUR"
    assert parse("list", "a; b;;", UTC_NOTATION) == ["a", "b"]
    for kind, text in (("bool", "maybe"), ("int", "1.5"), ("currency", "EURO")):
        with pytest.raises(BadCell):
            parse(kind, text, UTC_NOTATION)  # type: ignore[arg-type]


@given(st.text(max_size=40), st.sampled_from(["decimal", "int", "bool", "date", "instant", "hours", "currency"]))
def test_any_text_gives_a_value_or_a_reason_that_does_not_repeat_it(text: str, kind: str) -> None:
    bad = refusal(kind, text)
    assert bad is None or (bad.reason and bad.fix)
    marked = refusal(kind, f"Zq7{text}")
    assert marked is None or "Zq7" not in marked.reason + marked.fix


def refusal(kind: str, text: str) -> BadCell | None:
    try:
        parse(kind, text, BERLIN)  # type: ignore[arg-type]
    except BadCell as bad:
        return bad
    return None
