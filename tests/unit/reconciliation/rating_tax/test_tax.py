"""Tax, totals, credit notes, exchange and tolerance (rating.md section 9)."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.events.contracts import Rounding, RoundingStep
from shared.kernel.money import money
from shared.reconciliation.rating.tax import (
    ExchangeRate,
    NetTax,
    TaxedLine,
    absorbs,
    credit_note,
    document_tax,
    exchange,
    explained_by_rate,
)

D = Decimal
TWO = (TaxedLine("1", D("40.35"), D(19)), TaxedLine("2", D("19.99"), D(19)))
DISCOUNT = TaxedLine("3", D("-5.00"), D(19), discount=True)


@pytest.mark.parametrize(
    ("lines", "settings_", "base", "tax", "parts"),
    [
        (TWO, {}, "60.34", "11.46", ("7.66", "3.80")),
        (TWO, {"level": "line"}, "60.34", "11.47", ("7.67", "3.80")),
        ((*TWO, DISCOUNT), {}, "55.34", "10.51", ("7.03", "3.48", "0")),
        ((*TWO, DISCOUNT), {"discount_reduces_base": False}, "60.34", "11.46", ("7.66", "3.80", "0")),
        (TWO, {"split": "remainder_to_last"}, "60.34", "11.46", ("7.66", "3.80")),
        (TWO[::-1], {"split": "remainder_to_last", "order": "largest_first"}, "60.34", "11.46", ("7.66", "3.80")),
    ],
)
def test_tax_of_a_document(lines: Any, settings_: Any, base: str, tax: str, parts: tuple[str, ...]) -> None:
    answer = document_tax(lines, "EUR", **settings_)
    (group,) = answer.groups
    assert (group.base, group.tax) == (D(base), D(tax))
    assert tuple(answer.taxes.values()) == tuple(map(D, parts))
    assert answer.total == sum(line.net for line in lines) + D(tax)


def test_a_gross_amount_is_never_rounded() -> None:
    net = money(D("61.70") * Fraction(3, 31).numerator / D(31), "EUR")
    answer = document_tax([TaxedLine("1", net, D(19))], "EUR")
    assert (answer.net, answer.tax, answer.total) == (D("5.97"), D("1.13"), D("7.10"))


def test_rates_and_jurisdictions_have_bases_of_their_own() -> None:
    lines = [
        TaxedLine("1", D("10.00"), D(19), "DE"),
        TaxedLine("2", D("10.00"), D(7), "DE"),
        TaxedLine("3", D("10.00"), D(19), "AT"),
        TaxedLine("4", D("10.00"), D(19), "DE", taxable=False),
    ]
    groups = document_tax(lines, "EUR").groups
    assert [(g.rate_pct, g.jurisdiction, g.base, g.tax) for g in groups] == [
        (7, "DE", 10, D("0.70")),
        (19, "AT", 10, D("1.90")),
        (19, "DE", 10, D("1.90")),
    ]


def test_a_credit_note_is_the_negative_of_its_invoice() -> None:
    credit = document_tax([line._replace(net=-line.net) for line in TWO], "EUR")
    assert (credit.tax, credit.taxes) == (D("-11.46"), {"1": D("-7.66"), "2": D("-3.80")})


def test_a_key_stands_for_one_line() -> None:
    with pytest.raises(ValueError, match="two lines"):
        document_tax((TWO[0], TWO[0]), "EUR")


@pytest.mark.parametrize(("currency", "tax"), [("JPY", "11"), ("KWD", "11.465"), ("CLF", "11.4646")])
def test_tax_has_its_currencys_decimals(currency: str, tax: str) -> None:
    assert document_tax(TWO, currency).tax == D(tax)


@pytest.mark.parametrize(
    ("mode", "tax"), [("floor", "-11.47"), ("ceiling", "-11.46"), ("down", "-11.46"), ("up", "-11.47")]
)
def test_directed_modes_of_a_negative_tax(mode: Any, tax: str) -> None:
    lines = [line._replace(net=-line.net) for line in TWO]
    answer = document_tax(lines, "EUR", rounding=RoundingStep(mode=mode, scale=2))
    assert answer.tax == D(tax) == sum(answer.taxes.values())


nets = st.decimals("-500", "500", places=2, allow_nan=False)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(nets, st.sampled_from([D(0), D(7), D("8.875"), D(19)]), st.booleans()), max_size=8),
    st.sampled_from(["EUR", "JPY", "KWD"]),
    st.sampled_from(["largest_remainder", "remainder_to_last"]),
    st.sampled_from(["line", "largest_first"]),
    st.sampled_from(["document", "line"]),
    st.booleans(),
)
def test_parts_sum_to_the_whole_whatever_the_order(
    drawn: list[tuple[Decimal, Decimal, bool]], currency: str, split: Any, order: Any, level: Any, reduces: bool
) -> None:
    lines = [TaxedLine(f"{n:02}", money(net, currency), rate, discount=d) for n, (net, rate, d) in enumerate(drawn)]
    how: dict[str, Any] = {"split": split, "order": order, "level": level, "discount_reduces_base": reduces}
    answer = document_tax(lines, currency, **how)
    assert sum(answer.taxes.values(), D(0)) == answer.tax == sum((g.tax for g in answer.groups), D(0))
    assert answer.total == answer.net + answer.tax
    assert document_tax(reversed(lines), currency, **how) == answer


def test_several_credit_notes_take_no_more_than_there_is() -> None:
    invoiced = {"1": NetTax(D("10.00"), D("1.90")), "2": NetTax(D("-1.00"), D("-0.19"))}
    first = credit_note(invoiced, {}, {"1": D("3.33")}, "EUR")
    assert first == {"1": NetTax(D("3.33"), D("0.63"))}
    last = credit_note(invoiced, first, {"1": D("99"), "2": D("-5")}, "EUR")
    assert last == {"1": NetTax(D("6.67"), D("1.27")), "2": NetTax(D("-1.00"), D("-0.19"))}
    with pytest.raises(KeyError):
        credit_note(invoiced, {}, {"3": D(1)}, "EUR")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.decimals("0", "60", places=2, allow_nan=False), min_size=1, max_size=6))
def test_credit_notes_that_take_all_end_at_zero(wanted: list[Decimal]) -> None:
    invoiced = {"1": NetTax(D("100.00"), D("7.77"))}
    credited = {"1": NetTax(D(0), D(0))}
    for net in [*wanted, D(100)]:
        note = credit_note(invoiced, credited, {"1": net}, "EUR")["1"]
        assert note.net >= 0
        assert note.tax >= 0
        credited = {"1": NetTax(credited["1"].net + note.net, credited["1"].tax + note.tax)}
    assert credited == invoiced


RATE = ExchangeRate("USD", "EUR", D("0.9182"), date(2026, 10, 1), "ECB")


def test_exchange_happens_at_one_named_step() -> None:
    exact = exchange(D("18.37"), RATE, None)
    assert (exact.amount, exact.step.rounding) == (D("16.867334"), None)
    line = exchange(D("18.37"), RATE, "line")
    assert (line.amount, line.step.rounding) == (D("16.87"), "half_up 2")
    assert line.step.formula == "18.37 USD x 0.9182 (ECB, 2026-10-01) in EUR"
    assert exchange(D("18.37"), RATE, "unit_price").amount == D("16.867334")
    down = Rounding(unit_price=RoundingStep(mode="down", scale=2))
    assert exchange(D("-18.37"), RATE, "unit_price", down).amount == D("-16.86")
    assert exchange(D("18.37"), RATE._replace(target="JPY", rate=D("151.3")), "line").amount == D(2779)


def test_a_difference_that_another_rate_of_the_day_explains_is_one_of_currency() -> None:
    other = RATE._replace(rate=D("0.92"), origin="vendor")
    yesterday = other._replace(on=date(2026, 9, 30), rate=D("0.93"))
    assert explained_by_rate(D("100"), D("92.00"), RATE, [yesterday, RATE, other]) == other
    assert explained_by_rate(D("100"), D("93.00"), RATE, [yesterday, RATE, other]) is None


@pytest.mark.parametrize(
    ("name", "difference", "reference", "more", "absorbed"),
    [
        ("exact", "0", "10", {}, True),
        ("exact", "0.000001", "10", {}, False),
        ("rounding", "0.03", "10", {"currency": "EUR", "lines": 3}, True),
        ("rounding", "-0.04", "10", {"currency": "EUR", "lines": 3}, False),
        ("rounding", "1", "10", {"currency": "JPY"}, True),
        ("rounding", "0.002", "10", {"currency": "KWD"}, False),
        ("unit_price", "0.01", "0.10", {}, True),
        ("unit_price", "0.05", "10.00", {}, True),
        ("unit_price", "0.051", "10.00", {}, False),
        ("unit_price", "0.50", "5.00", {"units": D(50)}, True),
        ("proration", "4.00", "120.00", {"day_price": D(4)}, True),
        ("proration", "0.01", "0.10", {}, True),
        ("proration", "4.01", "120.00", {"day_price": D(4)}, False),
        ("restated", "9.9", "1000", {}, True),
        ("restated", "10.1", "1000", {}, False),
        ("time", "0.25", "3", {}, True),
        ("time", "0.26", "3", {}, False),
    ],
)
def test_a_break_exceeds_both_widths(
    name: Any, difference: str, reference: str, more: dict[str, Any], absorbed: bool
) -> None:
    assert absorbs(name, D(difference), D(reference), **more) is absorbed
    assert absorbs(name, -D(difference), Fraction(reference), **more) is absorbed
