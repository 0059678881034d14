"""A statement adds up what its verdicts say, leaves nothing of them out, and says line by line what has changed."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import pairwise

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.events.discrepancies import Code, Direction, DiscrepancyBody, Reached, Step
from shared.kernel.canonical import canonical
from shared.reconciliation.statement import (
    Counts,
    GroupLines,
    Statement,
    Totals,
    diff,
    group_lines,
    read_group,
    read_statement,
    state_of,
    statement,
)
from shared.reconciliation.verdict import Break, LineState, State, StatementLine, VendorTotals, Verdict, Waiting
from tests.unit.reconciliation.given import OCTOBER, D

ZERO = D(0)


def line(
    n: int, expected: str = "10", billed: str = "10", *, state: LineState = LineState.MATCHED, **more: object
) -> StatementLine:
    difference = D(billed) - D(expected)
    part = {LineState.EXPLAINED: "explained", LineState.PENDING: "pending", LineState.BREAK: "broken"}.get(state)
    if part:
        more[part] = difference
    return StatementLine(
        ("contract", "psa", "C-1", str(n), "2026-10-01"),
        "edr",
        OCTOBER,
        state,
        currency=str(more.pop("currency", "EUR")),
        expected=D(expected),
        billed=D(billed),
        **more,  # type: ignore[arg-type]
    )


def verdict(*lines: StatementLine, **more: object) -> Verdict:
    return Verdict(State.MATCHED, lines=lines, **more)  # type: ignore[arg-type]


def broken(code: Code = Code.STALE_TIME, **more: object) -> Break:
    fields = {
        "code": code,
        "family": "STALE_TIME",
        "client": "northwind",
        "product": "labour",
        "direction": Direction.CLIENT_OWES_US,
        "reached": Reached.NOWHERE,
        "why": "2 h of 3 October are not approved",
    }
    return Break(("labour",), DiscrepancyBody(**(fields | more)), side="none")  # type: ignore[arg-type]


def drawn(**verdicts: Verdict | None) -> Statement:
    return statement("northwind", OCTOBER, verdicts)


# --- sums ------------------------------------------------------------------------------------------------------------
def test_the_sums_are_the_lines_by_currency_and_the_residual_is_zero() -> None:
    made = drawn(
        edr=verdict(line(1), line(2, "4.20", "3.80", state=LineState.BREAK, codes=(Code.QTY_UNDER,))),
        mail=verdict(line(1, "2", "2.01", state=LineState.EXPLAINED, by="rounding"), line(2, currency="USD")),
        labour=verdict(line(1, "38", "0", state=LineState.PENDING, by="hours invoice", until=date(2026, 11, 5))),
    )
    euro, dollar = made.totals
    assert (euro.expected, euro.billed) == (D("54.20"), D("15.81"))
    assert (euro.explained, euro.pending, euro.broken) == (D("0.01"), D("-38"), D("-0.40"))
    assert (dollar.currency, dollar.expected, dollar.broken) == ("USD", 10, 0)
    assert all(one.residual == 0 for one in made.totals)
    assert made.counts == Counts(5, 2, 1, 1, 1)
    assert (made.state, made.until) == ("break", date(2026, 11, 5))


def test_a_residual_that_is_not_zero_is_an_error_and_no_figure() -> None:
    with pytest.raises(ArithmeticError, match="not zero"):
        Totals("EUR", expected=D(10), billed=D(9))


def test_sums_of_many_digits_are_exact() -> None:
    amount = "0." + "1" * 37
    many = [replace(line(n), expected=D(amount), billed=D(amount)) for n in range(3)]
    assert drawn(edr=verdict(*many, line(9, "1" + "0" * 30, "1" + "0" * 30))).totals[0].expected == D(
        "1" + "0" * 30 + "." + "3" * 37
    )


def test_a_line_of_unknown_amount_is_listed_and_not_added_up() -> None:
    made = drawn(edr=verdict(replace(line(1), expected=None), line(2)))
    assert (made.totals[0].expected, made.counts.lines) == (10, 2)


def test_a_pending_line_counts_with_the_side_that_is_known() -> None:
    waits = replace(line(1), state=LineState.PENDING, by="no invoice of October 2026 yet")
    made = drawn(edr=verdict(replace(waits, billed=None)), mail=verdict(replace(waits, billed=None, expected=None)))
    assert made.totals == (Totals("EUR", expected=D(10), pending=D(-10)),)
    [stray] = drawn(edr=verdict(replace(waits, expected=None))).totals
    assert stray == Totals("EUR", billed=D(10), pending=D(10))


def test_what_vendors_billed_comes_from_their_side_else_from_the_lines() -> None:
    priced = replace(line(1), cost=D(6), cost_currency="USD")
    made = drawn(edr=verdict(priced, vendor=(VendorTotals("EUR", None, D(7)),)), mail=verdict(priced))
    assert [(one.currency, one.cost) for one in made.totals] == [("EUR", 7), ("USD", 6)]
    assert drawn(edr=verdict(line(1))).totals[0].cost is None


# --- nothing is left out ---------------------------------------------------------------------------------------------
def test_nothing_compared_says_so_and_is_never_settled() -> None:
    assert drawn().state == "nothing_compared"
    assert drawn(edr=None).state == "nothing_compared"
    waiting = Verdict(
        State.NOT_COMPARABLE, waiting=(Waiting("invoice", "no invoice of October 2026 yet", date(2026, 11, 6)),)
    )
    made = drawn(edr=waiting)
    assert (made.state, made.counts.pending, made.counts.compared) == ("pending", 1, 0)
    [only] = made.groups[0].lines
    assert (only.by, only.until) == ("no invoice of October 2026 yet", date(2026, 11, 6))
    assert state_of(drawn(edr=verdict(line(1))).counts) == "settled"


def test_a_break_of_neither_side_is_a_line_of_its_own() -> None:
    made = drawn(labour=replace(verdict(line(1)), state=State.BREAK, breaks=(broken(),)))
    assert (made.state, made.counts) == ("break", Counts(2, 1, 0, 0, 1))
    assert made.totals[0].broken == 0
    told = replace(line(1), state=LineState.BREAK, codes=(Code.STALE_TIME,))
    assert drawn(labour=replace(verdict(told), state=State.BREAK, breaks=(broken(),))).counts.lines == 1


def test_a_verdict_without_lines_is_one_line() -> None:
    plain = Verdict(
        State.MATCHED, expected=D(10), billed=D("10.01"), explained=D("0.01"), explained_by="rounding", currency="EUR"
    )
    [only] = drawn(edr=plain).groups[0].lines
    assert (only.state, only.explained, only.by) == (LineState.EXPLAINED, D("0.01"), "rounding")
    waits = replace(plain, state=State.NOT_COMPARABLE, explained_by="pending invoice lines")
    [only] = drawn(edr=waits).groups[0].lines
    assert (only.state, only.pending, only.explained) == (LineState.PENDING, D("0.01"), 0)


def test_that_the_client_has_no_invoice_concludes_what_its_groups_wait_for() -> None:
    unbilled = broken(Code.UNBILLED_CLIENT, product=None, amount=D(10), currency="EUR")
    level = Verdict(
        State.BREAK,
        breaks=(replace(unbilled, side="client"),),
        expected=D(10),
        billed=ZERO,
        broken=D(-10),
        currency="EUR",
    )
    waits = replace(line(1), state=LineState.PENDING, billed=None)
    made = drawn(**{"edr": verdict(waits), "*": level})
    assert made.totals == (Totals("EUR", expected=D(10), broken=D(-10)),)
    assert (made.counts, made.state) == (Counts(2, 0, 0, 1, 1), "break")


def test_two_lines_of_one_key_are_refused() -> None:
    with pytest.raises(ValueError, match="share a key"):
        GroupLines("edr", (line(1), line(1)))


# --- the document ----------------------------------------------------------------------------------------------------
STEPS = (Step(label="expected", formula="40 x 4.20", result=D("168.00")),)


def test_the_document_gives_the_statement_back_and_does_not_depend_on_order() -> None:
    rich = replace(line(2), steps=STEPS, codes=(Code.QTY_UNDER,), by="x", until=date(2026, 11, 5), cost=D("1.10"))
    vendor = (VendorTotals("USD", None, D(7)), VendorTotals("EUR", D(6), D(7), broken=D(1)))
    made = drawn(edr=verdict(rich, line(1), vendor=vendor), mail=verdict(line(1)))
    assert read_statement(made.document) == made
    again = drawn(mail=verdict(line(1)), edr=verdict(line(1), rich, vendor=vendor[::-1]))
    assert (again.document, again.digest) == (made.document, made.digest)
    assert len(made.digest) == 64


def test_a_document_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="this release reads 1"):
        read_statement(b'{"version":2}')


# --- what changed ----------------------------------------------------------------------------------------------------
def test_a_difference_names_the_fields_and_the_money() -> None:
    old = drawn(edr=verdict(line(1), line(2)), mail=verdict(line(1)))
    new = drawn(edr=verdict(replace(line(1, "10", "8", state=LineState.BREAK)), replace(line(2), steps=STEPS), line(3)))
    changed, evidence, added, removed = diff(old, new)
    assert (changed.kind, changed.fields, changed.by) == ("changed", ("state", "billed", "broken"), -2)
    assert evidence.fields == ("steps",)
    assert (added.kind, added.key[3], added.by) == ("added", "3", 0)
    assert (removed.kind, removed.item) == ("removed", "mail")
    assert diff(new, new) == ()


# --- over anything ---------------------------------------------------------------------------------------------------
CENTS = st.integers(-99_999, 99_999).map(lambda cents: D(cents) / 100)


@st.composite
def any_line(draw: st.DrawFn, n: int) -> StatementLine:
    expected, explained, pending, gone = (draw(CENTS) for _ in range(4))
    made = StatementLine(
        ("n", str(n)),
        draw(st.sampled_from(("edr", "mail"))),
        OCTOBER,
        draw(st.sampled_from(LineState)),
        currency=draw(st.sampled_from(("EUR", "USD"))),
        expected=expected,
        billed=expected + explained + pending + gone,
        explained=explained,
        pending=pending,
        broken=gone,
    )
    return replace(made, billed=None) if draw(st.integers(0, 5)) == 0 else made


@st.composite
def any_statement(draw: st.DrawFn) -> Statement:
    items = draw(st.lists(st.sampled_from(("*", "edr", "mail", "x")), unique=True))
    verdicts = {item: verdict(*(draw(any_line(n)) for n in range(draw(st.integers(0, 4))))) for item in items}
    return statement("northwind", OCTOBER, verdicts)


@settings(max_examples=100, deadline=None)
@given(any_statement(), any_statement())
def test_any_statement_adds_up_reads_back_and_changes_by_its_differences(old: Statement, new: Statement) -> None:
    for made in (old, new):
        assert read_statement(made.document) == made
        assert sum(made.counts[1:]) == made.counts.lines
        assert [group.item for group in made.groups] == sorted(group.item for group in made.groups)
        assert all(read_group(_through_json(group)) == group for group in made.groups)
    lines = {(group.item, one.key): one for group in old.groups for one in group.lines}
    for change in diff(old, new):
        if change.after is None:
            del lines[change.item, change.key]
        else:
            lines[change.item, change.key] = change.after
    assert lines == {(group.item, one.key): one for group in new.groups for one in group.lines}
    assert all(one < other for one, other in pairwise([(change.item, change.key) for change in diff(old, new)]))


def _through_json(group: GroupLines) -> dict[str, object]:
    said: dict[str, object] = orjson.loads(canonical(group.document()))
    return said


def test_a_verdict_of_nothing_has_no_lines() -> None:
    assert group_lines("edr", None, OCTOBER).counts == Counts()
