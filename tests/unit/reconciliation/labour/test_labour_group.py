"""The labour of a group as a verdict: lines with a residual of zero, and one verdict with the rest of the group."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.events.contracts import BillingPeriod
from shared.events.discrepancies import Code
from shared.reconciliation.exact import exact
from shared.reconciliation.inputs import GroupInputs, InvoiceLineFacts, InvoiceState, LineVersion, TimeEntry
from shared.reconciliation.labour_group import draw_labour, with_labour
from shared.reconciliation.verdict import LineState, State, Verdict
from tests.unit.reconciliation.given import INVOICED, D, group, only_break, posted, sides, unit_line
from tests.unit.reconciliation.labour.test_labour_side import KEY, LABOUR, agreed, billed, entry


def hours(
    *entries: TimeEntry,
    lines: tuple[LineVersion, ...] | None = None,
    invoice: tuple[InvoiceLineFacts, ...] | None = (),
    **changes: object,
) -> GroupInputs:
    given = {"product": LABOUR, "entries": entries} | changes
    return group(lines=(agreed(),) if lines is None else lines, invoice=invoice, **given)  # type: ignore[arg-type]


def drawn(*entries: TimeEntry, **changes: object) -> Verdict:
    verdict = draw_labour(hours(*entries, **changes)).verdict  # type: ignore[arg-type]
    assert verdict is not None
    return verdict


def test_hours_that_are_billed_are_matched() -> None:
    verdict = drawn(entry("T-1", 5, "2"), invoice=(billed("2"),))
    (line,) = verdict.lines
    assert (verdict.state, line.state, line.key, line.contract_ref) == (
        State.MATCHED,
        LineState.MATCHED,
        KEY,
        "C-1042 line 9",
    )
    assert (line.expected, line.billed, line.quantity_expected, line.price_expected) == (
        D("240.00"),
        D("240.00"),
        D(2),
        D("120.00"),
    )


def test_time_unbilled_is_part_of_billed_less_expected() -> None:
    verdict = drawn(entry("T-1", 5, "3.5"), invoice=(billed("2"),))
    assert only_break(verdict).amount == D("180.00")
    assert (verdict.expected, verdict.billed, verdict.broken) == (D("420.00"), D("240.00"), D("-180.00"))
    assert verdict.lines[0].codes == (Code.TIME_UNBILLED,)


def test_what_is_let_pass_is_named() -> None:
    verdict = drawn(entry("T-1", 5, "2.25"), invoice=(billed("2"),))
    assert (verdict.state, verdict.lines[0].state, verdict.lines[0].by) == (
        State.MATCHED,
        LineState.EXPLAINED,
        "tolerance time",
    )
    assert verdict.explained == D("-30.00")


def test_more_hours_billed_than_worked_and_another_price() -> None:
    over = only_break(drawn(entry("T-1", 5, "2"), invoice=(billed("3"),)))
    assert (over.code, over.direction, over.amount, over.quantity) == (Code.QTY_OVER, "we_owe_client", D("120.00"), 1)
    dear = only_break(drawn(entry("T-1", 5, "2"), invoice=(billed("2", "250.00"),)))
    assert (dear.code, dear.direction, dear.amount) == (Code.PRICE_MISMATCH, "we_owe_client", D("10.00"))
    both = drawn(entry("T-1", 5, "2"), invoice=(billed("3", "390.00"),))
    assert {one.body.code: one.body.amount for one in both.breaks} == {
        Code.QTY_OVER: D("120.00"),
        Code.PRICE_MISMATCH: D("30.00"),
    }
    assert both.broken == D("150.00")


def test_hours_that_wait_for_approval_may_be_those_that_are_billed() -> None:
    verdict = drawn(entry("T-1", 5, "2"), entry("T-2", 6, "1", approved=False), invoice=(billed("3"),))
    assert (verdict.state, sides(verdict), verdict.lines[0].pending) == (
        State.NOT_COMPARABLE,
        ["approval"],
        D("120.00"),
    )


def test_without_an_invoice_the_hours_wait_and_are_owed() -> None:
    verdict = drawn(entry("T-1", 5, "2"), invoice=None)
    assert (verdict.state, sides(verdict), verdict.owed) == (State.NOT_COMPARABLE, ["invoice"], True)
    assert (verdict.expected, verdict.billed, verdict.lines[0].state) == (D("240.00"), None, LineState.PENDING)
    assert (verdict.next_change, verdict.lines[0].until) == (date(2026, 11, 5), date(2026, 11, 6))
    coming = InvoiceState(complete=1, incomplete=("INV-7: 3 of 12 lines",), coming=("INV-7: 3 of 12 lines",))
    assert sides(drawn(entry("T-1", 5, "2"), invoices=coming)) == ["invoice_lines"]


def test_a_line_for_hours_that_nobody_worked() -> None:
    later = replace(agreed(), effective_from=date(2026, 11, 1))
    other = entry("T-1", 5, "1", billable=False)
    phantom = only_break(drawn(other, lines=(later,), invoice=(billed("2"),)))
    assert (phantom.code, phantom.amount, phantom.direction) == (Code.PHANTOM_LINE, D("240.00"), "we_owe_client")
    unloaded = drawn(lines=(later,), invoice=(billed("2"),))
    assert (unloaded.state, sides(unloaded), unloaded.lines[0].pending) == (
        State.NOT_COMPARABLE,
        ["time"],
        D("240.00"),
    )
    assert draw_labour(hours(lines=(), invoice=(billed("2"),))).verdict is None  # no time, no contract: not labour's
    untold = drawn(invoice=(billed("2"),))
    assert (untold.state, sides(untold)) == (State.NOT_COMPARABLE, ["time"])
    assert untold.lines[0].by == "pending time; no time entries of October 2026 are here"
    unworked = only_break(drawn(other, invoice=(billed("2"),)))
    assert (unworked.code, unworked.amount) == (Code.QTY_OVER, D("240.00"))


def test_time_without_a_contract_has_the_invoices_price() -> None:
    verdict = drawn(entry("T-1", 5, "3"), lines=(), invoice=(billed("2"),))
    body = only_break(verdict)
    assert (body.code, body.amount, verdict.expected) == (Code.TIME_UNBILLED, D("120.00"), D("360.00"))
    unpriced = drawn(entry("T-1", 5, "3"), lines=())
    assert (only_break(unpriced).amount, unpriced.lines[0].expected, unpriced.lines[0].state) == (
        None,
        None,
        LineState.BREAK,
    )


def test_time_outside_the_terms_of_its_line_is_not_lost() -> None:
    ended = replace(agreed(), effective_to=date(2026, 10, 5))
    verdict = drawn(entry("T-1", 5, "2"), lines=(ended,))
    assert (only_break(verdict).amount, only_break(verdict).quantity) == (None, D(2))


def test_hours_that_are_billed_by_the_quarter_wait() -> None:
    quarter = agreed()
    assert quarter.terms is not None
    period = BillingPeriod(unit="quarter", anchor=date(2026, 10, 1))
    lines = (replace(quarter, terms=quarter.terms.model_copy(update={"period": period})),)
    assert sides(drawn(entry("T-1", 5, "3"), lines=lines)) == ["partial_period"]


def test_lines_of_other_products_are_left_to_the_group() -> None:
    seats = posted("10", "4.20", product="edr")
    found = draw_labour(hours(entry("T-1", 5, "2"), invoice=(seats, billed("2", line="8"))))
    assert found.rest == (seats,)
    lines = (agreed(), replace(unit_line(), product="labour"))
    invoice = (billed("2", contract="C-1042", contract_line="9"), billed("2", line="8"))
    mixed = draw_labour(hours(entry("T-1", 5, "2"), lines=lines, invoice=invoice))
    assert [one.line for one in mixed.rest] == ["8"]


def test_nothing_to_compare_says_nothing() -> None:
    assert draw_labour(hours()).verdict is None
    assert draw_labour(hours(entry("T-1", 5, "2", billable=False), lines=())).verdict is None


def test_one_verdict_with_the_rest_of_the_group() -> None:
    time = draw_labour(hours(entry("T-1", 5, "3.5"), invoice=(billed("2"),)))
    seats = Verdict(State.MATCHED, expected=D("42.00"), billed=D("42.00"), currency="EUR", owed=True)
    merged = with_labour(seats, time)
    assert merged is not None
    assert (merged.state, merged.expected, merged.billed, merged.broken, merged.owed) == (
        State.BREAK,
        D("462.00"),
        D("282.00"),
        D("-180.00"),
        True,
    )
    dollars = with_labour(replace(seats, currency="USD"), time)
    assert dollars is not None
    assert (dollars.expected, dollars.currency, len(dollars.breaks)) == (None, None, 1)
    assert with_labour(None, time) == time.verdict
    assert with_labour(seats, draw_labour(hours())) == seats


def test_figures_beyond_a_record_wait() -> None:
    endless = replace(entry("T-1", 5, "1"), minutes=D(10) ** 19)
    verdict = drawn(endless, invoice=(billed("2"),))
    assert (verdict.state, sides(verdict), verdict.lines) == (State.NOT_COMPARABLE, ["terms"], ())


def test_hours_credited_and_never_billed() -> None:
    verdict = drawn(invoice=(billed("-2", "-240.00", kind="credit_note"),))
    assert (only_break(verdict).direction, only_break(verdict).amount) == ("client_owes_us", D("240.00"))


quarters = st.integers(1, 20).map(lambda n: str(Decimal(n) / 4))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 31), quarters, st.booleans(), st.booleans()), max_size=4),
    st.lists(st.tuples(quarters, st.sampled_from(["100", "120", "125.55"])), max_size=3),
    st.booleans(),
)
def test_every_line_has_a_residual_of_zero_whatever_the_order(
    worked: list[tuple[int, str, bool, bool]], lines: list[tuple[str, str]], contract: bool
) -> None:
    entries = [entry(f"T-{n}", *one[:2], approved=one[2], billable=one[3]) for n, one in enumerate(worked)]
    facts = [posted(units, price, product="labour", line=f"{n}") for n, (units, price) in enumerate(lines)]
    inputs = hours(*entries, lines=(agreed(),) if contract else (), invoice=tuple(facts), as_of=date(2026, 11, 20))
    found = draw_labour(inputs)
    flipped = replace(inputs, entries=tuple(reversed(entries)), invoice_lines=tuple(reversed(facts)))
    assert draw_labour(flipped).verdict == found.verdict
    if found.verdict is not None:
        _adds_up(found.verdict, facts)


@exact
def _adds_up(verdict: Verdict, facts: list[InvoiceLineFacts]) -> None:
    billed_lines = [line.billed for line in verdict.lines if line.billed is not None]
    assert sum(billed_lines) == sum(fact.amount for fact in facts)
    known = [line for line in verdict.lines if line.expected is not None and line.billed is not None]
    if known:
        assert verdict.broken == sum(line.broken for line in known)
        assert verdict.expected == sum(line.expected or 0 for line in known)
    assert INVOICED.complete
