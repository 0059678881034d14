"""ASSIGNED_NE_PURCHASED: other licences are assigned in the tenant than were bought from the distributor.

No money is owed for it: bought licences stay until their term ends (rating.md section 8). The amount, where a cost is
known, is what a month of the difference costs; it belongs to no residual.
"""

from __future__ import annotations

from decimal import Decimal

from shared.events.discrepancies import Code, Direction, Reached, Side, Source, Standing
from shared.kernel.money import money
from shared.reconciliation import words
from shared.reconciliation.bodies import body, step
from shared.reconciliation.rules.base import exceeds
from shared.reconciliation.rules.vendor.base import VendorCase, VendorOutcome
from shared.reconciliation.verdict import Break


def assigned_ne_purchased(case: VendorCase) -> VendorOutcome:
    """By product: what is assigned, else what is used, against what the vendors' bills charge."""
    breaks, waits = [], False
    for product in sorted(case.products):
        charges = case.of(product)
        if not charges or not case.over:
            continue
        counted, sample = case.assigned.get(product, (None, ()))
        if counted is None and any(one.purchase for one in charges):
            counted = case.used.get(product)
        if counted is None:
            continue
        bought = case.bought(product)
        purchased = case.units_of(charges, counted) if bought is None else bought
        tolerance = case.frame["settings"].tolerance("quantity", unit=case.products[product].unit)
        if not exceeds(purchased - counted, counted, tolerance):
            continue
        if purchased > counted and case.gaps:
            waits = True  # who is assigned may not have been seen yet
            continue
        breaks.append(_break(case, product, purchased, counted, tuple(s for m in sample for s in m.sample)))
    return VendorOutcome(tuple(breaks), case.gaps if waits else ())


def _break(case: VendorCase, product: str, purchased: Decimal, assigned: Decimal, sources: tuple[Source, ...]) -> Break:
    charges, what = case.of(product), case.products[product]
    agreed = case.agreed_for(charges[0])
    difference = abs(purchased - assigned)
    amount = None if agreed is None else money(difference * agreed.cost, agreed.currency)
    word = "assigned" if product in case.assigned else "used"
    vendors = " and ".join(sorted({one.source for one in charges}))
    figures = f"{words.quantity(purchased)} of {what.name} bought from {vendors}, {words.quantity(assigned)} {word}"
    return Break(
        (product,),
        body(
            case.frame,
            Code.ASSIGNED_NE_PURCHASED,
            Direction.VENDOR_OWES_US if purchased > assigned else Direction.WE_OWE_VENDOR,
            reached=Reached.VENDOR_BILL,
            product=what,
            amount=amount,
            currency=agreed.currency if agreed else None,
            quantity=difference,
            cost=Side(quantity=words.field(purchased), ref=words.more([one.ref for one in charges])),
            expected=Side(quantity=words.field(assigned)),
            tolerance=case.frame["settings"].tolerance("quantity", unit=what.unit),
            # Nobody pays back a bought licence: the next bill repeats it.
            kind=Standing.AT_RISK,
            why=figures,
            steps=(
                step("bought", f"{words.quantity(purchased)} units", purchased, [one.record for one in charges]),
                step(word, f"{words.quantity(assigned)} units", assigned, sources),
                *(
                    [
                        step(
                            "difference",
                            f"{words.quantity(difference)} x {words.price(agreed.cost, agreed.currency)}",
                            amount,
                        )
                    ]
                    if agreed is not None and amount is not None
                    else []
                ),
            ),
        ),
        "none",
    )
