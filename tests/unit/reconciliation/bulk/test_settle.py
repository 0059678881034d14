"""What is settled at once is what the comparator says: figure by figure, and never where it would not say it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.events.contracts import PackagePrice, Terms, UnitPrice
from shared.reconciliation.bulk import Plain, is_plain, settle
from shared.reconciliation.inputs import LineVersion
from shared.reconciliation.verdict import LineState, State
from tests.unit.reconciliation.given import OCTOBER, D, at, drawn, flat_line, gauge, posted, unit_line

FIGURES = st.sampled_from(["0", "0.005", "1", "1.005", "2", "4.20", "12", "50.40", "84", "-3", "100000000000"])


def plain(line: LineVersion) -> Plain:
    assert line.terms is not None
    assert line.currency is not None
    price = line.terms.price
    flat = price.kind == "flat"
    amount = price.amount if flat else price.unit_amount  # type: ignore[union-attr]
    return Plain("flat" if flat else "unit", amount, line.terms.included, line.currency, line.effective_from, None)


@settings(max_examples=300, deadline=None)
@given(
    flat=st.booleans(),
    price=FIGURES.filter(lambda one: D(one) >= 0),
    included=st.sampled_from(["0", "2", "12"]),
    used=FIGURES | st.none(),
    billed=st.tuples(FIGURES, FIGURES, FIGURES),
    currency=st.sampled_from(["EUR", "EUR", "JPY"]),
)
@example(flat=False, price="4.20", included="0", used="12", billed=("12", "4.20", "50.40"), currency="EUR")
@example(flat=False, price="1.005", included="0", used="1", billed=("1", "1.005", "1"), currency="JPY")
@example(flat=True, price="1.005", included="0", used=None, billed=("1", "1.005", "1.01"), currency="EUR")
def test_what_is_settled_matches_in_the_comparator(
    flat: bool, price: str, included: str, used: str | None, billed: tuple[str, str, str], currency: str
) -> None:
    line = flat_line(price) if flat else unit_line(price, included=included, statistic="prorated")
    line = replace(line, currency=currency)
    bill = posted(billed[0], billed[1], billed[2], currency=currency)
    quantity, unit_price, amount = map(Decimal, billed)
    answer = settle(plain(line), None if used is None else D(used), quantity, unit_price, amount)
    if answer is None:
        return
    meters = () if used is None else (gauge((at(1, 0), used), account="a-1"),)
    verdict = drawn(lines=(line,), used=meters, invoice=(bill,))
    assert verdict.state is State.MATCHED
    (one,) = verdict.lines
    assert (one.state, one.expected, one.billed) == (LineState.MATCHED, answer, answer)
    if not flat:
        assert (one.quantity_expected, one.price_expected) == (quantity, unit_price)


def test_plain_terms_are_settled_and_what_differs_by_a_cent_is_not() -> None:
    line = plain(unit_line("4.20", statistic="prorated"))
    assert settle(line, D(12), D(12), D("4.20"), D("50.40")) == D("50.40")
    assert settle(line, D(12), D(12), D("4.20"), D("50.41")) is None
    assert settle(line, D(13), D(12), D("4.20"), D("50.40")) is None
    assert settle(line, None, D(12), D("4.20"), D("50.40")) is None


def test_only_a_price_and_what_it_includes_is_plain() -> None:
    unit = UnitPrice(kind="unit", unit_amount=D(1))
    assert is_plain(Terms(price=unit, included=D(5)))
    assert not is_plain(Terms(price=unit, meter="agents"))
    assert not is_plain(Terms(price=unit, discount_pct=D(5)))
    assert not is_plain(Terms(price=PackagePrice(kind="package", size=D(10), amount=D(1))))


def test_a_line_that_begins_or_ends_in_the_month_is_not_in_force_through_it() -> None:
    line = plain(unit_line())
    assert line.through(OCTOBER)
    assert not line._replace(effective_from=at(2).date()).through(OCTOBER)
    assert not line._replace(effective_to=at(31).date()).through(OCTOBER)
    assert line._replace(effective_to=OCTOBER.end).through(OCTOBER)
