"""What is usually done about a discrepancy (domain.md section 2)."""

from __future__ import annotations

from shared.events.discrepancies import Code, Direction

REMEDIES: dict[Code, str] = {
    Code.QTY_UNDER: "adjust the quantity in the PSA and back-bill",
    Code.QTY_OVER: "adjust the quantity in the PSA and send a credit note",
    Code.UNBILLED_SERVICE: "add a contract line and back-bill",
    Code.UNBILLED_CLIENT: "invoice the client",
    Code.MISSING_LINE: "add the line and back-bill",
    Code.PHANTOM_LINE: "credit the line, or accept it",
    Code.PRICE_MISMATCH: "correct the price and settle the difference",
    Code.UNMAPPED_CLIENT: "map the account to a client, or exclude it",
    Code.UNMAPPED_PRODUCT: "map the sku to a product, or exclude it",
    Code.DUPLICATE: "void or credit the repeated line",
    Code.EXPIRED_AGREEMENT: "renew the agreement, or stop the service and its billing",
    Code.OUT_OF_SCOPE: "have it approved, or bill it",
    Code.PRORATION: "credit or charge the days that differ",
    Code.TIER_CROSS: "bill at the price of the right tier",
    Code.MIN_COMMIT: "bill the rest of the commitment",
    Code.COST_MISMATCH: "dispute the charge with the vendor",
    Code.ASSIGNED_NE_PURCHASED: "reclaim what is not assigned, or investigate",
    Code.MARGIN_FLOOR: "reprice, or agree the lower margin",
    Code.TIME_UNBILLED: "bill the hours, or write them off",
    Code.STALE_TIME: "approve and bill the hours, or write them off",
    Code.OVER_CAP: "bill the overage, or write it off",
    Code.BLOCK_OVERDRAWN: "sell a new block, or bill the overage",
    Code.TAX: "correct the tax on the next document",
    Code.CURRENCY: "agree the exchange rate and settle the difference",
    Code.ROUNDING: "accept",
    Code.LATE_USAGE: "adjust on the next period's invoice",
    Code.RESTATED: "adjust on the next period's invoice",
    Code.STALE_FEED: "repair the feed",
}
"""Where it does not depend on who owes whom."""

_BY_DIRECTION: dict[tuple[Code, Direction], str] = {
    (Code.PRICE_MISMATCH, Direction.CLIENT_OWES_US): "correct the price and back-bill",
    (Code.PRICE_MISMATCH, Direction.WE_OWE_CLIENT): "correct the price and send a credit note",
    (Code.PRORATION, Direction.CLIENT_OWES_US): "charge the days that are missing",
    (Code.PRORATION, Direction.WE_OWE_CLIENT): "credit the days too many",
    (Code.TIER_CROSS, Direction.CLIENT_OWES_US): "bill at the price of the right tier, back-bill the rest",
    (Code.TIER_CROSS, Direction.WE_OWE_CLIENT): "bill at the price of the right tier, credit the rest",
    (Code.COST_MISMATCH, Direction.WE_OWE_VENDOR): "tell the vendor, or provide for a later charge",
    (Code.EXPIRED_AGREEMENT, Direction.CLIENT_OWES_US): "renew the agreement and back-bill, or stop the service",
    (Code.EXPIRED_AGREEMENT, Direction.WE_OWE_CLIENT): "stop the billing and send a credit note, or renew",
}


def remedy(code: Code, direction: Direction) -> str:
    """What is usually done about a discrepancy of this kind and direction."""
    return _BY_DIRECTION.get((code, direction), REMEDIES[code])
