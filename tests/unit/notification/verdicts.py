"""Discrepancies as matching writes them, for the tests of what is said about them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from shared.events.discrepancies import (
    Basis,
    Cause,
    Code,
    Direction,
    DiscrepancyBody,
    Reached,
    Side,
    Span,
)

BODY = DiscrepancyBody(
    code=Code.QTY_UNDER,
    family="QTY",
    client="northwind-dental",
    client_name="Northwind Dental",
    product="huntress-edr",
    product_name="Huntress EDR",
    period=Span(from_=date(2026, 9, 1), to=date(2026, 10, 1)),
    direction=Direction.CLIENT_OWES_US,
    amount=Decimal("56"),
    currency="EUR",
    quantity=Decimal("13.33"),
    expected=Side(quantity=Decimal("53.33"), unit_price=Decimal("4.2"), amount=Decimal("224"), ref="C-1042 line 3"),
    billed=Side(quantity=Decimal("40"), unit_price=Decimal("4.2"), amount=Decimal("168"), ref="INV-20931 line 7"),
    reached=Reached.CLIENT_INVOICE,
    deadline=date(2026, 11, 1),
    why="1,600 agent-days (53.33) used, 40 billed at 4.20",
    contract_ref="C-1042 line 3",
)
UNMAPPED = DiscrepancyBody(
    code=Code.UNMAPPED_CLIENT,
    family="UNMAPPED",
    vendor_source="acronis",
    account="8841",
    direction=Direction.CLIENT_OWES_US,
    reached=Reached.NOWHERE,
    why="account 8841 of acronis is mapped to no client",
)
BASIS = Basis(
    cut={"invoices": (0,) * 12},
    epoch=1,
    as_of=date(2026, 10, 1),
    rules=1,
    cause=Cause(
        record="invoices/3/410", type="invoice.issued.v1", recorded_at=datetime(2026, 10, 1, 9, 14, 22, tzinfo=UTC)
    ),
)


def body(**changes: Any) -> DiscrepancyBody:
    return BODY.model_copy(update=changes)
