"""A million lines: most of them are plain and agree, and to see that takes no comparator.

A group is *plain* if one contract line at a unit or flat price is in force all month, what was used is one figure of
one meter, and one invoice line bills it. :func:`settle` says of such a group that it agrees to the last digit, or
nothing: then :func:`shared.reconciliation.compare.draw_group` is asked, which gives the same answer where this one
gives any (``tests/unit/reconciliation/bulk`` holds them against each other).
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Literal, NamedTuple

from shared.events.contracts import FlatPrice, Terms, UnitPrice
from shared.kernel.money import exponent, round_to
from shared.kernel.periods import Period


class Plain(NamedTuple):
    """What the terms of a plain contract line are."""

    model: Literal["flat", "unit"]
    price: Decimal
    included: Decimal
    currency: str
    effective_from: date
    effective_to: date | None

    def through(self, period: Period) -> bool:
        """Whether the line is in force all month."""
        return self.effective_from <= period.start and (self.effective_to is None or self.effective_to >= period.end)


class Settled(NamedTuple):
    """A line of the statement on which both sides agree."""

    product: str
    currency: str
    amount: Decimal
    quantity: str | None
    """Billable units, as they are written; ``None`` for a flat price."""
    price: str | None
    """As it is written."""
    contract_ref: str
    billed_ref: str


def is_plain(terms: Terms) -> bool:
    """Whether terms have nothing but a flat or unit price, and what it includes."""
    if not isinstance(terms.price, FlatPrice | UnitPrice):
        return False
    return terms == Terms(price=terms.price, included=terms.included)


def settle(
    agreed: Plain, used: Decimal | None, quantity: Decimal, unit_price: Decimal, amount: Decimal
) -> Decimal | None:
    """The amount that a plain group comes to on both sides; ``None``: they differ, or it takes more to see it.

    ``used``: the quantity of the month, in units; ``None``: nothing was measured. The other figures are those of the
    invoice line, in the currency of the terms.
    """
    if agreed.model == "flat":
        due = round_to(agreed.price, exponent(agreed.currency))
        return due if due == amount and due > 0 else None
    if used is None or unit_price != agreed.price or used < 0:
        return None
    units = used - agreed.included if agreed.included else used
    if units != quantity or units <= 0:
        return None
    due = round_to(units * agreed.price, exponent(agreed.currency))
    return due if due == amount else None
