"""Labour: hours that are approved, billed, waiting, stale, beyond a cap or a block, or out of scope."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

from shared.events.contracts import Labour, PrepaidBlock, Terms, UnitPrice, WorkTypeRule
from shared.events.discrepancies import Code, DiscrepancyBody
from shared.reconciliation.inputs import InvoiceLineFacts, InvoiceState, LineVersion, Product, TimeEntry
from shared.reconciliation.labour_side import LabourSide, labour_lines, labour_side
from shared.reconciliation.settings import Settings
from tests.unit.reconciliation.given import D, group, posted, record, unit_line

LABOUR = Product("labour", "Engineering hours")
KEY = ("contract", "psa", "C-1042", "9", "2026-10-01")


def entry(name: str, day: int, hours: str, **changes: object) -> TimeEntry:
    fact = TimeEntry(
        source="psa",
        entry=name,
        worked_on=date(2026, 10, day),
        minutes=D(hours) * 60,
        billable=True,
        approved=True,
        contract=None,
        role=None,
        work_type=None,
        ticket=None,
        when=(),
        invoice=None,
        product="labour",
        record=record("time.entered.v1", name),
    )
    return replace(fact, **changes)  # type: ignore[arg-type]


def agreed(line: str = "9", contract: str = "C-1042", **rules: object) -> LineVersion:
    terms = Terms(price=UnitPrice(kind="unit", unit_amount=D("120.00")), labour=Labour(**rules))  # type: ignore[arg-type]
    return replace(unit_line(line=line), contract=contract, terms=terms, product="labour")


def billed(hours: str, amount: str | None = None, **changes: object) -> InvoiceLineFacts:
    return posted(hours, "120.00", amount, product="labour", **changes)


def drawn(
    *entries: TimeEntry,
    lines: tuple[LineVersion, ...] | None = None,
    invoice: tuple[InvoiceLineFacts, ...] | None = (),
    **given: object,
) -> LabourSide:
    inputs = group(
        lines=(agreed(),) if lines is None else lines,
        invoice=invoice,
        **({"product": LABOUR, "entries": entries} | given),  # type: ignore[arg-type]
    )
    return labour_side(inputs, labour_lines(inputs))


def only(side: LabourSide) -> DiscrepancyBody:
    assert len(side.breaks) == 1, [one.body.code for one in side.breaks]
    return side.breaks[0].body


def test_approved_hours_beyond_those_billed() -> None:
    side = drawn(entry("T-1", 5, "2"), entry("T-2", 6, "1.5"), invoice=(billed("2"),))
    body = only(side)
    assert (body.code, body.direction, body.amount, body.quantity) == (
        Code.TIME_UNBILLED,
        "client_owes_us",
        D("180.00"),
        D("1.5"),
    )
    assert (body.standing, body.reached, side.breaks[0].side) == ("owed", "client_invoice", "client")
    assert side.breaks[0].key == ("labour", "psa", "C-1042", "9", "2026-10-01")
    assert body.why == "3.5 h are approved and billable, 2 h billed: EUR 180.00"
    assert side.broken == {KEY: D("-180.00")}


def test_a_quarter_of_an_hour_is_let_pass() -> None:
    assert drawn(entry("T-1", 5, "2.25"), invoice=(billed("2"),)).breaks == ()
    assert only(drawn(entry("T-1", 5, "2.27"), invoice=(billed("2"),))).quantity == D("0.27")
    wide = Settings(widths=(("tolerance.time.absolute", D(1)),))
    assert drawn(entry("T-1", 5, "3"), invoice=(billed("2"),), settings=wide).breaks == ()


def test_nothing_is_missing_before_the_month_is_invoiced() -> None:
    assert drawn(entry("T-1", 5, "2"), invoice=None).breaks == ()


def test_hours_billed_by_amount_alone_are_read_by_it() -> None:
    assert drawn(entry("T-1", 5, "2"), invoice=(billed("0", "240.00"),)).breaks == ()
    body = only(drawn(entry("T-1", 5, "2"), invoice=(billed("0", "180.00"),)))
    assert (body.amount, body.quantity) == (D("60.00"), D("0.5"))


def test_a_wrong_rate_on_the_hours_billed_is_not_times() -> None:
    body = only(drawn(entry("T-1", 5, "4"), invoice=(billed("2", "200.00"),)))
    assert (body.code, body.amount) == (Code.TIME_UNBILLED, D("240.00"))  # of 280.00 left; the rest is the price's


def test_an_entry_of_a_tool_without_ids_is_named_by_its_day() -> None:
    digest = "3b579f29cb14581b2266a8420ec6fd0f"
    side = drawn(entry(digest, 6, "1", approved=False))
    assert side.waiting is not None
    assert [one.what for one in side.waiting[KEY]] == ["1 h are not approved: 2026-10-06 (3b579f)"]
    steps = only(drawn(entry(digest, 6, "1"))).derivation
    assert not any(digest in step.formula for step in steps)


def test_what_is_not_billable_or_not_approved_is_not_missing_and_the_latter_waits() -> None:
    side = drawn(entry("T-1", 5, "2", billable=False), entry("T-2", 6, "1", approved=False))
    assert side.breaks == ()
    assert side.waiting is not None
    assert [(one.side, one.what) for one in side.waiting[KEY]] == [("approval", "1 h are not approved: T-2")]


def test_time_that_another_invoice_bills_is_explained() -> None:
    side = drawn(entry("T-1", 5, "2", invoice="INV-20977"), entry("T-2", 6, "1"), invoice=(billed("1"),))
    assert side.breaks == ()
    assert side.elsewhere is not None
    assert (side.elsewhere[KEY].amount, side.elsewhere[KEY].by) == (D("-240.00"), "billed on INV-20977")
    half = drawn(entry("T-1", 5, "2", invoice="INV-20977"), entry("T-2", 6, "1"))
    assert only(half).amount == D("120.00")


def test_entries_go_to_the_contract_that_they_name() -> None:
    inputs = group(
        lines=(agreed(), agreed("1", "C-2")),
        product=LABOUR,
        entries=(entry("T-1", 5, "2", contract="C-2"), entry("T-2", 6, "1", contract="C-1042"), entry("T-3", 7, "4")),
    )
    assert [(line.ref, line.hours, line.amount) for line in labour_lines(inputs)] == [
        ("C-1042 line 9", D(5), D("600.00")),
        ("C-2 line 1", D(2), D("240.00")),
    ]


def test_time_without_a_contract_has_hours_and_no_amount() -> None:
    side = drawn(entry("T-1", 5, "2"), lines=())
    body = only(side)
    assert (body.code, body.amount, body.quantity, body.standing) == (Code.TIME_UNBILLED, None, D(2), None)
    assert drawn(entry("T-1", 5, "2"), lines=(), invoice=(billed("2"),)).breaks == ()
    assert drawn(entry("T-1", 5, "2", invoice="INV-9"), lines=()).breaks == ()


# --- stale ---------------------------------------------------------------------------------------------------------
def test_unapproved_time_goes_stale_with_what_it_would_come_to() -> None:
    late = {"as_of": date(2026, 11, 5)}
    side = drawn(entry("T-1", 5, "2", approved=False), **late)
    body = only(side)
    assert (body.code, body.amount, body.quantity, side.breaks[0].side) == (
        Code.STALE_TIME,
        D("240.00"),
        D(2),
        "none",
    )
    assert body.why == "2 h not approved for more than 30 days, since 2026-10-05: T-1"
    assert drawn(entry("T-1", 6, "2", approved=False), **late).breaks == ()
    assert drawn(entry("T-1", 5, "2", approved=False), as_of=None).breaks == ()
    shorter = Settings(time_stale_days=29)
    assert only(drawn(entry("T-1", 6, "2", approved=False), **late, settings=shorter)).code is Code.STALE_TIME  # type: ignore[arg-type]


def test_approved_time_goes_stale_only_where_nothing_else_says_so() -> None:
    late = date(2026, 11, 20)
    halting = InvoiceState(incomplete=("INV-7: 3 of 12 lines",))
    side = drawn(entry("T-1", 5, "2"), invoice=None, invoices=halting, as_of=late)
    assert (only(side).code, only(side).amount) == (Code.STALE_TIME, None)
    # Not late before the invoice is due; UNBILLED_CLIENT without one; TIME_UNBILLED once it is here.
    assert drawn(entry("T-1", 1, "2"), invoice=None, invoices=halting, as_of=date(2026, 11, 5)).breaks == ()
    assert drawn(entry("T-1", 5, "2"), invoice=None, as_of=late).breaks == ()
    assert only(drawn(entry("T-1", 5, "2"), as_of=late)).code is Code.TIME_UNBILLED
    assert drawn(entry("T-1", 5, "2"), invoice=(billed("2"),), as_of=late).breaks == ()


# --- caps and blocks -----------------------------------------------------------------------------------------------
def test_hours_beyond_a_cap_are_lost() -> None:
    side = drawn(entry("T-1", 5, "6"), entry("T-2", 6, "3"), lines=(agreed(cap_hours=D(8)),), invoice=(billed("8"),))
    body = only(side)
    assert (body.code, body.amount, body.quantity, body.standing) == (Code.OVER_CAP, D("120.00"), D(1), "lost")
    assert (side.breaks[0].side, body.why) == ("none", "1 h beyond the cap of the contract: T-2")
    exact = drawn(entry("T-1", 5, "8"), lines=(agreed(cap_hours=D(8)),), invoice=(billed("8"),))
    assert exact.breaks == ()


def _block(hours: str, **rules: object) -> LineVersion:
    block = PrepaidBlock(block="B-1", start=date(2026, 10, 1), end=date(2026, 12, 1), hours=D(hours))
    return agreed(blocks=(block,), **rules)


def test_a_block_that_is_overdrawn_and_may_not_be() -> None:
    side = drawn(entry("T-1", 5, "9"), lines=(_block("8", overdraw="refuse"),))
    body = only(side)
    assert (body.code, body.amount, body.quantity, body.standing) == (
        Code.BLOCK_OVERDRAWN,
        D("120.00"),
        D(1),
        "at_risk",
    )
    assert drawn(entry("T-1", 5, "8"), lines=(_block("8", overdraw="refuse"),)).breaks == ()


def test_an_overdrawn_block_that_is_billed_is_time() -> None:
    assert only(drawn(entry("T-1", 5, "9"), lines=(_block("8"),))).code is Code.TIME_UNBILLED
    assert drawn(entry("T-1", 5, "9"), lines=(_block("8"),), invoice=(billed("1"),)).breaks == ()


# --- scope ---------------------------------------------------------------------------------------------------------
def test_a_work_type_that_the_contract_excludes() -> None:
    rule = WorkTypeRule(work_type="project", effect="excluded")
    side = drawn(entry("T-1", 5, "3", work_type="project"), entry("T-2", 6, "1"), lines=(agreed(work_types=(rule,)),),
                 invoice=(billed("1"),))  # fmt: skip
    body = only(side)
    assert (body.code, body.amount, body.quantity, side.breaks[0].side) == (Code.OUT_OF_SCOPE, None, D(3), "none")
    assert body.why == "3 h of project are excluded by C-1042 line 9: T-1"


def test_time_of_a_product_that_the_contract_excludes() -> None:
    terms = Terms(price=UnitPrice(kind="unit", unit_amount=D(0)), excluded=True)
    side = drawn(entry("T-1", 5, "3"), lines=(replace(unit_line(line="4"), terms=terms, product="labour"),))
    assert (only(side).code, only(side).contract_ref) == (Code.OUT_OF_SCOPE, "C-1042 line 4")


def test_order_never_matters_and_two_sources_may_have_one_id() -> None:
    entries = [entry("T-1", 5, "2"), entry("T-1", 5, "1", source="jira"), entry("T-2", 4, "0.5", approved=False)]
    late = date(2026, 12, 1)
    one = drawn(*entries, invoice=(billed("1"),), as_of=late)
    assert drawn(*reversed(entries), invoice=(billed("1"),), as_of=late) == one
    assert isinstance(only(drawn(entries[0])).amount, Decimal)
