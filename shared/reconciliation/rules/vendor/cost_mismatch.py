"""COST_MISMATCH: a vendor bills another cost than agreed, or other units than were used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from shared.events.discrepancies import Code, Direction, Reached, Side
from shared.kernel.money import money
from shared.reconciliation import words
from shared.reconciliation.bodies import body, step
from shared.reconciliation.rules.base import exceeds
from shared.reconciliation.rules.vendor.base import (
    ZERO,
    Agreed,
    Charge,
    VendorCase,
    VendorOutcome,
    due,
    unit_cost,
)
from shared.reconciliation.verdict import Break


def cost_mismatch(case: VendorCase) -> VendorOutcome:
    """Unit costs by (source, account, sku); then, of what is charged by use, units by product at the agreed cost."""
    found = [*_unit_costs(case), *_units(case)]
    gaps = case.gaps if any(_waits(case, product) for product in case.products) else ()
    return VendorOutcome(
        tuple(one for one, _ in found), gaps, tuple((one.body.currency or "", signed) for one, signed in found)
    )


def _direction(signed: Decimal) -> Direction:
    return Direction.VENDOR_OWES_US if signed > 0 else Direction.WE_OWE_VENDOR


def _unit_costs(case: VendorCase) -> list[tuple[Break, Decimal]]:
    groups: dict[tuple[tuple[str, str, str, str], str], list[tuple[Charge, Agreed]]] = defaultdict(list)
    for charge in case.charges:
        agreed = case.agreed_for(charge)
        if agreed is None or not charge.quantity:
            continue
        tolerance = case.frame["settings"].tolerance("cost", currency=charge.currency)
        difference = unit_cost(charge, agreed.cost) - Fraction(agreed.cost)
        if difference and exceeds(difference, agreed.cost, tolerance) and not _rounded(case, charge, agreed):
            groups[charge.key, charge.currency].append((charge, agreed))
    found = []
    for (key, currency), pairs in sorted(groups.items()):
        # Rounded once: costs keep all their decimals, and thousands of rows may differ by less than a cent each.
        signed = money(sum((Fraction(one.cost) - due(one, at.cost) for one, at in pairs), Fraction(0)), currency)
        if signed:
            found.append((_of_unit_cost(case, key, currency, pairs, signed), signed))
    return found


def _rounded(case: VendorCase, charge: Charge, agreed: Agreed) -> bool:
    """Whether a charge in whole minor units differs by no more than the rounding of a row (rating.md section 8:
    a cent, up or down): on fractions of a unit that is more than the widths of a unit's cost."""
    if money(charge.cost, charge.currency) != charge.cost:
        return False
    tolerance = case.frame["settings"].tolerance("rounding", currency=charge.currency)
    return abs(Fraction(charge.cost) - due(charge, agreed.cost)) <= tolerance.absolute


def _of_unit_cost(
    case: VendorCase,
    key: tuple[str, str, str, str],
    currency: str,
    pairs: Sequence[tuple[Charge, Agreed]],
    signed: Decimal,
) -> Break:
    product, source, account, sku = key
    quantity = sum((one.quantity for one, _ in pairs), ZERO)
    cost = sum((one.cost for one, _ in pairs), ZERO)
    right = sum((due(one, at.cost) for one, at in pairs), Fraction(0))
    first, agreed = pairs[0]
    each = unit_cost(first, agreed.cost)
    why = (
        f"{source} bills {words.price(each, currency)} a unit of {case.products[product].name}, "
        f"{words.price(agreed.cost, currency)} agreed ({agreed.ref}), for {words.quantity(quantity)} units"
        f"{_restated(case.of(product))}"
    )
    parts = " + ".join(words.quantity(one.cost) for one, _ in pairs)
    records = [one.record for one, _ in pairs]
    return Break(
        key,
        body(
            case.frame,
            Code.COST_MISMATCH,
            _direction(signed),
            reached=Reached.VENDOR_BILL,
            product=case.products[product],
            vendor=(source, account, sku),
            amount=abs(signed),
            currency=currency,
            cost=Side(
                quantity=words.field(quantity), unit_price=words.shown(each), amount=words.field(cost), ref=first.ref
            ),
            expected=Side(
                quantity=words.field(quantity), unit_price=agreed.cost, amount=money(right, currency), ref=agreed.ref
            ),
            tolerance=case.frame["settings"].tolerance("cost", currency=currency),
            why=why,
            steps=(
                step("charged", f"{parts} = {words.quantity(cost)}", cost, records),
                step(
                    "agreed",
                    f"{words.quantity(quantity)} x {words.price(agreed.cost, currency)}"
                    + ("" if right == quantity * agreed.cost else ", in proportion to the days charged"),
                    money(right, currency),
                    [agreed.record] if agreed.record else [],
                ),
                step("difference", f"{words.quantity(cost)} charged less what was agreed", abs(signed)),
            ),
        ),
        "vendor",
    )


def by_use(case: VendorCase, product: str) -> tuple[Charge, ...]:
    """The charges of a product that follow its use: none where licences were bought, or a meter counts assignments."""
    charges = case.of(product)
    if product in case.assigned or any(one.purchase for one in charges):
        return ()
    return charges


def _waits(case: VendorCase, product: str) -> bool:
    """Whether more units are charged than were seen, and some may not have been seen yet."""
    charges, used = by_use(case, product), case.used.get(product)
    return bool(charges and case.gaps and used is not None and case.units_of(charges, used) > used)


def units_compared(case: VendorCase, product: str) -> tuple[Decimal, Decimal, Agreed] | None:
    """(units charged, units used, agreed cost) where both are known and the difference may be concluded: the month is
    over, and what was not seen is not held against the vendor."""
    charges, used = by_use(case, product), case.used.get(product)
    agreed = case.agreed_for(charges[0]) if charges else None
    if used is None or agreed is None or not case.over or len({one.currency for one in charges}) > 1:
        return None
    units = case.units_of(charges, used)
    return None if not units or (units > used and case.gaps) else (units, used, agreed)


def _units(case: VendorCase) -> list[tuple[Break, Decimal]]:
    found = []
    for product in sorted(case.products):
        compared = units_compared(case, product)
        if compared is None:
            continue
        charges, (units, used, agreed) = by_use(case, product), compared
        tolerance = case.frame["settings"].tolerance("cost", currency=agreed.currency)
        # The widths are those of one unit: spread over the units charged.
        if units == used:
            continue
        right = sum((due(one, agreed.cost) for one in charges), Fraction(0))
        excess = right * (Fraction(units) - Fraction(used)) / Fraction(units)
        signed = money(excess, agreed.currency)
        if signed and exceeds(excess / Fraction(units), agreed.cost, tolerance):
            found.append((_of_units(case, product, charges, agreed, units, used, signed), signed))
    return found


def _of_units(
    case: VendorCase,
    product: str,
    charges: Sequence[Charge],
    agreed: Agreed,
    units: Decimal,
    used: Decimal,
    signed: Decimal,
) -> Break:
    currency, name = agreed.currency, case.products[product].name
    sources = " and ".join(sorted({one.source for one in charges}))
    cost = sum((one.cost for one in charges), ZERO)
    difference = f"{words.quantity(abs(units - used))} x {words.price(agreed.cost, currency)}"
    return Break(
        (product,),
        body(
            case.frame,
            Code.COST_MISMATCH,
            _direction(signed),
            reached=Reached.VENDOR_BILL,
            product=case.products[product],
            amount=abs(signed),
            currency=currency,
            quantity=abs(units - used),
            cost=Side(quantity=words.field(units), amount=words.field(cost), ref=words.more([c.ref for c in charges])),
            expected=Side(quantity=words.field(used), unit_price=agreed.cost, ref=agreed.ref),
            tolerance=case.frame["settings"].tolerance("cost", currency=currency),
            why=f"{sources} bills {words.quantity(units)} units of {name}, {words.quantity(used)} were used"
            f"{_restated(charges)}",
            steps=(
                step("charged", f"{words.quantity(units)} units", units, [one.record for one in charges]),
                step("used", f"{words.quantity(used)} units", used),
                step("difference", difference, abs(signed), rounding="half_up"),
            ),
        ),
        "vendor",
    )


def _restated(charges: Sequence[Charge]) -> str:
    """``; corrected for 14 and 15 October``: what the vendor changed afterwards."""
    days = sorted({one.period.start for one in charges if one.correction})
    if not days:
        return ""
    named = ", ".join(day.isoformat() for day in days[:3]) + (f" and {len(days) - 3} more" if len(days) > 3 else "")
    return f"; corrected afterwards for {named}"
