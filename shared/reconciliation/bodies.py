"""How the body of a discrepancy is made where no two sides of a client's group are set against each other: of
vendors, of labour, of a client's level, of feeds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TypedDict

from shared.events.discrepancies import (
    Code,
    Direction,
    DiscrepancyBody,
    Reached,
    Side,
    Source,
    Span,
    Standing,
    Step,
    Tolerance,
)
from shared.kernel.periods import Period
from shared.reconciliation import words
from shared.reconciliation.case import deadline
from shared.reconciliation.inputs import Client, Product
from shared.reconciliation.remedies import remedy
from shared.reconciliation.settings import Settings
from shared.reconciliation.verdict import FAMILIES, Waiting
from shared.reconciliation.views import sample

DIGITS = Waiting("terms", "a figure has more digits than a record can hold", None)
_TOO_LARGE = 10**19
"""A record's decimal holds 20 whole digits; the difference of two figures below this one fits."""


def sayable(*figures: Decimal | Fraction | None) -> bool:
    """Whether a record can hold these figures; else what they are part of waits (:data:`DIGITS`)."""
    return all(one is None or -_TOO_LARGE < one < _TOO_LARGE for one in figures)


class Frame(TypedDict):
    """What all breaks of a client's month have in common."""

    client: Client
    period: Period
    as_of: date | None
    settings: Settings


def standing(reached: Reached, frame: Frame, *, lost: bool = False) -> Standing:
    """What kind of money a break of the period is: too old to be billed is lost, whatever it stands on."""
    as_of, last = frame["as_of"], frame["period"].end + timedelta(days=frame["settings"].backbill_days)
    if lost or (as_of is not None and as_of >= last):
        return Standing.LOST
    return Standing.AT_RISK if reached is Reached.NOWHERE else Standing.OWED


def body(
    frame: Frame,
    code: Code,
    direction: Direction,
    *,
    reached: Reached,
    why: str,
    tolerance: Tolerance,
    product: Product | None = None,
    amount: Decimal | None = None,
    currency: str | None = None,
    quantity: Decimal | None = None,
    cost: Side | None = None,
    expected: Side | None = None,
    billed: Side | None = None,
    contract_ref: str | None = None,
    vendor: tuple[str, str, str] | None = None,
    lost: bool = False,
    kind: Standing | None = None,
    steps: Sequence[Step] = (),
) -> DiscrepancyBody:
    """The body of a break. ``vendor`` is (source, account, sku) where it is about one identifier; ``kind`` is what its
    money is where that does not follow from ``reached`` and ``lost``."""
    client, period = frame["client"], frame["period"]
    source, account, sku = vendor or (None, None, None)
    return DiscrepancyBody(
        code=code,
        family=FAMILIES[code],
        client=client.id,
        client_name=client.name,
        product=product.id if product else None,
        product_name=product.name if product else None,
        vendor_source=source,
        account=account,
        sku=sku,
        period=Span(from_=period.start, to=period.end),
        direction=direction,
        amount=amount,
        currency=currency if amount is not None or expected or billed or cost else None,
        quantity=None if quantity is None else words.field(quantity),
        standing=None if amount is None else kind or standing(reached, frame, lost=lost),
        remedy=remedy(code, direction),
        cost=cost,
        expected=expected,
        billed=billed,
        tolerance=tolerance,
        reached=reached,
        deadline=deadline(frame["as_of"], period, client.bill_cycle_day),
        why=words.clip(why, words.SENTENCE),
        contract_ref=contract_ref,
        derivation=tuple(steps)[:20],
    )


def step(
    label: str, formula: str, result: Decimal, sources: Sequence[Source] = (), rounding: str | None = None
) -> Step:
    """One step of a derivation, with the records it rests on."""
    return Step(
        label=words.clip(label),
        formula=words.clip(formula, words.SENTENCE),
        result=words.field(result),
        rounding=rounding,
        sources=sample(sources),
        records=len(set(sources)),
    )
