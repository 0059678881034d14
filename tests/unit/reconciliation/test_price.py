"""PRICE_MISMATCH, and what the tolerances absorb."""

from __future__ import annotations

import pytest

from shared.events.discrepancies import Code, Direction, Reached
from shared.reconciliation.inputs import Settings
from shared.reconciliation.verdict import State
from tests.unit.reconciliation.given import (
    MID_MONTH,
    D,
    at,
    counter,
    drawn,
    flat_line,
    gauge,
    only_break,
    posted,
    sides,
    unit_line,
)

USED_40 = (gauge((at(1), "40")),)


@pytest.mark.parametrize(
    ("price", "direction", "amount"),
    [("4.50", Direction.WE_OWE_CLIENT, "12.00"), ("4.00", Direction.CLIENT_OWES_US, "8.00")],
)
def test_billed_at_another_price_than_agreed(price: str, direction: Direction, amount: str) -> None:
    body = only_break(drawn(lines=(unit_line("4.20"),), used=USED_40, invoice=(posted("40", price),)))
    assert (body.code, body.direction, body.amount, body.quantity) == (Code.PRICE_MISMATCH, direction, D(amount), None)
    assert body.why == f"{price} billed, 4.20 agreed, for 40 units"
    assert body.tolerance is not None
    assert (body.tolerance.name, body.tolerance.absolute, body.tolerance.relative_pct) == (
        "unit_price",
        D("0.01"),
        D("0.5"),
    )


def test_the_agreement_is_set_to_bill_at_another_price() -> None:
    verdict = drawn(lines=(unit_line("4.20", "40", at_price="4.95"),), used=USED_40, as_of=MID_MONTH)
    body = only_break(verdict)
    assert (body.code, body.amount, body.reached) == (Code.PRICE_MISMATCH, D("30.00"), Reached.NOWHERE)


@pytest.mark.parametrize(
    ("agreed", "billed", "is_break"),
    [
        ("1.00", "1.01", False),  # 0.01: not above the absolute width, though 1 %
        ("10.00", "10.05", False),  # 0.05: above the absolute width, but 0.5 % is not exceeded
        ("1.00", "1.02", True),  # 0.02 and 2 %: both exceeded
        ("10.00", "10.06", True),
        ("10.00", "9.94", True),
    ],
)
def test_a_price_is_a_break_only_when_both_widths_are_exceeded(agreed: str, billed: str, is_break: bool) -> None:
    verdict = drawn(lines=(unit_line(agreed),), used=USED_40, invoice=(posted("40", billed),))
    assert bool(verdict.breaks) is is_break
    if not is_break:
        assert (verdict.state, verdict.explained_by) == (State.MATCHED, "tolerance unit_price")
        assert verdict.explained == (D(billed) - D(agreed)) * 40


def test_the_price_is_the_amount_over_the_quantity_not_what_is_printed() -> None:
    body = only_break(drawn(lines=(unit_line("4.20"),), used=USED_40, invoice=(posted("40", "4.20", "180.00"),)))
    assert (body.code, body.amount) == (Code.PRICE_MISMATCH, D("12.00"))


def test_a_cent_of_rounding_is_explained() -> None:
    verdict = drawn(lines=(unit_line("0.333"),), used=USED_40, invoice=(posted("40", "0.333", "13.33"),))
    assert (verdict.expected, verdict.state) == (D("13.32"), State.MATCHED)
    assert (verdict.explained, verdict.explained_by) == (D("0.01"), "rounding")


def test_flat_prices_compare_amounts() -> None:
    low = only_break(drawn(lines=(flat_line("150.00"),), invoice=(posted("1", "120.00"),)))
    assert (low.code, low.direction, low.amount) == (Code.PRICE_MISMATCH, Direction.CLIENT_OWES_US, D("30.00"))
    assert low.why == "120.00 billed, 150.00 agreed"
    twice = drawn(lines=(flat_line("150.00"), flat_line("50.00", line="2")), invoice=(posted("1", "200.00"),))
    assert (twice.state, twice.expected) == (State.MATCHED, D("200.00"))
    within = drawn(lines=(flat_line("150.00"),), invoice=(posted("1", "150.50"),))
    assert (within.state, within.explained_by) == (State.MATCHED, "tolerance unit_price")


def test_a_flat_agreement_is_compared_in_the_running_month() -> None:
    body = only_break(drawn(lines=(flat_line("150.00", "1", at_price="200.00"),), as_of=MID_MONTH))
    assert (body.code, body.direction, body.amount) == (Code.PRICE_MISMATCH, Direction.WE_OWE_CLIENT, D("50.00"))


def test_an_amount_without_units_is_compared_as_an_amount() -> None:
    body = only_break(drawn(lines=(unit_line("4.20"),), used=USED_40, invoice=(posted("0", "0", "100.00"),)))
    assert (body.code, body.amount) == (Code.PRICE_MISMATCH, D("68.00"))
    unknown = drawn(used=USED_40, invoice=(posted("0", "0", "100.00"),))
    assert (unknown.state, sides(unknown)) == (State.NOT_COMPARABLE, ["price"])


def test_the_tenants_own_widths_apply_and_are_named() -> None:
    given = {"lines": (unit_line("4.20"),), "used": USED_40, "invoice": (posted("40", "4.50"),)}
    assert drawn(**given, settings=Settings(unit_price_absolute=D("0.30"))).state is State.MATCHED
    body = only_break(drawn(**given, settings=Settings(unit_price_absolute=D("0.2"), unit_price_relative_pct=D(7))))
    assert body.tolerance is not None
    assert (body.tolerance.absolute, body.tolerance.relative_pct) == (D("0.2"), D(7))


def test_credits_beyond_the_charges_give_no_price_to_go_by() -> None:
    lines = (posted("40", "4.20"), posted("-10", "4.20", "-200.00", line="1", invoice="CN-1", kind="credit_note"))
    verdict = drawn(used=USED_40, invoice=lines)
    assert (verdict.state, sides(verdict), verdict.expected) == (State.NOT_COMPARABLE, ["price"], None)
    agreed = only_break(drawn(lines=(unit_line("4.20"),), used=(gauge((at(1), "30")),), invoice=lines))
    assert (agreed.code, agreed.amount) == (Code.PRICE_MISMATCH, D("158.00"))


def test_a_single_line_shows_the_price_that_it_states() -> None:
    given = {"lines": (unit_line("0.2"),), "used": (counter("7.77"),)}
    stated = only_break(drawn(**given, invoice=(posted("7.77", "0.257", "2.00"),)))
    assert stated.billed is not None
    assert (stated.billed.unit_price, stated.why) == (D("0.257"), "0.257 billed, 0.20 agreed, for 7.77 units")
