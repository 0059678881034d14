"""Events as senders write them, one of each type that can be sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from services.ingestion.domain.facts import Sender

NOW = datetime(2026, 9, 15, 12, 0, tzinfo=UTC)
SENDER = Sender("harbor-msp", "huntress", "key:abcdefghij", "corr-1")
OPERATOR = Sender("harbor-msp", None, "key:operator00", "corr-1")

_LINE = {
    "contract": "C-1",
    "line": "1",
    "client": "acme",
    "product": "edr",
    "effective_from": "2026-01-01",
    "currency": "EUR",
    "terms": {"price": {"kind": "unit", "unit_amount": "4.20"}},
}
DATA: dict[str, dict[str, Any]] = {
    "client.recorded.v1": {"client": "acme", "name": "Acme Dental"},
    "product.recorded.v1": {"product": "edr", "name": "Managed EDR", "list_price": "5.00", "currency": "EUR"},
    "usage.metered.v1": {"account": "a-1", "sku": "edr", "kind": "gauge", "quantity": "7"},
    "feed.observed.v1": {
        "feed": "usage",
        "run": 1,
        "asserted_at": "2026-09-02T00:00:00Z",
        "covers_from": "2026-08-01T00:00:00Z",
        "covers_to": "2026-09-01T00:00:00Z",
    },
    "contract.agreed.v1": _LINE,
    "contract.amended.v1": _LINE | {"effective_from": "2026-03-01"},
    "contract.ended.v1": {
        "contract": "C-1",
        "line": "1",
        "client": "acme",
        "product": "edr",
        "effective_from": "2026-12-01",
    },
    "invoice.issued.v1": {
        "invoice": "INV-1",
        "client": "acme",
        "issued_on": "2026-09-01",
        "period_from": "2026-08-01",
        "period_to": "2026-09-01",
        "currency": "EUR",
        "lines": 1,
    },
    "invoice.line.v1": {
        "invoice": "INV-1",
        "line": "1",
        "product": "edr",
        "quantity": "7",
        "unit_price": "4.20",
        "amount": "29.40",
    },
    "invoice.voided.v1": {"invoice": "INV-1"},
    "vendor_bill.received.v1": {
        "issuer": "huntress",
        "bill": "B-1",
        "period_from": "2026-08-01T00:00:00Z",
        "period_to": "2026-09-01T00:00:00Z",
        "currency": "USD",
        "lines": 1,
    },
    "vendor_bill.line.v1": {
        "issuer": "huntress",
        "bill": "B-1",
        "line": "1",
        "account": "a-1",
        "sku": "edr",
        "charge_from": "2026-08-01T00:00:00Z",
        "charge_to": "2026-09-01T00:00:00Z",
        "billed_cost": "12.345678901234567",
        "currency": "USD",
    },
    "time_entry.logged.v1": {"entry": "T-1", "client": "acme", "worked_on": "2026-09-01", "minutes": "30"},
    "time_entry.revised.v1": {"entry": "T-1", "client": "acme", "worked_on": "2026-09-01", "minutes": "45"},
    "usage.restated.v1": {"account": "a-1", "sku": "edr", "kind": "gauge", "quantity": "8"},
    "feed.missed.v1": {"feed": "usage", "run": 2, "due_at": "2026-09-03T00:00:00Z"},
}
"""Wire type -> valid data."""


def event(type_: str = "usage.metered.v1", **changes: Any) -> dict[str, Any]:
    """A valid event; ``data__x=...`` changes its data, a value of ``...`` takes the attribute out."""
    made: dict[str, Any] = {
        "specversion": "1.0",
        "type": type_,
        "id": "1",
        "source": "huntress",
        "time": "2026-09-01T00:00:00Z",
        "data": dict(DATA[type_]),
    }
    for name, value in changes.items():
        target, key = (made["data"], name[6:]) if name.startswith("data__") else (made, name)
        target[key] = value
        if value is ...:
            del target[key]
    return made
