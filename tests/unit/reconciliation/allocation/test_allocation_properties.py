"""What holds for every allocation: nothing is given twice, sums are conserved, order never matters, cost is linear."""

from __future__ import annotations

import random
from datetime import date, timedelta
from decimal import Decimal
from time import process_time

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.kernel.periods import Period
from shared.reconciliation.allocation import Allocation, Offered, Wanted, allocate

DAY = date(2025, 10, 1)
PERIODS = [Period(DAY, DAY + timedelta(days=days)) for days in (7, 31)] + [
    Period(DAY + timedelta(days=15), DAY + timedelta(days=31))
]
KIN = {"m365": ("office", "edr")}
products = st.sampled_from(["edr", "edr", "office", "m365"])
units = st.integers(0, 12).map(Decimal)
prices = st.sampled_from([Decimal("4.20"), Decimal("4.20"), Decimal("9.99"), Decimal("0.333"), Decimal(0)])
lines = st.sampled_from([None, "1", "2", "3"])


@st.composite
def wanted(draw: st.DrawFn, number: int) -> Wanted:
    quantity = draw(st.one_of(units, units, st.none()))
    price = draw(st.one_of(prices, prices, st.none()))
    amount = None if price is None else round((quantity if quantity is not None else 10) * price, 2)
    line, product, period = draw(lines), draw(products), draw(st.sampled_from(PERIODS))
    contract = None if line is None else "C-1"
    return Wanted((f"w{number}",), "psa", contract, line, product, period, quantity, price, amount)


@st.composite
def offered(draw: st.DrawFn, number: int) -> Offered:
    quantity, price, sign = draw(units), draw(prices), draw(st.sampled_from([1, 1, 1, -1]))
    amount = sign * draw(st.sampled_from([round(quantity * price, 2), Decimal("42.00")]))
    line, product, period = draw(lines), draw(products), draw(st.sampled_from(PERIODS))
    invoice = draw(st.sampled_from(["INV-1", "INV-2"]))
    corrects = draw(st.sampled_from(["INV-1", "INV-2", None])) if sign < 0 else None
    place = ("psa", invoice, None if line is None else "C-1", line, product, period)
    return Offered((f"o{number}",), *place, sign * quantity, price, amount, "invoice", corrects)


@st.composite
def sides(draw: st.DrawFn) -> tuple[list[Wanted], list[Offered]]:
    return (
        [draw(wanted(n)) for n in range(draw(st.integers(0, 6)))],
        [draw(offered(n)) for n in range(draw(st.integers(0, 7)))],
    )


@settings(max_examples=400, deadline=None)
@given(sides(), st.randoms(use_true_random=False))
def test_every_unit_and_cent_is_given_once_whatever_the_order(
    both: tuple[list[Wanted], list[Offered]], chance: random.Random
) -> None:
    result = allocate(*both, KIN)
    _conserved(both[1], result)
    for side in both:
        chance.shuffle(side)
    assert allocate(*both, KIN) == result


def _conserved(offered: list[Offered], result: Allocation) -> None:
    for line in offered:
        sign = -1 if any(one.credit == line.key for one in result.offsets) else 1
        shares = [one for one in result.shares if one.offered == line.key]
        offsets = [one for one in result.offsets if line.key in (one.credit, one.offered)]
        left = [one for one in result.offered if one.key == line.key]
        assert line.amount == sum(one.amount for one in [*shares, *left]) + sign * sum(one.amount for one in offsets)
        assert line.quantity == sum(one.quantity for one in [*shares, *left] if one.quantity is not None) + sign * sum(
            one.quantity for one in offsets
        )
        assert not (left and shares)
    assert {one.key for one in result.offered} >= {key for key, _ in result.duplicates}


def _book(lines: int) -> tuple[list[Wanted], list[Offered]]:
    """Many subscriptions of few products: equal lines, repriced ones, split ones, and some that nothing answers."""
    chance = random.Random(7)
    asked, billed = [], []
    for n in range(lines):
        product, quantity = f"p{chance.randrange(5)}", Decimal(chance.randrange(1, 60))
        price = Decimal(chance.randrange(100, 130)) / 10
        asked.append(Wanted((f"{n}",), "psa", None, None, product, PERIODS[1], quantity, price, quantity * price))
        shape = chance.randrange(6)
        pieces = [quantity] if shape < 4 else [quantity + 1] if shape == 4 else [quantity - 1, Decimal(1)]
        each = price if shape else price + Decimal("0.1")
        for piece, units in enumerate(pieces):
            place = ("psa", "INV-1", None, None, product, PERIODS[1])
            billed.append(Offered((f"{n}", f"{piece}"), *place, units, each, units * each))
    return asked, billed


def _seconds(lines: int) -> float:
    """CPU seconds, the least of five: other processes empty the caches, they never fill them."""
    book = _book(lines)
    best = 60.0
    for _ in range(5):
        began = process_time()
        allocate(*book)
        best = min(best, process_time() - began)
    return best


def test_ten_times_the_lines_cost_about_ten_times_as_much() -> None:
    assert _seconds(4_000) < 12 * 1.5 * _seconds(400)  # half again for a busy machine
