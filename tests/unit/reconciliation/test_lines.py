"""One line of the statement for each expected part: which usage, which posted lines are its own, and what it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

from shared.events.contracts import (
    BillingPeriod,
    Conversion,
    CostPlusPrice,
    FlatPrice,
    PercentagePrice,
    Terms,
    UnitPrice,
)
from shared.events.discrepancies import Code, Direction
from shared.kernel.periods import Period, month_of
from shared.reconciliation.compare import draw_group
from shared.reconciliation.inputs import InvoiceState, LineVersion, Observation, Product, VendorLine
from shared.reconciliation.verdict import LineState, State, Verdict
from tests.unit.reconciliation.given import (
    MID_MONTH,
    OCTOBER,
    D,
    at,
    counter,
    credit,
    drawn,
    flat_line,
    gauge,
    group,
    posted,
    record,
    sides,
    unit_line,
)

US, THEM = Direction.CLIENT_OWES_US, Direction.WE_OWE_CLIENT
USED_40 = (gauge((at(20, month=9), "40"), (at(1, 0), "40")),)
UNIT = UnitPrice(kind="unit", unit_amount=D("4.20"))
NOVEMBER = month_of(date(2026, 11, 1))


def day(number: int, month: int = 10) -> date:
    return date(2026, month, number)


def terms_line(terms: Terms, recurring: Any = None, **changes: Any) -> LineVersion:
    return replace(unit_line(recurring=recurring), terms=terms, **changes)


def found(verdict: Verdict) -> list[tuple[str, str, Any]]:
    return [(one.body.code.value, one.body.direction.value, one.body.amount) for one in verdict.breaks]


def states(verdict: Verdict) -> dict[str, str]:
    """Last two parts of each line's key -> its state."""
    return {"/".join(line.key[-2:]): line.state.value for line in verdict.lines}


# --- parts and versions ------------------------------------------------------------------------------------------
def test_a_price_that_changes_inside_the_month() -> None:
    lines = (unit_line(statistic="prorated"), unit_line("4.50", statistic="prorated", effective_from=day(17)))
    verdict = drawn(lines=lines, used=USED_40, invoice=(posted("40", "4.35", "173.81"),))
    assert (verdict.expected, verdict.state) == (D("173.81"), State.MATCHED)  # 168.00 x 16/31 + 180.00 x 15/31
    old = drawn(lines=lines, used=USED_40, invoice=(posted("40", "4.20"),))
    assert found(old) == [("PRICE_MISMATCH", US, D("5.81"))]


def test_an_agreement_that_changes_inside_the_month_bills_each_stretch() -> None:
    used = (gauge((at(20, month=9), "30"), (at(1, 0), "30"), (at(17, 0), "40")),)
    lines = (
        unit_line("4.20", "30", statistic="prorated"),
        unit_line("4.20", "40", statistic="prorated", effective_from=day(17)),
    )
    assert drawn(lines=lines, used=used, as_of=MID_MONTH).state is State.MATCHED
    fee = (flat_line("150.00", "1"), flat_line("180.00", "1", effective_from=day(17)))
    verdict = drawn(lines=fee, as_of=MID_MONTH)
    assert (verdict.state, verdict.billed) == (State.MATCHED, D("164.52"))


def test_a_quarter_is_compared_where_it_starts_and_a_quarters_invoice_is_split_over_months() -> None:
    quarterly = terms_line(Terms(price=UNIT, period=BillingPeriod(unit="quarter", anchor=day(1, 1)), statistic="max"))
    quarter = Period(day(1), date(2027, 1, 1))
    verdict = drawn(lines=(quarterly,), used=USED_40, invoice=(posted("40", "4.20", period=quarter),))
    assert (verdict.state, verdict.expected) == (State.MATCHED, D("168.00"))
    # In arrears it is due when it is over: the invoices of October do not have to hold it.
    later = drawn(lines=(quarterly,), used=USED_40, invoice=())
    assert (later.state, sides(later), later.breaks) == (State.NOT_COMPARABLE, ["invoice"], ())

    monthly, bill = unit_line(), posted("40", "12.60", period=quarter)
    for month in (OCTOBER, NOVEMBER):
        given = group(lines=(monthly,), used=USED_40, invoice=(bill,), period=month, complete=True)
        told = draw_group(replace(given, feeds=(replace(given.feeds[0], covers_to=at(1, 0, month=12)),)))
        assert told is not None
        assert (told.state, told.billed) == (State.MATCHED, D("168.00"))


def test_a_yearly_line_belongs_to_the_month_of_its_start_alone() -> None:
    yearly = terms_line(
        Terms(price=FlatPrice(kind="flat", amount=D(1200)), period=BillingPeriod(unit="year", anchor=day(1, 3)))
    )
    assert draw_group(group(lines=(yearly,), invoice=())) is None
    stray = drawn(lines=(yearly,), invoice=(posted("1", "100.00"),))
    assert (stray.state, sides(stray)) == (State.NOT_COMPARABLE, ["partial_period"])
    assert [line.by for line in stray.lines] == ["INV-20931 line 7 bills October 2026 of what began on 2026-03-01"]


def test_usage_under_a_part_that_began_earlier_is_not_unbilled() -> None:
    yearly = terms_line(Terms(price=UNIT, period=BillingPeriod(unit="year", anchor=day(1, 3)), billing="advance"))
    verdict = drawn(lines=(yearly,), used=USED_40, invoice=(), complete=True)
    assert (verdict.state, verdict.breaks, verdict.owed) == (State.MATCHED, (), False)
    assert [(line.key, line.state, line.quantity_expected, line.by) for line in verdict.lines] == [
        (
            ("usage", "edr", "C-1042 line 3 from 2026-03-01 on"),
            LineState.EXPLAINED,
            D(40),
            "covered by C-1042 line 3 from 2026-03-01 on",
        )
    ]
    ended = replace(yearly, effective_from=day(1), terms=None, recurring=None, currency=None)
    over = drawn(lines=(yearly, ended), used=USED_40, invoice=(), complete=True)
    assert [code for code, _, _ in found(over)] == ["EXPIRED_AGREEMENT"]


def test_a_part_of_several_months_that_is_billed_by_the_month_waits_for_the_rest() -> None:
    quarter = BillingPeriod(unit="quarter", anchor=day(1, 1))
    fee = terms_line(Terms(price=FlatPrice(kind="flat", amount=D(150)), period=quarter, billing="advance"))
    verdict = drawn(lines=(fee,), invoice=(posted("1", "50.00"),))
    (line,) = verdict.lines
    assert (verdict.state, verdict.breaks) == (State.NOT_COMPARABLE, ())
    assert (line.state, line.pending, line.until) == (LineState.PENDING, D("-100.00"), date(2027, 1, 6))
    assert line.by == ("pending instalments; INV-20931 line 7 bills October 2026 of what is due until 2027-01-01")
    by_days = drawn(lines=(fee,), invoice=(posted("1", "50.54"),))  # 150.00 x 31/92
    assert (by_days.state, sides(by_days)) == (State.NOT_COMPARABLE, ["partial_period"])
    assert found(drawn(lines=(fee,), invoice=(posted("1", "45.00"),))) == [("PRICE_MISMATCH", US, D("105.00"))]
    assert drawn(lines=(fee,), invoice=(posted("1", "150.00"),)).state is State.MATCHED


def test_a_fee_that_is_due_in_another_month_is_a_phantom_in_this_one() -> None:
    once = terms_line(
        Terms(price=FlatPrice(kind="flat", amount=D(500)), period=BillingPeriod(unit="once")), effective_from=day(5, 9)
    )
    verdict = drawn(lines=(once,), invoice=(posted("1", "500.00"),), feed_sources=())
    assert found(verdict) == [("PHANTOM_LINE", THEM, D("500.00"))]


def test_units_over_several_parts_are_told_from_units_of_each_part_by_their_price() -> None:
    quarter, monthly = Period(day(1), date(2027, 1, 1)), unit_line()
    each = drawn(lines=(monthly,), used=USED_40, invoice=(posted("120", "4.20", period=quarter),), complete=True)
    assert (each.state, each.billed, each.lines[0].quantity_billed) == (State.MATCHED, D("168.00"), D(40))
    short = drawn(lines=(monthly,), used=USED_40, invoice=(posted("117", "4.20", period=quarter),), complete=True)
    assert found(short) == [("QTY_UNDER", US, D("4.20"))]


# --- lines that count other units ----------------------------------------------------------------------------------
SEATS = unit_line("3.10", statistic="prorated")
ADDED = (gauge((at(20, month=9), "10"), (at(1, 0), "10"), (at(16, 0), "20")),)
"""10 x 31 + 10 x 16 = 470 days of a seat at 3.10 / 31: 47.00."""
FROM_16TH = Period(day(16), date(2026, 11, 1))


def test_seats_added_inside_the_month_are_a_line_of_their_own_days() -> None:
    base = posted("10", "3.10")
    bill = (base, posted("10", "1.60", line="8", period=FROM_16TH))
    verdict = drawn(lines=(SEATS,), used=ADDED, invoice=bill, complete=True)
    assert (verdict.state, verdict.lines[0].quantity_billed) == (State.MATCHED, D("15.161290"))
    full_price = posted("10", "3.10", "16.00", line="8", period=FROM_16TH)
    assert drawn(lines=(SEATS,), used=ADDED, invoice=(base, full_price), complete=True).state is State.MATCHED
    by_days = posted("5.161290", "3.10", "16.00", line="8", period=FROM_16TH)
    assert drawn(lines=(SEATS,), used=ADDED, invoice=(base, by_days), complete=True).state is State.MATCHED
    two_short = posted("8", "1.60", line="8", period=FROM_16TH)
    verdict = drawn(lines=(SEATS,), used=ADDED, invoice=(base, two_short), complete=True)
    assert found(verdict) == [("QTY_UNDER", US, D("3.20"))]
    taken_back = posted("-10", "1.50", line="8", period=Period(day(1), day(16)))
    verdict = drawn(lines=(SEATS,), used=ADDED, invoice=(posted("20", "3.10"), taken_back), complete=True)
    assert verdict.state is State.MATCHED


def test_a_price_that_changes_is_billed_as_two_lines() -> None:
    lines = (unit_line(statistic="prorated"), unit_line("4.50", statistic="prorated", effective_from=day(17)))
    old, new = Period(day(1), day(17)), Period(day(17), date(2026, 11, 1))
    bill = (posted("40", "2.17", "86.71", period=old), posted("40", "2.18", "87.10", line="8", period=new))
    assert drawn(lines=lines, used=USED_40, invoice=bill, complete=True).state is State.MATCHED


def test_a_discount_and_a_credit_of_a_sum_have_no_units() -> None:
    reduced = terms_line(Terms(price=UNIT, statistic="max", discount_pct=D(10)))
    off = posted("-1", "16.80", line="8", discount=True)
    assert drawn(lines=(reduced,), used=USED_40, invoice=(posted("40", "4.20"), off)).state is State.MATCHED
    sum_back = posted("-1", "10.00", "-10.00", invoice="CN-1", kind="credit_note", corrects="INV-20931")
    verdict = drawn(lines=(unit_line(),), used=USED_40, invoice=(posted("40", "4.20"), sum_back))
    assert found(verdict) == [("PRICE_MISMATCH", US, D("10.00"))]
    unit_back = posted("-1", "4.20", "-4.20", invoice="CN-1", kind="credit_note", corrects="INV-20931")
    verdict = drawn(lines=(unit_line(),), used=USED_40, invoice=(posted("40", "4.20"), unit_back))
    assert found(verdict) == [("QTY_UNDER", US, D("4.20"))]


def test_several_lines_that_come_to_what_is_due_are_no_break() -> None:
    bill = (posted("30", "4.20"), posted("8", "5.25", line="8"))
    verdict = drawn(lines=(unit_line(),), used=USED_40, invoice=bill, complete=True)
    assert (verdict.state, verdict.breaks) == (State.MATCHED, ())


def test_usage_first_seen_inside_the_month_is_taken_to_have_stood_unless_the_source_was_complete() -> None:
    used = (gauge((at(17, 0), "40")),)
    line = unit_line(statistic="prorated")
    assert drawn(lines=(line,), used=used, invoice=(posted("40", "4.20"),)).state is State.MATCHED
    complete = drawn(lines=(line,), used=used, invoice=(posted("40", "4.20"),), complete=True)
    assert found(complete) == [("PRORATION", THEM, D("86.71"))]


# --- several lines -----------------------------------------------------------------------------------------------
def test_lines_of_equal_terms_are_one_pool() -> None:
    lines = (unit_line(recurring="10"), unit_line(recurring="28", line="4"), flat_line())
    bills = (
        posted("10", "4.20", contract="C-1042", contract_line="3"),
        posted("28", "4.20", line="8", contract="C-1042", contract_line="4"),
        posted("1", "150.00", line="9"),
    )
    verdict = drawn(lines=lines, used=USED_40, invoice=bills)
    assert (found(verdict), states(verdict)) == (
        [("QTY_UNDER", US, D("8.40"))],
        {"1/2026-10-01": "matched", "3/2026-10-01": "break"},
    )
    assert verdict.breaks[0].body.contract_ref == "C-1042 line 3 and 1 more"
    running = drawn(lines=lines[:2], used=USED_40, as_of=MID_MONTH)
    assert found(running) == [("QTY_UNDER", US, D("8.40"))]


def test_lines_of_other_terms_take_up_to_their_quantity_in_order() -> None:
    lines = (unit_line(recurring="10"), unit_line("5.00", "28", line="4"))
    verdict = drawn(lines=lines, used=USED_40, as_of=MID_MONTH)
    assert [(line.key[3], line.quantity_expected, line.state) for line in verdict.lines] == [
        ("3", D(10), LineState.MATCHED),
        ("4", D(30), LineState.BREAK),
    ]
    assert (found(verdict), verdict.breaks[0].key) == ([("QTY_UNDER", US, D("10.00"))], ("edr", "psa", "C-1042", "4"))


def test_a_line_that_names_a_meter_gets_that_meter_alone() -> None:
    used = (*USED_40, gauge((at(1, 0), "9"), account="a-2", meter="servers"))
    lines = (unit_line(), unit_line("9.00", line="4", meter="servers"))
    bills = (posted("40", "4.20"), posted("9", "9.00", line="8"))
    assert drawn(lines=lines, used=used, invoice=bills).state is State.MATCHED


def test_each_posted_line_answers_one_expected_line() -> None:
    lines = (flat_line("150.00"), flat_line("90.00", line="2"))
    assert found(drawn(lines=lines, invoice=(posted("1", "90.00"),))) == [("MISSING_LINE", US, D("150.00"))]
    twice = (posted("1", "90.00"), posted("1", "150.00", line="8"), posted("1", "90.00", line="9"))
    assert found(drawn(lines=lines, invoice=twice)) == [("DUPLICATE", THEM, D("90.00"))]
    stranger = drawn(lines=lines, invoice=(*twice[:2], posted("1", "33.00", line="9")), feed_sources=())
    assert (found(stranger), states(stranger)["INV-20931/9"]) == ([("PHANTOM_LINE", THEM, D("33.00"))], "break")


# --- bundles -----------------------------------------------------------------------------------------------------
SUITE = Product("m365", "M365 Suite", components=("edr", "mail"))
EDR, MAIL = Product("edr", "Huntress EDR"), Product("mail", "Mail")


def bundle(**given: Any) -> Verdict:
    return drawn(product=EDR, others=(SUITE, MAIL), **given)


def of(product: str, meter: Any) -> Any:
    return replace(meter, product=product)


PARTS = (of("edr", USED_40[0]), of("mail", gauge((at(1, 0), "42"), account="a-2", unit="mailbox")))


def test_a_bundles_line_covers_its_parts_and_bills_the_highest() -> None:
    lines = (unit_line("12.00", product="m365"),)
    verdict = bundle(lines=lines, used=PARTS, invoice=(posted("42", "12.00", product="m365"),))
    assert (verdict.state, verdict.expected) == (State.MATCHED, D("504.00"))
    covered = [line for line in verdict.lines if line.key[0] == "usage"]
    assert [(line.product, line.by, line.state) for line in covered] == [
        ("edr", "covered by bundle M365 Suite", LineState.EXPLAINED),
        ("mail", "covered by bundle M365 Suite", LineState.EXPLAINED),
    ]
    under = bundle(lines=lines, used=PARTS, invoice=(posted("40", "12.00", product="m365"),))
    assert [(one.body.code, one.body.amount, one.body.product) for one in under.breaks] == [
        (Code.QTY_UNDER, D("24.00"), "m365")
    ]


def test_a_part_with_a_line_of_its_own_is_not_covered() -> None:
    lines = (unit_line("12.00", product="m365"), unit_line("1.00", line="4", product="mail"))
    bills = (posted("40", "12.00", product="m365"), posted("42", "1.00", line="8", product="mail"))
    assert bundle(lines=lines, used=PARTS, invoice=bills).state is State.MATCHED


def test_a_bundle_on_the_invoice_answers_the_lines_of_its_parts() -> None:
    lines = (unit_line("7.00", product="edr"), unit_line("5.00", line="4", product="mail"))
    verdict = bundle(lines=lines, used=PARTS, invoice=(posted("1", "490.00", product="m365"),))
    assert (verdict.state, verdict.expected, verdict.billed) == (State.MATCHED, D("490.00"), D("490.00"))
    reverse = (unit_line("12.00", product="m365"),)
    apart = (posted("42", "7.00", product="edr"), posted("42", "5.00", line="8", product="mail"))
    assert bundle(lines=reverse, used=PARTS, invoice=apart).expected == D("504.00")


def test_usage_of_a_part_that_nothing_covers_is_unbilled() -> None:
    lines = (unit_line("7.00", product="edr"),)
    verdict = bundle(lines=lines, used=PARTS, invoice=(posted("40", "7.00", product="edr"),))
    assert [(one.body.code, one.body.product) for one in verdict.breaks] == [(Code.UNBILLED_SERVICE, "mail")]


# --- prices that take more than a quantity -----------------------------------------------------------------------
def test_a_unit_that_does_not_convert_is_pending() -> None:
    convert = Conversion(from_unit="MiB", to_unit="GiB", divide=D(1024))
    line = terms_line(Terms(price=UNIT, convert=convert))
    verdict = drawn(lines=(line,), used=(counter("2048", unit="MiB"),), invoice=(posted("2", "4.20"),))
    assert verdict.state is State.MATCHED
    other = drawn(lines=(line,), used=(counter("2048", unit="bytes"),), invoice=(posted("2", "4.20"),))
    assert (other.state, sides(other), other.lines[0].state) == (State.NOT_COMPARABLE, ["unit"], LineState.PENDING)
    assert other.waiting[0].what.startswith("C-1042 line 3: was measured in bytes")


def test_cost_plus_follows_the_vendors_bill() -> None:
    line = terms_line(Terms(price=CostPlusPrice(kind="cost_plus", factor=D("1.25"))))
    waits = drawn(lines=(line,), invoice=(posted("1", "125.00"),))
    assert (waits.state, sides(waits)) == (State.NOT_COMPARABLE, ["vendor_bill"])
    charge = VendorLine(
        "focus", "contoso", "B-1", 1, "1", "a", "s", "edr", D(1), "Usage", False, at(1), at(2), D(9), "h", None,
        D("100.00"), "EUR", record("vendor_bill.line.v1", "B-1/1"),
    )  # fmt: skip
    paid = drawn(lines=(line,), invoice=(posted("1", "125.00"),), vendor_lines=(charge,))
    assert [line.state for line in paid.lines] == [LineState.MATCHED]
    less = drawn(lines=(line,), invoice=(posted("1", "100.00"),), vendor_lines=(charge,))
    assert ("PRICE_MISMATCH", US, D("25.00")) in found(less)


def test_a_percentage_prices_each_transaction() -> None:
    line = terms_line(Terms(price=PercentagePrice(kind="percentage", rate_pct=D("2.5"), fixed=D("0.30"))))
    events = tuple(Observation(at(n), D(v), record("usage.metered.v1", f"e{n}")) for n, v in ((3, 90), (5, 200)))
    used = (counter("290", events=events),)
    assert drawn(lines=(line,), used=used, invoice=(posted("1", "7.85"),)).state is State.MATCHED
    assert found(drawn(lines=(line,), used=used, invoice=(posted("1", "7.25"),))) == [("PRICE_MISMATCH", US, D("0.60"))]


# --- what a line says --------------------------------------------------------------------------------------------
def test_a_line_names_its_sides_and_its_arithmetic() -> None:
    (line,) = drawn(lines=(unit_line(included="5"),), used=USED_40, invoice=(posted("35", "4.20"),)).lines
    assert line.key == ("contract", "psa", "C-1042", "3", "2026-10-01")
    assert (line.expected, line.billed, line.quantity_expected, line.price_billed) == (D(147), D(147), D(35), D("4.20"))
    assert (line.contract_ref, line.billed_ref) == ("C-1042 line 3", "INV-20931 line 7")
    assert [(step.label, step.formula) for step in line.steps] == [
        ("used", "highest level of 2 observations: 40 on 2026-10-01"),
        ("expected", "40 - 5 included = 35; 35 x 4.20 = 147.00"),
        ("billed", "35 x 4.20 = 147.00"),
    ]


def test_the_figures_of_a_verdict_are_the_sums_of_its_lines() -> None:
    lines = (flat_line("150.00"), unit_line())
    verdict = drawn(lines=lines, used=USED_40, invoice=(posted("1", "150.01"), posted("38", "4.20", line="8")))
    assert [(line.state.value, line.explained, line.broken) for line in verdict.lines] == [
        ("explained", D("0.01"), 0),
        ("break", 0, D("-8.40")),
    ]
    assert (verdict.expected, verdict.billed, verdict.explained, verdict.broken) == (
        D("318.00"),
        D("309.61"),
        D("0.01"),
        D("-8.40"),
    )
    assert [(one.line, one.total) for one in verdict.scope] == [("1", D("150.00")), ("3", D("168.00"))]


def test_a_line_that_waits_says_for_what_and_until_when() -> None:
    (line,) = drawn(lines=(unit_line("4.20"),), used=USED_40, as_of=MID_MONTH).lines
    assert (line.state, line.expected, line.billed) == (LineState.PENDING, D("168.00"), None)
    assert (line.by, line.until) == ("C-1042 line 3 does not say what it is set to bill", day(6, 11))
    overdue = drawn(lines=(unit_line("4.20", "40"),), used=USED_40, as_of=day(6, 11), invoices=InvoiceState())
    assert (overdue.lines[0].by, overdue.lines[0].until) == ("no invoice of October 2026 yet", day(6, 11))
    assert (overdue.measured, overdue.owed) == (D(40), True)


def test_what_is_posted_is_on_the_statement_while_its_line_waits() -> None:
    two = (*USED_40, gauge((at(1), "9"), account="a-2", meter="servers"))
    (line,) = drawn(lines=(unit_line(),), used=two, invoice=(posted("8", "4.20"),)).lines
    assert (line.state, line.expected, line.billed, line.billed_ref) == (
        LineState.PENDING,
        None,
        D("33.60"),
        "INV-20931 line 7",
    )
    cycle = terms_line(Terms(price=UNIT, statistic="max", period=BillingPeriod(unit="month", anchor=day(15, 1))))
    verdict = drawn(lines=(cycle,), used=USED_40, invoice=(posted("40", "4.20"),), complete=True)
    assert [(line.key[0], line.state.value, line.billed) for line in verdict.lines] == [
        ("contract", "pending", None),
        ("invoice", "pending", D("168.00")),
    ]


def test_a_credit_that_is_here_before_its_invoice_waits_for_it() -> None:
    back = credit("-21.00", "-5")
    verdict = drawn(lines=(unit_line("4.20", "40"),), used=USED_40, invoice=(back,), invoices=InvoiceState())
    assert [(line.state.value, line.billed, line.until) for line in verdict.lines] == [
        ("matched", D("168.00"), None),
        ("pending", D("-21.00"), day(6, 11)),
    ]
    alone = drawn(invoice=(back,), invoices=InvoiceState())
    assert (alone.state, sides(alone)) == (State.NOT_COMPARABLE, ["invoice"])
    assert [(line.state.value, line.billed, line.by) for line in alone.lines] == [
        ("pending", D("-21.00"), "no invoice of October 2026 yet")
    ]


def test_amounts_of_two_currencies_are_not_added_up() -> None:
    lines = (flat_line("150.00"), flat_line("90.00", line="2", currency="USD"))
    bills = (posted("1", "150.00"), posted("1", "90.00", line="8", currency="USD"))
    verdict = drawn(lines=lines, invoice=bills)
    assert (verdict.state, verdict.currency, verdict.expected) == (State.MATCHED, None, None)
    assert [(line.currency, line.expected) for line in verdict.lines] == [("EUR", D(150)), ("USD", D(90))]


def test_a_credit_of_a_sum_beside_a_line_whose_price_has_no_end() -> None:
    verdict = drawn(
        lines=(unit_line(),),
        used=(gauge((at(1), "3")),),
        invoice=(posted("3", "4.20", "12.61"), credit("-0.01", "-1")),
    )
    assert (verdict.state, verdict.billed, verdict.expected) == (State.MATCHED, D("12.60"), D("12.60"))
