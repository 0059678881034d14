"""The words and the JSON of an alert are an interface: each kind is pinned here, whole."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from services.notification.domain.message import Verdict, payload, text
from shared.events.discrepancies import (
    Candidate,
    Code,
    Direction,
    DiscrepancyChanged,
    DiscrepancyCleared,
    DiscrepancyDetected,
    Reached,
    Span,
)
from tests.unit.notification.verdicts import BASIS, BODY, UNMAPPED, body

STREAM = UUID("7f3a19c2000040008000000000000001")


def _message(verdict: Verdict, version: int = 1) -> dict[str, Any]:
    kind = type(verdict).__name__.removeprefix("Discrepancy").lower()
    at = datetime(2026, 10, 1, 9, 14, 22, 418000, tzinfo=UTC)
    message = payload(f"discrepancy.{kind}.v1", at, "harbor-msp", STREAM, version, "discrepancies/3/1181", verdict)
    return json.loads(json.dumps(message))  # what a receiver parses


def _text(verdict: Verdict, version: int = 1) -> str:
    return text(_message(verdict, version))


def test_detected_as_json() -> None:
    assert _message(DiscrepancyDetected(body=BODY, basis=BASIS)) == {
        "type": "discrepancy.detected.v1",
        "timestamp": "2026-10-01T09:14:22.418Z",
        "data": {
            "tenant": "harbor-msp",
            "id": "7f3a19c2000040008000000000000001",
            "dedupe_key": "harbor-msp/7f3a19c2000040008000000000000001",
            "version": 1,
            "state": "new",
            "code": "QTY_UNDER",
            "client": {"id": "northwind-dental", "name": "Northwind Dental"},
            "product": "huntress-edr",
            "product_name": "Huntress EDR",
            "period": {"from": "2026-09-01", "to": "2026-10-01"},
            "direction": "client_owes_us",
            "amount": {"value": "56.00", "currency": "EUR"},
            "expected": "224.00",
            "billed": "168.00",
            "reached": "client_invoice",
            "why": "1,600 agent-days (53.33) used, 40 billed at 4.20",
            "contract_ref": "C-1042 line 3",
            "cause": {
                "record": "invoices/3/410",
                "type": "invoice.issued.v1",
                "recorded_at": "2026-10-01T09:14:22Z",
            },
            "next": {"action": "propose_back_bill", "by": "2026-11-01"},
            "record": "discrepancies/3/1181",
        },
    }


def test_detected_as_text() -> None:
    assert _text(DiscrepancyDetected(body=BODY, basis=BASIS)) == (
        "▲ Client owes us EUR 56.00: Northwind Dental, Huntress EDR, Sep 2026\n"
        "1,600 agent-days (53.33) used, 40 billed at 4.20. C-1042 line 3.\n"
        "Why now: invoice invoices/3/410 arrived 1 Oct 09:14 UTC. Reached the client: yes.\n"
        "Next: propose back-bill by 1 Nov. Unassigned.\n"
        "QTY_UNDER 7f3a19c2 v1"
    )


def test_found_again_says_so() -> None:
    verdict = DiscrepancyDetected(body=BODY, basis=BASIS, reopened=2)
    assert _message(verdict, 7)["data"]["state"] == "reopened"
    assert _text(verdict, 7).endswith("QTY_UNDER 7f3a19c2 v7, found again")


def test_changed_as_json_and_text() -> None:
    verdict = DiscrepancyChanged(body=body(amount=Decimal("61.6")), basis=BASIS, previous_amount=Decimal("56"))
    message = _message(verdict, 2)
    assert message["data"]["state"] == "grown"
    assert message["data"]["previous_amount"] == {"value": "56.00", "currency": "EUR"}
    assert text(message) == (
        "▲ Client owes us EUR 61.60 (was 56.00): Northwind Dental, Huntress EDR, Sep 2026\n"
        "1,600 agent-days (53.33) used, 40 billed at 4.20, by invoice invoices/3/410."
    )


def test_changed_to_less_is_not_grown() -> None:
    verdict = DiscrepancyChanged(body=body(amount=Decimal("50")), basis=BASIS, previous_amount=Decimal("56"))
    assert _message(verdict, 2)["data"]["state"] == "changed"


def test_cleared_as_json_and_text() -> None:
    message = _message(DiscrepancyCleared(body=BODY, basis=BASIS), 3)
    assert message["data"]["state"] == "cleared"
    assert message["data"]["verdict"] == "matched"
    assert "next" not in message["data"]
    assert text(message) == (
        "✓ Cleared: Northwind Dental, Huntress EDR, Sep 2026, was EUR 56.00."
        " By invoice invoices/3/410 at 1 Oct 09:14 UTC."
    )


def test_what_is_no_longer_comparable_does_not_look_settled() -> None:
    verdict = DiscrepancyCleared(body=BODY, basis=BASIS, verdict="not_comparable")
    assert _text(verdict, 3).startswith("◷ No longer comparable: Northwind Dental")


def test_an_unmapped_account_has_no_client_no_amount_and_no_period() -> None:
    candidate = Candidate(id="cobalt", name="Cobalt Foods", score=Decimal("0.93"), why="same domain")
    verdict = DiscrepancyDetected(
        body=UNMAPPED.model_copy(update={"candidates": (candidate,)}), basis=BASIS.model_copy(update={"cause": None})
    )
    data = _message(verdict)["data"]
    assert data["candidates"] == [{"id": "cobalt", "name": "Cobalt Foods", "score": "0.93", "why": "same domain"}]
    assert not data.keys() & {"client", "amount", "period", "expected", "billed", "cause", "product"}
    assert _text(verdict) == (
        "▲ Client owes us: account 8841, source acronis\n"
        "account 8841 of acronis is mapped to no client.\n"
        "Reached the client: no.\n"
        "Next: confirm the mapping. Unassigned.\n"
        "UNMAPPED_CLIENT 7f3a19c2 v1"
    )


@pytest.mark.parametrize(
    ("currency", "amount", "shown"),
    [("JPY", "1200", "1200"), ("KWD", "1.5", "1.500"), ("EUR", "0.005", "0.005"), ("EUR", "1234567.8", "1234567.80")],
)
def test_amounts_have_their_currencys_decimals_and_lose_none(currency: str, amount: str, shown: str) -> None:
    verdict = DiscrepancyDetected(body=body(currency=currency, amount=Decimal(amount)), basis=BASIS)
    assert _message(verdict)["data"]["amount"] == {"value": shown, "currency": currency}


@pytest.mark.parametrize(
    ("code", "direction", "reached", "action"),
    [
        (Code.QTY_UNDER, Direction.CLIENT_OWES_US, Reached.CLIENT_INVOICE, "propose_back_bill"),
        (Code.QTY_OVER, Direction.WE_OWE_CLIENT, Reached.CLIENT_INVOICE, "propose_credit_note"),
        (Code.PHANTOM_LINE, Direction.WE_OWE_CLIENT, Reached.NOWHERE, "correct_agreement"),
        (Code.UNBILLED_CLIENT, Direction.CLIENT_OWES_US, Reached.NOWHERE, "issue_invoice"),
        (Code.UNMAPPED_PRODUCT, Direction.CLIENT_OWES_US, Reached.NOWHERE, "confirm_mapping"),
        (Code.PRICE_MISMATCH, Direction.VENDOR_OWES_US, Reached.VENDOR_BILL, "dispute_vendor_bill"),
        (Code.PRICE_MISMATCH, Direction.WE_OWE_VENDOR, Reached.VENDOR_BILL, "check_vendor_bill"),
    ],
)
def test_the_next_step_depends_on_how_far_the_error_got(
    code: Code, direction: Direction, reached: Reached, action: str
) -> None:
    verdict = DiscrepancyDetected(body=body(code=code, direction=direction, reached=reached), basis=BASIS)
    assert _message(verdict)["data"]["next"]["action"] == action
    assert _text(verdict)  # each step and each reach has its words


def test_what_we_owe_points_down() -> None:
    verdict = DiscrepancyDetected(body=body(direction=Direction.WE_OWE_CLIENT), basis=BASIS)
    assert _text(verdict).startswith("▼ We owe client EUR 56.00: ")


def test_a_period_that_is_no_calendar_month_is_spelt_out() -> None:
    verdict = DiscrepancyDetected(body=body(period=Span(from_=date(2026, 9, 15), to=date(2026, 10, 15))), basis=BASIS)
    assert _text(verdict).splitlines()[0].endswith("Huntress EDR, 15 Sep to 14 Oct 2026")


def test_the_same_record_always_makes_the_same_message() -> None:
    verdict = DiscrepancyDetected(body=BODY, basis=BASIS)
    assert json.dumps(_message(verdict)) == json.dumps(_message(verdict))
