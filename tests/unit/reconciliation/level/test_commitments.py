"""Commitments over several contract lines, at the client's level."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from shared.events.contracts import BillingPeriod, FlatPrice, Scope, Terms
from shared.events.discrepancies import Code
from shared.reconciliation.client_level import draw_client
from shared.reconciliation.inputs import (
    ClientInputs,
    GroupTotal,
    InvoiceLineFacts,
    InvoiceState,
    LineVersion,
    ScopeTotal,
)
from shared.reconciliation.verdict import LineState, State, Verdict
from tests.unit.reconciliation.given import (
    CLIENT,
    INVOICED,
    MID_MONTH,
    MONTH_OVER,
    OCTOBER,
    OVERDUE,
    D,
    only_break,
    posted,
    sides,
    unit_line,
)

SCOPE = Scope(products=("edr", "backup"))


def commitment(
    *, minimum: str | None = "500", maximum: str | None = None, fee: str = "0", scope: Scope = SCOPE, **changes: object
) -> LineVersion:
    terms = Terms(
        price=FlatPrice(kind="flat", amount=D(fee)),
        minimum_amount=None if minimum is None else D(minimum),
        maximum_amount=None if maximum is None else D(maximum),
        scope=scope,
    )
    return replace(unit_line(line="9"), terms=terms, product="commit", **changes)


def total(product: str, amount: str | None, *, contract: str = "C-1042", currency: str = "EUR") -> GroupTotal:
    value = None if amount is None else D(amount)
    scope = () if value is None else (ScopeTotal("psa", contract, "3", product, value, currency),)
    return GroupTotal(product, value, currency, False, scope=scope)


def drawn(
    *groups: GroupTotal,
    terms: LineVersion | None = None,
    billed: tuple[InvoiceLineFacts, ...] = (),
    invoices: InvoiceState = INVOICED,
    as_of: date | None = MONTH_OVER,
    **changes: object,
) -> Verdict:
    inputs = ClientInputs(CLIENT, OCTOBER, as_of, groups, invoices)
    inputs = replace(inputs, commitments=(terms or commitment(),), commitment_lines=billed)
    verdict = draw_client(replace(inputs, **changes))  # type: ignore[arg-type]
    assert verdict is not None
    return verdict


USED = (total("edr", "210.00"), total("backup", "95.50"))


def true_up(amount: str, **changes: object) -> InvoiceLineFacts:
    return posted("1", amount, amount, line="20", product="commit", **changes)


def test_a_true_up_that_is_not_billed() -> None:
    verdict = drawn(*USED)
    body = only_break(verdict)
    assert (body.code, body.direction, body.amount) == (Code.MIN_COMMIT, "client_owes_us", D("194.50"))
    assert (body.standing, body.contract_ref, verdict.breaks[0].side) == ("owed", "C-1042 line 9", "client")
    line = verdict.lines[0]
    assert line.key == ("commitment", "psa", "C-1042", "9", "2026-10-01")
    assert (line.expected, line.billed, line.broken, line.state) == (D("194.50"), D(0), D("-194.50"), LineState.BREAK)
    assert (verdict.expected, verdict.billed, verdict.broken) == (D("194.50"), D(0), D("-194.50"))


def test_a_true_up_that_is_billed_is_matched_and_one_that_is_too_high_is_given_back() -> None:
    assert drawn(*USED, billed=(true_up("194.50"),)).state is State.MATCHED
    body = only_break(drawn(*USED, billed=(true_up("200.00"),)))
    assert (body.direction, body.amount) == ("we_owe_client", D("5.50"))


def test_a_cent_for_each_rounded_line_is_rounding() -> None:
    verdict = drawn(*USED, billed=(true_up("194.53"),))
    assert (verdict.state, verdict.lines[0].state, verdict.lines[0].by) == (
        State.MATCHED,
        LineState.EXPLAINED,
        "rounding",
    )
    assert only_break(drawn(*USED, billed=(true_up("194.54"),))).amount == D("0.04")


def test_use_beyond_the_minimum_leaves_nothing_due() -> None:
    verdict = drawn(total("edr", "610.00"))
    assert (verdict.state, verdict.lines[0].state, verdict.expected) == (State.MATCHED, LineState.MATCHED, D(0))
    assert only_break(drawn(total("edr", "610.00"), billed=(true_up("10.00"),))).direction == "we_owe_client"


def test_a_maximum_is_a_discount() -> None:
    capped = commitment(minimum=None, maximum="250")
    body = only_break(drawn(*USED, terms=capped))
    assert (body.code, body.direction, body.amount) == (Code.MIN_COMMIT, "we_owe_client", D("55.50"))
    assert drawn(*USED, terms=capped, billed=(true_up("-55.50"),)).state is State.MATCHED


def test_only_what_its_scope_names_counts() -> None:
    others = (*USED, total("voice", "400.00", contract="C-2"))
    assert only_break(drawn(*others)).amount == D("194.50")
    whole = commitment(scope=Scope(contract=True))
    assert only_break(drawn(*others, terms=whole)).amount == D("194.50")
    assert drawn(*USED, total("voice", "400.00"), terms=whole).expected == D(0)


def test_a_fee_of_its_own_that_no_line_bills_is_a_missing_line() -> None:
    body = only_break(drawn(total("edr", "610.00"), terms=commitment(fee="40")))
    assert (body.code, body.amount) == (Code.MISSING_LINE, D("40.00"))


def test_a_part_of_a_month_commits_to_its_share() -> None:
    late = commitment(effective_from=date(2026, 10, 11))  # 21 of 31 days: 338.71
    assert only_break(drawn(*USED, terms=late)).amount == D("33.21")


def test_it_waits_for_the_invoice_and_for_the_months_end() -> None:
    waits = drawn(*USED, invoices=InvoiceState())
    assert (waits.state, sides(waits), waits.lines[0].pending) == (State.NOT_COMPARABLE, ["invoice"], D("-194.50"))
    running = drawn(*USED, as_of=MID_MONTH)
    assert (running.state, sides(running), running.next_change) == (
        State.NOT_COMPARABLE,
        ["usage_complete"],
        date(2026, 11, 1),
    )


def test_what_is_not_known_or_of_another_currency_is_waited_for() -> None:
    for group in (total("edr", None), total("edr", "210.00", currency="USD")):
        verdict = drawn(group)
        assert (verdict.state, sides(verdict), verdict.lines[0].expected) == (State.NOT_COMPARABLE, ["price"], None)
    quarterly = commitment()
    assert quarterly.terms is not None
    terms = quarterly.terms.model_copy(update={"period": BillingPeriod(unit="quarter", anchor=date(2026, 10, 1))})
    assert sides(drawn(*USED, terms=replace(quarterly, terms=terms))) == ["terms"]


def test_a_client_without_an_invoice_owes_the_true_up_too() -> None:
    owed = tuple(replace(one, owed=True) for one in USED)
    verdict = drawn(*owed, invoices=InvoiceState(), as_of=OVERDUE)
    body = only_break(verdict)
    assert (body.code, body.amount) == (Code.UNBILLED_CLIENT, D("500.00"))
    assert [line.state for line in verdict.lines] == [LineState.PENDING]


def test_months_that_have_not_begun_or_were_never_loaded_are_not_spoken_of() -> None:
    inputs = ClientInputs(CLIENT, OCTOBER, date(2026, 9, 30), (), InvoiceState(), commitments=(commitment(),))
    assert draw_client(inputs) is None
    assert draw_client(replace(inputs, as_of=MONTH_OVER, opens=date(2026, 11, 1))) is None


def test_figures_beyond_a_record_wait() -> None:
    verdict = drawn(*USED, billed=(true_up("10000000000000000000"),))
    assert (verdict.state, sides(verdict), verdict.lines[0].expected) == (State.NOT_COMPARABLE, ["terms"], None)


def test_order_never_matters() -> None:
    second = commitment(minimum="50", scope=Scope(products=("backup",)))
    both = (commitment(), replace(second, line="8"))
    groups = (*USED, total("voice", "1.00"))
    one = drawn(*groups, commitments=both, billed=(true_up("194.50"),))
    again = drawn(*reversed(groups), commitments=tuple(reversed(both)), billed=(true_up("194.50"),))
    assert one == again
