"""MARGIN_FLOOR: what the client is billed leaves less than the agreed margin over the vendors' cost, or less than
nothing. Nobody owes it: it is lost at the price that was agreed."""

from __future__ import annotations

from decimal import Decimal

from shared.events.discrepancies import Code, Direction, Reached, Side, Tolerance
from shared.kernel.money import money
from shared.reconciliation import words
from shared.reconciliation.bodies import body, step
from shared.reconciliation.rules.vendor.base import ZERO, VendorCase, VendorOutcome
from shared.reconciliation.verdict import Break, Waiting


def margin_floor(case: VendorCase, disputed: Decimal) -> VendorOutcome:
    """Over all products of the group together: a bundle has one price. Costs of another currency are not compared.

    ``disputed`` is what COST_MISMATCH holds of the cost: the vendor gives that back, so it is not lost.
    """
    costs = case.costs
    if case.billed is None or not costs or case.billed[0] <= 0:
        return VendorOutcome()
    revenue, currency = case.billed
    others = sorted({one.currency for one in costs} - {currency})
    if others:
        what = f"billed in {currency}, charged in {' and '.join(others)}"
        return VendorOutcome(waiting=(Waiting("price", what, None),) if case.floor_pct is not None else ())
    cost = sum((one.cost for one in costs), ZERO) - disputed
    floor = case.floor_pct or ZERO
    short = money(cost + revenue * floor.scaleb(-2) - revenue, currency)
    if short <= 0:
        return VendorOutcome()
    if case.gaps and case.used:
        return VendorOutcome(waiting=case.gaps)  # usage that is still to come is billed too
    return VendorOutcome((_break(case, revenue, cost, floor, short, disputed),))


def _break(
    case: VendorCase, revenue: Decimal, cost: Decimal, floor: Decimal, short: Decimal, disputed: Decimal
) -> Break:
    assert case.billed is not None
    margin, currency = revenue - cost, case.billed[1]
    billed, charged = words.price(revenue, currency), words.price(cost, currency)
    least = f", less than the {words.quantity(floor)} % agreed" if floor and margin >= 0 else ""
    told = "sold below cost" if margin < 0 else f"margin {words.price(margin, currency)}"
    formula = f"{charged} + {billed} x {words.quantity(floor)} % - {billed}" if floor else f"{charged} - {billed}"
    owed = f" (without {words.price(abs(disputed), currency)} in dispute)" if disputed else ""
    return Break(
        (case.lead.id,),
        body(
            case.frame,
            Code.MARGIN_FLOOR,
            Direction.CLIENT_OWES_US,
            reached=Reached.CLIENT_INVOICE,
            product=case.lead,
            amount=short,
            currency=currency,
            cost=Side(amount=words.field(cost)),
            billed=Side(amount=revenue),
            tolerance=Tolerance(name="margin_floor", absolute=ZERO, relative_pct=floor),
            lost=True,
            why=f"{currency} {billed} billed, {charged} charged by vendors{owed}: {told}{least}",
            steps=(
                step("billed", billed, revenue),
                step("charged", charged, cost, [one.record for one in case.costs]),
                step("short of the floor", formula, short, rounding="half_up"),
            ),
        ),
        "none",
    )
