"""Tax, credit notes, exchange and tolerance at their edges (rating.md section 9)."""

from __future__ import annotations

from datetime import date
from decimal import Decimal as D

import pytest

from shared.events.contracts import RoundingStep
from shared.reconciliation.rating.tax import (
    ExchangeRate,
    NetTax,
    TaxedLine,
    Tolerance,
    absorbs,
    credit_note,
    document_tax,
    exchange,
    explained_by_rate,
)

RATE = ExchangeRate("USD", "EUR", D("0.9182"), date(2026, 10, 1), "ECB")


def lines(*nets: str, rate: str = "19") -> list[TaxedLine]:
    return [TaxedLine(f"{n}", D(net), D(rate)) for n, net in enumerate(nets)]


def test_a_line_of_nothing_bears_no_tax_also_where_the_last_takes_the_rest() -> None:
    answer = document_tax(lines("10.00", "10.03", "0.00"), "EUR", split="remainder_to_last")
    assert answer.taxes == {"0": D("1.90"), "1": D("1.91"), "2": D(0)}


def test_lines_of_cents_bear_their_tax() -> None:
    answer = document_tax(lines("0.50", "0.40"), "EUR")
    assert (answer.tax, answer.taxes) == (D("0.17"), {"0": D("0.09"), "1": D("0.08")})


def test_a_source_may_split_in_its_own_order() -> None:
    of = lines("5.00", "20.00", "10.00", rate="28.5714")
    for order, last in (("line", ["1.42", "5.71", "2.87"]), ("largest_first", ["1.44", "5.71", "2.85"])):
        answer = document_tax(of, "EUR", split="remainder_to_last", order=order)  # type: ignore[arg-type]
        assert list(answer.taxes.values()) == [D(part) for part in last]


def test_two_lines_of_one_key_are_named_as_the_reason() -> None:
    with pytest.raises(ValueError, match=r"^two lines of a document have one key$"):
        document_tax([TaxedLine("1", D(1)), TaxedLine("1", D(2))], "EUR")


def test_a_credit_on_the_wrong_side_of_nought_takes_nothing() -> None:
    invoiced = {"1": NetTax(D("10.00"), D("1.90")), "2": NetTax(D("-2.00"), D("-0.38"))}
    taken = credit_note(invoiced, {}, {"1": D("-5"), "2": D("0.50")}, "EUR")
    assert taken == {"1": NetTax(D(0), D(0)), "2": NetTax(D(0), D(0))}


def test_the_tax_of_a_credit_is_rounded_in_the_mode_of_the_step() -> None:
    invoiced = {"1": NetTax(D("10.00"), D("1.99"))}
    for mode, tax in (("half_up", "0.60"), ("down", "0.59")):
        step = RoundingStep.model_validate({"mode": mode, "scale": 2})
        assert credit_note(invoiced, {}, {"1": D("3.00")}, "EUR", step)["1"] == NetTax(D("3.00"), D(tax))


def test_of_several_rates_that_explain_an_amount_the_first_by_origin_is_named() -> None:
    vendor, bank = RATE._replace(rate=D("0.92"), origin="vendor"), RATE._replace(rate=D("0.92001"), origin="bank")
    for published in ([vendor, bank], [bank, vendor]):
        assert explained_by_rate(D("100"), D("92.00"), RATE, published) == bank


def test_an_exchange_is_a_step_of_its_own() -> None:
    assert exchange(D("1"), RATE, None).step.label == "exchange"


def test_a_tolerance_of_several_units_is_so_many_for_each_rounded_line() -> None:
    agreed = {"rounding": Tolerance("totals", D(2), "rounded line")}
    for difference, absorbed in (("0.04", True), ("0.05", False)):
        found = absorbs("rounding", D(difference), D(1), currency="EUR", lines=2, tolerances=agreed)  # type: ignore[arg-type]
        assert found is absorbed
