"""TAX, the rate: what the contract agrees on against what the invoice line says."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from shared.events.contracts import Terms, UnitPrice
from shared.events.discrepancies import Code
from shared.kernel.periods import Period
from shared.reconciliation.inputs import InvoiceLineFacts, LineVersion
from shared.reconciliation.rules.client.tax_rate import tax_rates
from shared.reconciliation.verdict import Break
from tests.unit.reconciliation.given import D, credit, group, posted, unit_line


def agreed(pct: str | None, line: str = "3") -> LineVersion:
    terms = Terms(price=UnitPrice(kind="unit", unit_amount=D("4.20")), tax_pct=None if pct is None else D(pct))
    return replace(unit_line(line=line), terms=terms, product="edr")


def taxed(pct: str | None, **changes: object) -> InvoiceLineFacts:
    return posted("10", "4.20", product="edr", tax_pct=None if pct is None else D(pct), **changes)


def drawn(*lines: InvoiceLineFacts, terms: tuple[LineVersion, ...] = (agreed("7"),)) -> tuple[Break, ...]:
    return tax_rates(group(lines=terms, invoice=lines))


def test_another_rate_than_agreed() -> None:
    (found,) = drawn(taxed("19"))
    body = found.body
    assert (body.code, body.direction, body.amount) == (Code.TAX, "we_owe_client", D("5.04"))
    assert (found.side, found.key, body.contract_ref) == ("none", ("edr", "psa", "INV-20931", "7"), "C-1042 line 3")
    assert body.why == "INV-20931 line 7: 19 % of tax on 42.00, 7 % agreed (C-1042 line 3)"
    assert drawn(taxed("0"))[0].body.direction == "client_owes_us"
    assert drawn(replace(credit("-42.00", product="edr"), tax_pct=D(19)))[0].body.direction == "client_owes_us"


def test_the_agreed_rate_and_what_says_no_rate_are_passed_by() -> None:
    assert drawn(taxed("7")) == drawn(taxed("7.001")) == ()  # less than a cent on this line
    assert drawn(taxed(None)) == drawn(taxed("19"), terms=(agreed(None),)) == ()
    later = Period(date(2026, 9, 1), date(2026, 11, 1))
    assert drawn(taxed("19", period=later)) == ()


def test_the_line_that_is_named_decides_and_lines_that_differ_do_not() -> None:
    two = (agreed("7"), agreed("19", "4"))
    assert drawn(taxed("19"), terms=two) == ()
    assert drawn(taxed("19", contract="C-1042", contract_line="3"), terms=two)[0].body.amount == D("5.04")
    assert drawn(taxed("19", contract="C-1042", contract_line="4"), terms=two) == ()
