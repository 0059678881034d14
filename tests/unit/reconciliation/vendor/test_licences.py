"""Products that no meter counts: the vendor's bill says what was used."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from shared.events.contracts import CostPlusPrice, Terms, UnitPrice
from shared.events.discrepancies import Code
from shared.reconciliation.facts import Cell, Rank
from shared.reconciliation.inputs import LineVersion, Product, VendorLine
from shared.reconciliation.verdict import LineState, StatementLine, Verdict
from shared.reconciliation.views import arrived, charged_in, may_be_home
from tests.unit.reconciliation.given import (
    CLIENT,
    COMPLETE,
    MID_MONTH,
    OCTOBER,
    D,
    at,
    drawn,
    gauge,
    only_break,
    posted,
    record,
    unit_line,
)

SEATS = Product("seats", "Business Basic")
OCT, NOV = at(1, 0), at(1, 0, month=11)
NO_RANK = Rank(OCT, 0, "")


def bill(
    quantity: str | None,
    cost: str,
    begins: datetime = OCT,
    ends: datetime = NOV,
    *,
    line: str = "1",
    category: str | None = "Cycle",
    **changes: object,
) -> VendorLine:
    fact = VendorLine(
        source="microsoft",
        issuer="Microsoft",
        bill="G1",
        version=1,
        line=line,
        account="cust-northwind",
        sku="basic",
        product="seats",
        share=D(1),
        category=category,
        correction=False,
        charge_from=begins,
        charge_to=ends,
        quantity=None if quantity is None else D(quantity),
        unit=None,
        unit_price=None,
        billed_cost=D(cost),
        currency="EUR",
        record=record("vendor_bill.line.v1", f"G1/{line}", "microsoft"),
    )
    return replace(fact, **changes)  # type: ignore[arg-type]


def agreed(price: str = "12.00", recurring: str | None = None, **terms: Any) -> LineVersion:
    said = Terms(price=UnitPrice(kind="unit", unit_amount=D(price)), **terms)
    return replace(unit_line(price, recurring), terms=said, product="seats")


def licensed(*lines: VendorLine, contract: LineVersion | None = None, **given: object) -> Verdict:
    """A client whose product has a sku at Microsoft, without a feed of usage; by default an agreement at 12.00."""
    held = (contract or agreed(),)
    defaults = {"product": SEATS, "vendor_lines": lines, "lines": held, "feed_sources": ("microsoft",), "invoice": ()}
    return drawn(**defaults | given)


def line_of(verdict: Verdict) -> StatementLine:
    (line,) = verdict.lines
    return line


def billed(quantity: str) -> tuple[Any, ...]:
    return (posted(quantity, "12.00", product="seats"),)


def test_what_the_bill_charges_is_what_was_used() -> None:
    verdict = licensed(bill("7", "67.20"), invoice=billed("7"))
    assert (verdict.state, verdict.waiting) == ("matched", ())
    line = line_of(verdict)
    assert (line.state, line.expected, line.billed, line.cost) == (LineState.MATCHED, D("84"), D("84"), D("67.20"))
    used = next(step for step in line.steps if step.label == "used")
    assert used.formula == "the vendor's bill charges (G1 line 1): level of 7"
    assert used.sources == (record("vendor_bill.line.v1", "G1/1", "microsoft"),)


@pytest.mark.parametrize(
    ("quantity", "code", "amount"), [("5", Code.QTY_UNDER, "24.00"), ("9", Code.QTY_OVER, "24.00")]
)
def test_other_licences_on_the_invoice(quantity: str, code: Code, amount: str) -> None:
    body = only_break(licensed(bill("7", "67.20"), invoice=billed(quantity)))
    assert (body.code, body.amount) == (code, D(amount))
    assert "G1 line 1" in body.derivation[0].formula


def test_an_agreement_is_compared_before_there_is_an_invoice() -> None:
    body = only_break(licensed(bill("7", "67.20"), contract=agreed(recurring="5"), invoice=None))
    assert (body.code, body.amount, body.reached) == (Code.QTY_UNDER, D("24.00"), "nowhere")


def test_licences_in_no_contract_and_on_no_invoice() -> None:
    verdict = licensed(bill("7", "67.20"), lines=(), product=replace(SEATS, list_price=D("12.00"), currency="EUR"))
    body = only_break(verdict)
    assert (body.code, body.amount, body.quantity) == (Code.UNBILLED_SERVICE, D("84.00"), D(7))


def test_a_line_without_a_contract_is_held_against_the_bill() -> None:
    assert licensed(bill("7", "67.20"), lines=(), invoice=billed("7")).breaks == ()
    assert only_break(licensed(bill("7", "67.20"), lines=(), invoice=billed("8"))).code == Code.QTY_OVER


def test_seats_added_and_removed_inside_a_month_count_by_their_days() -> None:
    # 4 for the month, 3 more from the 17th (15 of 31 days), one given back on the 22nd (10 days).
    lines = (
        bill("4", "38.40"),
        bill("3", "13.94", at(17, 0), line="2", category="Change"),
        bill("-1", "-3.10", at(22, 0), line="3", category="Change"),
    )
    line = line_of(licensed(*lines))
    assert line.expected == D("61.55")  # 48.00 + 3 x 12.00 x 15/31 - 12.00 x 10/31
    assert [line_of(licensed(*lines, contract=agreed(statistic=s))).quantity_expected for s in ("max", "last")] == [
        7,
        6,
    ]


def test_a_reversal_whose_sign_stands_in_its_amount_alone() -> None:
    assert line_of(licensed(bill("4", "38.40"), bill("1", "-9.60", line="2", category="Cancel"))).expected == D("36")


def test_a_cycle_counts_whole_for_the_month_in_which_it_begins() -> None:
    cycle = bill("4", "38.40", at(14, 0), at(14, 0, month=11))
    assert line_of(licensed(cycle)).expected == D("48")
    # 3 more on the 22nd: 23 of the cycle's 31 days are left.
    added = bill("3", "21.36", at(22, 0), at(14, 0, month=11), line="2", category="Change")
    assert line_of(licensed(cycle, added)).expected == D("74.71")  # 48.00 + 3 x 12.00 x 23/31
    # Bought on the 14th, and in the contract from then on: the part of the calendar month.
    since = replace(agreed(), effective_from=at(14).date())
    assert line_of(licensed(cycle, contract=since)).expected == D("27.87")  # 48.00 x 18/31


def test_credits_and_taxes_have_no_quantity() -> None:
    tax, credit = bill("7", "12.77", line="2", category="Tax"), bill("1", "-5", line="3", category="Adjustment")
    assert line_of(licensed(bill("7", "67.20"), tax, credit)).expected == D("84")


def test_a_share_of_the_bill() -> None:
    assert line_of(licensed(bill("7", "67.20", share=D("0.5")))).expected == D("42")


def test_several_subscriptions_of_one_product_add_up() -> None:
    assert line_of(licensed(bill("7", "67.20"), bill("3", "28.80", line="2"))).quantity_expected == 10


def test_units_of_usage_on_a_bill_are_a_sum() -> None:
    half = at(16, 0)
    lines = (bill("5", "1", ends=half, category="Usage"), bill("6", "1", half, line="2", category="Usage"))
    assert line_of(licensed(*lines)).quantity_expected == 11


def test_a_meter_or_a_feed_comes_before_the_bill() -> None:
    seen = replace(gauge((OCT, "5")), product="seats")
    assert line_of(licensed(bill("7", "67.20"), used=(seen,), feed_sources=("huntress",))).expected == D("60")
    by_use = bill("7", "67.20", category="Usage")
    assert licensed(by_use, feeds=COMPLETE, feed_sources=("huntress",), invoice=billed("7")).breaks != ()
    # Licences are bought, whatever else their source reports.
    assert line_of(licensed(bill("7", "67.20"), feeds=COMPLETE, feed_sources=("huntress",))).expected == D("84")


def test_the_terms_say_what_counts() -> None:
    seen = replace(gauge((OCT, "5")), product="seats")
    by_bill = agreed(measured_by="vendor_bill")
    assert line_of(licensed(bill("7", "67.20"), used=(seen,), contract=by_bill)).expected == D("84")
    by_usage = licensed(bill("7", "67.20"), contract=agreed(measured_by="usage"), invoice=billed("7"))
    assert (by_usage.state, by_usage.breaks) == ("not_comparable", ())
    waits = licensed(contract=by_bill, invoice=billed("7"))
    assert [one.what for one in waits.waiting] == ["no vendor's bill of October 2026 for Business Basic yet"]
    assert (waits.state, waits.breaks) == ("not_comparable", ())
    with pytest.raises(ValidationError, match="names a meter"):
        agreed(meter="seats", measured_by="vendor_bill")


def test_what_the_bill_says_is_not_held_against_itself() -> None:
    priced = replace(SEATS, unit_cost=D("9.60"), cost_currency="EUR")
    verdict = licensed(bill("7", "67.20"), product=priced, invoice=billed("7"))
    assert verdict.breaks == ()
    assert [(one.expected, one.billed) for one in verdict.vendor] == [(D("67.20"), D("67.20"))]


def test_assigned_licences_are_held_against_the_bill_and_the_bill_against_the_invoice() -> None:
    held = replace(gauge((at(3), "5")), meter="assigned", product="seats")
    verdict = licensed(
        bill("7", "67.20"), used=(held,), feeds=COMPLETE, feed_sources=("huntress",), invoice=billed("7")
    )
    assert [(one.body.code, one.body.quantity) for one in verdict.breaks] == [(Code.ASSIGNED_NE_PURCHASED, D(2))]
    assert line_of(verdict).expected == D("84")


@pytest.mark.parametrize(("count", "difference"), [("5", D(2)), ("7", None), ("8", D(1))])
def test_assigned_licences_are_held_against_those_that_stand_at_the_months_end(count: str, difference: Any) -> None:
    held = replace(gauge((at(20), count)), meter="assigned", product="seats")
    added = bill("3", "13.94", at(17, 0), line="2", category="Change")
    lines = (bill("4", "38.40"), added, bill("9", "1", at(5, 0), at(14, 0), line="3", category="Change"))
    verdict = licensed(*lines, used=(held,), feeds=COMPLETE, feed_sources=("huntress",))
    found = [one.body.quantity for one in verdict.breaks if one.body.code == Code.ASSIGNED_NE_PURCHASED]
    assert found == ([] if difference is None else [difference])


def test_what_is_not_on_the_bill_waits_until_all_its_lines_are_here() -> None:
    some = bill("5", "48.00", arrived=False)
    verdict = licensed(some, invoice=billed("7"))
    assert (verdict.breaks, [one.what for one in verdict.waiting]) == ((), ["not all lines of microsoft G1 are here"])
    # What it charges already is used.
    assert only_break(licensed(some, invoice=billed("3"))).code == Code.QTY_UNDER


def test_in_a_running_month_more_may_be_charged() -> None:
    early = {"contract": agreed(recurring="9"), "invoice": None, "as_of": MID_MONTH}
    # A level that holds to the month's end is what the month has; a sum so far is not.
    assert only_break(licensed(bill("7", "67.20"), **early)).code == Code.QTY_OVER
    usage = bill("7", "67.20", ends=at(8, 0), category="Usage")
    waits = licensed(usage, **early)
    assert (waits.breaks, waits.next_change) == ((), NOV.date())
    assert ("more of October 2026 may be charged", NOV.date()) in [(one.what, one.until) for one in waits.waiting]
    assert only_break(licensed(usage, **early | {"as_of": NOV.date()})).code == Code.QTY_OVER


def test_units_charged_beyond_use_show_when_the_month_is_over() -> None:
    priced = replace(SEATS, unit_cost=D("9.60"), cost_currency="EUR")
    seen = replace(gauge((OCT, "5")), product="seats")
    fewer = bill("3", "28.80", category="Usage")
    given: dict[str, Any] = {"product": priced, "used": (seen,), "invoice": billed("5")}
    assert licensed(fewer, **given, as_of=MID_MONTH).next_change == NOV.date()
    assert only_break(licensed(fewer, **given)).code == Code.COST_MISMATCH


def test_a_bill_has_arrived_with_its_header_and_as_many_lines_as_it_names() -> None:
    def of(kind: str, *key: str, **value: Any) -> Cell:
        return Cell(kind, "t", ("microsoft", "Microsoft", "G1", *key), NO_RANK, value, "microsoft", "", "")

    header, lines = of("vendor_bill", "1", lines=2), [of("vendor_bill_line", "1", str(n)) for n in (1, 2)]
    assert arrived([header], lines[:1]) == set()
    assert arrived([], lines) == set()
    assert arrived([header, of("vendor_bill", "2", lines=2)], lines) == {("microsoft", "Microsoft", "G1", "1")}


def test_order_never_matters() -> None:
    lines = (bill("4", "38.40"), bill("3", "21.36", at(22, 0), line="2"), bill("1", "9.60", line="3"))
    assert licensed(*lines) == licensed(*reversed(lines))


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "UTC", "Europe/Berlin", "Asia/Tokyo"])
@pytest.mark.parametrize("hours", [0, 4])
def test_a_vendors_month_is_the_clients_month_in_whatever_zone(zone: str, hours: int) -> None:
    moved = timedelta(hours=hours)
    cell = Cell("vendor_bill_line", "t", (), NO_RANK, charge_of(OCT + moved, NOV + moved), "microsoft", "", "")
    assert charged_in(cell, zone) == OCTOBER
    assert OCTOBER in may_be_home((OCT + moved).isoformat(), zone)
    client = replace(CLIENT, time_zone=zone)
    line = bill("7", "67.20", OCT + moved, NOV + moved)
    assert line_of(licensed(line, client=client)).expected == D("84")
    plus = replace(agreed(), terms=Terms(price=CostPlusPrice(kind="cost_plus", factor=D("1.25"))))
    assert line_of(licensed(line, client=client, contract=plus)).expected == D("84")


def charge_of(begins: datetime, ends: datetime) -> dict[str, str]:
    return {"charge_from": begins.isoformat(), "charge_to": ends.isoformat()}


def test_a_day_that_is_charged_is_a_day_of_the_client_as_its_usage_is() -> None:
    cell = Cell("vendor_bill_line", "t", (), NO_RANK, charge_of(OCT, at(2, 0)), "microsoft", "", "")
    assert charged_in(cell, "America/Los_Angeles").start == date(2026, 9, 1)
