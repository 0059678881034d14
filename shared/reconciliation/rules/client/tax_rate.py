"""TAX, the rate: an invoice line is taxed at another rate than its contract line agrees on.

Drawn with the group, where the contract lines are at hand; the arithmetic of the whole document is the client level's.
"""

from __future__ import annotations

from decimal import Decimal

from shared.events.discrepancies import Code, Direction, Reached, Tolerance
from shared.kernel.money import money
from shared.reconciliation import words
from shared.reconciliation.bodies import Frame, body, step
from shared.reconciliation.chains import Chain, chains
from shared.reconciliation.exact import exact
from shared.reconciliation.inputs import GroupInputs, InvoiceLineFacts
from shared.reconciliation.verdict import Break

_RATE = Tolerance(name="exact", absolute=Decimal(0), relative_pct=Decimal(0))


@exact
def tax_rates(inputs: GroupInputs) -> tuple[Break, ...]:
    """By invoice line whose service period starts in the month: its rate against that of the contract line that it
    names, else of its product's lines if they agree on one. Lines without a rate, or without an agreed one, are passed
    by. A tax is no part of what is billed for the service: the breaks belong to no residual."""
    if not any(line.tax_pct is not None for line in inputs.invoice_lines):
        return ()
    agreed = [one for one in chains(inputs.lines, inputs.client.time_zone) if one.sells]
    found = []
    for line in sorted(inputs.invoice_lines, key=lambda one: (one.source, one.invoice, one.line)):
        if line.tax_pct is None or not inputs.period.contains(line.period.start):
            continue
        right = _rate(agreed, line, line.product or inputs.product.id)
        if right is None:
            continue
        rate, chain = right
        amount = money(abs(line.amount * (line.tax_pct - rate) / 100), line.currency)
        if amount:
            found.append(_break(inputs, line, chain, rate, amount))
    return tuple(found)


def _rate(agreed: list[Chain], line: InvoiceLineFacts, product: str) -> tuple[Decimal, Chain] | None:
    named = [one for one in agreed if (one.contract, one.line) == (line.contract, line.contract_line)]
    rates: dict[Decimal | None, Chain] = {}
    for chain in named or [one for one in agreed if one.product == product]:
        for held in chain.within(line.period.start, line.period.end):
            if held.version.terms is not None:
                rates.setdefault(held.version.terms.tax_pct, chain)
    if len(rates) != 1:
        return None
    rate, chain = next(iter(rates.items()))
    return None if rate is None else (rate, chain)


def _break(inputs: GroupInputs, line: InvoiceLineFacts, chain: Chain, rate: Decimal, amount: Decimal) -> Break:
    assert line.tax_pct is not None
    products = {one.id: one for one in (inputs.product, *inputs.others)}
    product = products.get(line.product, inputs.product)
    figures = f"{words.quantity(line.tax_pct)} % of tax on {words.price(line.amount, line.currency)}"
    # On a credit note too high a rate gives back too much.
    too_much = (line.tax_pct > rate) == (line.amount > 0)
    return Break(
        (product.id, line.source, line.invoice, line.line),
        body(
            Frame(client=inputs.client, period=inputs.period, as_of=inputs.as_of, settings=inputs.settings),
            Code.TAX,
            Direction.WE_OWE_CLIENT if too_much else Direction.CLIENT_OWES_US,
            reached=Reached.CLIENT_INVOICE,
            product=product,
            amount=amount,
            currency=line.currency,
            tolerance=_RATE,
            contract_ref=chain.ref,
            why=f"{line.invoice} line {line.line}: {figures}, {words.quantity(rate)} % agreed ({chain.ref})",
            steps=(
                step("billed", figures, line.tax_pct, [line.record]),
                step("agreed", f"{words.quantity(rate)} %", rate, [chain.holdings[-1].version.record]),
                step("difference", figures + f" less {words.quantity(rate)} %", amount, rounding="half_up"),
            ),
        ),
        "none",
    )
