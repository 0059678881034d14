"""One value, one sequence of bytes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Context, Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.canonical import canonical, decimal_text, sha256_hex

WIDE = Context(prec=100)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(text, values, max_size=6), st.randoms())
def test_the_order_of_keys_does_not_matter(value: dict[str, object], rng: object) -> None:
    keys = list(value)
    rng.shuffle(keys)  # type: ignore[attr-defined]
    assert canonical({key: value[key] for key in keys}) == canonical(value)


@given(values)
def test_reading_and_writing_again_changes_nothing(value: object) -> None:
    assert canonical(orjson.loads(canonical(value))) == canonical(value)


def test_the_bytes_are_pinned() -> None:
    value = {"b": [1, None, True], "a": Decimal("7.10"), "ü": date(2026, 9, 1), "t": datetime(2026, 9, 1, tzinfo=UTC)}
    assert canonical(value) == '{"a":"7.1","b":[1,null,true],"t":"2026-09-01T00:00:00Z","ü":"2026-09-01"}'.encode()
    assert sha256_hex(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20))
def test_a_decimal_has_one_text_whatever_its_exponent(value: Decimal) -> None:
    text = decimal_text(value)
    assert Decimal(text) == value
    assert "E" not in text
    assert decimal_text(Decimal(text)) == text
    assert decimal_text(value.scaleb(3, WIDE).scaleb(-3, WIDE)) == text


@pytest.mark.parametrize(
    ("value", "text"), [("7.10", "7.1"), ("1E+3", "1000"), ("-0", "0"), ("-0.00", "0"), ("0.00000080000", "0.0000008")]
)
def test_a_decimal_is_written_plain_and_shortest(value: str, text: str) -> None:
    assert decimal_text(Decimal(value)) == text


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes"])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        canonical(value)


def test_instants_of_other_zones_are_written_as_given_with_their_offset() -> None:
    """Models bring instants to UTC before; this pins what happens to one that was not."""
    east = datetime(2026, 9, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert canonical(east) == b'"2026-09-01T02:00:00+02:00"'
