"""What a message says: the JSON of a webhook, and the same alert as lines of text.

The JSON holds everything, and the text is a view of the JSON: whatever shows an alert to people (a chat, a mail, the
receiver in the demo) renders :func:`text` of what was sent, and cannot say anything else.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from shared.events.base import utc_text
from shared.events.discrepancies import (
    Candidate,
    Code,
    Direction,
    DiscrepancyBody,
    DiscrepancyChanged,
    DiscrepancyCleared,
    DiscrepancyDetected,
    Reached,
    Side,
)
from shared.kernel.canonical import decimal_text
from shared.kernel.money import amount_text
from shared.kernel.periods import Period, month_of

Verdict = DiscrepancyDetected | DiscrepancyChanged | DiscrepancyCleared
Payload = dict[str, Any]

_GLYPHS = {"client_owes_us": "▲", "we_owe_client": "▼", "vendor_owes_us": "▲", "we_owe_vendor": "▼"}
_REACHED = {"client_invoice": "yes", "vendor_bill": "no, the vendor's bill", "nowhere": "no"}
_STEPS = {
    "propose_back_bill": "propose back-bill",
    "propose_credit_note": "propose credit note",
    "correct_agreement": "correct the agreement",
    "issue_invoice": "issue the invoice",
    "confirm_mapping": "confirm the mapping",
    "dispute_vendor_bill": "dispute with the vendor",
    "check_vendor_bill": "check the vendor's bill",
    "check_licences": "compare the licences bought with those assigned",
    "reprice": "reprice at the next renewal",
    "approve_time": "approve and invoice the time, or write it off",
    "bill_overage": "bill the overage, or write it off",
    "approve_or_bill": "approve it, or bill it separately",
    "repair_feed": "repair the feed; what depends on it waits",
    "correct_document": "correct the document",
}
_BY_CODE = {
    Code.UNMAPPED_CLIENT: "confirm_mapping",
    Code.UNMAPPED_PRODUCT: "confirm_mapping",
    Code.UNBILLED_CLIENT: "issue_invoice",
    Code.ASSIGNED_NE_PURCHASED: "check_licences",
    Code.MARGIN_FLOOR: "reprice",
    Code.STALE_TIME: "approve_time",
    Code.OVER_CAP: "bill_overage",
    Code.BLOCK_OVERDRAWN: "bill_overage",
    Code.OUT_OF_SCOPE: "approve_or_bill",
    Code.STALE_FEED: "repair_feed",
    Code.TAX: "correct_document",
    Code.ROUNDING: "correct_document",
    Code.CURRENCY: "correct_document",
}
_AFTER_BILLING = {
    Direction.CLIENT_OWES_US: "propose_back_bill",
    Direction.WE_OWE_CLIENT: "propose_credit_note",
    Direction.VENDOR_OWES_US: "dispute_vendor_bill",
    Direction.WE_OWE_VENDOR: "check_vendor_bill",
}


def payload(
    type_name: str, recorded_at: datetime, tenant: str, stream: UUID, version: int, place: str, verdict: Verdict
) -> Payload:
    """The body of the webhook for version ``version`` of the discrepancy ``stream``, recorded at ``place``.

    A member that has no value is left out. Amounts are strings with their currency's own decimals, unsigned; direction
    says who owes whom.
    """
    body = verdict.body
    data = {
        "tenant": tenant,
        "id": stream.hex,
        "dedupe_key": f"{tenant}/{stream.hex}",
        "version": version,
        "state": _state(verdict),
        "code": body.code.value,
        "client": _named(body.client, body.client_name),
        "product": body.product,
        "product_name": body.product_name,
        "source": body.vendor_source,
        "account": body.account,
        "sku": body.sku,
        "period": body.period and {"from": body.period.from_.isoformat(), "to": body.period.to.isoformat()},
        "direction": body.direction.value,
        "amount": _amount(body, body.amount),
        "previous_amount": _amount(body, _previous(verdict)),
        "expected": _side(body, body.expected),
        "billed": _side(body, body.billed),
        "reached": body.reached.value,
        "standing": body.standing and body.standing.value,
        "remedy": body.remedy,
        "why": body.why,
        "contract_ref": body.contract_ref,
        "candidates": [_candidate(candidate) for candidate in body.candidates],
        "cause": _cause(verdict),
        "next": None if isinstance(verdict, DiscrepancyCleared) else _next(body),
        "verdict": verdict.verdict if isinstance(verdict, DiscrepancyCleared) else None,
        "record": place,
    }
    return {
        "type": type_name,
        "timestamp": utc_text(recorded_at),
        "data": {name: value for name, value in data.items() if value not in (None, [])},
    }


def _state(verdict: Verdict) -> str:
    if isinstance(verdict, DiscrepancyCleared):
        return "cleared"
    if isinstance(verdict, DiscrepancyDetected):
        return "reopened" if verdict.reopened else "new"
    before, now = verdict.previous_amount, verdict.body.amount
    return "grown" if before is not None and now is not None and now > before else "changed"


def _previous(verdict: Verdict) -> Decimal | None:
    return verdict.previous_amount if isinstance(verdict, DiscrepancyChanged) else None


def _named(entity: str | None, name: str | None) -> dict[str, str] | None:
    if entity is None:
        return None
    return {"id": entity, "name": name} if name else {"id": entity}


def _amount(body: DiscrepancyBody, value: Decimal | None) -> dict[str, str] | None:
    if value is None or body.currency is None:
        return None
    return {"value": amount_text(value, body.currency), "currency": body.currency}


def _side(body: DiscrepancyBody, side: Side | None) -> str | None:
    if side is None or side.amount is None or body.currency is None:
        return None
    return amount_text(side.amount, body.currency)


def _candidate(candidate: Candidate) -> dict[str, str]:
    score = decimal_text(candidate.score)
    return {"id": candidate.id, "name": candidate.name, "score": score, "why": candidate.why}


def _cause(verdict: Verdict) -> dict[str, str] | None:
    cause = verdict.basis.cause
    if cause is None:
        return None
    return {"record": cause.record, "type": cause.type, "recorded_at": utc_text(cause.recorded_at)}


def _next(body: DiscrepancyBody) -> dict[str, str]:
    step = {"action": _action(body)}
    return step | {"by": body.deadline.isoformat()} if body.deadline else step


def _action(body: DiscrepancyBody) -> str:
    """What a person does about it: before it is billed the cause can be mended, afterwards only made good."""
    if body.code in _BY_CODE:
        return _BY_CODE[body.code]
    return "correct_agreement" if body.reached is Reached.NOWHERE else _AFTER_BILLING[body.direction]


# --- as text ---


def text(message: Payload) -> str:
    """The alert as lines of plain text. A line, or a part of one, that has no value is left out."""
    data = message["data"]
    if data["state"] == "cleared":
        lines = _cleared_lines(data)
    elif message["type"].startswith("discrepancy.changed."):
        lines = _changed_lines(data)
    else:
        lines = _detected_lines(data)
    return "\n".join(filter(None, lines))


def _detected_lines(data: Payload) -> list[str]:
    reached = f"Reached the client: {_REACHED[data['reached']]}."
    why_now = [f"Why now: {_cause_text(data)} arrived {_cause_time(data)}."] if "cause" in data else []
    again = ", found again" if data["state"] == "reopened" else ""
    return [
        f"{_headline(data)}: {_about(data)}",
        _sentences(data["why"], data.get("contract_ref")),
        " ".join([*why_now, reached]),
        _next_text(data),
        f"{data['code']} {data['id'][:8]} v{data['version']}{again}",
    ]


def _changed_lines(data: Payload) -> list[str]:
    was = f" (was {data['previous_amount']['value']})" if "previous_amount" in data else ""
    by = f", by {_cause_text(data)}" if "cause" in data else ""
    return [f"{_headline(data)}{was}: {_about(data)}", f"{data['why'].rstrip('.')}{by}."]


def _cleared_lines(data: Payload) -> list[str]:
    # What can no longer be compared was not settled, and must not look as if it were.
    head = "✓ Cleared" if data["verdict"] == "matched" else "◷ No longer comparable"
    was = f", was {data['amount']['currency']} {data['amount']['value']}" if "amount" in data else ""
    by = f" By {_cause_text(data)} at {_cause_time(data)}." if "cause" in data else ""
    return [f"{head}: {_about(data)}{was}.{by}"]


def _headline(data: Payload) -> str:
    words = data["direction"].replace("_", " ").capitalize()
    amount = f" {data['amount']['currency']} {data['amount']['value']}" if "amount" in data else ""
    return f"{_GLYPHS[data['direction']]} {words}{amount}"


def _about(data: Payload) -> str:
    client = data.get("client", {})
    parts = [client.get("name") or client.get("id"), data.get("product_name") or data.get("product")]
    parts += [f"{kind} {data[kind]}" for kind in ("account", "sku", "source") if kind in data]
    return ", ".join(filter(None, [*parts, _period_text(data.get("period"))]))


def _period_text(period: dict[str, str] | None) -> str | None:
    if period is None:
        return None
    span = Period(date.fromisoformat(period["from"]), date.fromisoformat(period["to"]))
    if span == month_of(span.start):
        return f"{span.start:%b %Y}"
    last = date.fromordinal(span.end.toordinal() - 1)
    return f"{_day(span.start)} to {_day(last)} {last:%Y}"


def _day(day: date) -> str:
    return f"{day.day} {day:%b}"


def _sentences(*parts: str | None) -> str:
    return " ".join(f"{part.rstrip('.')}." for part in parts if part)


def _cause_text(data: Payload) -> str:
    """The kind of record in words and its place, as in ``invoice line invoices/3/410``."""
    noun, verb, _ = data["cause"]["type"].split(".", 2)
    kind = noun.replace("_", " ") + (" line" if verb == "line" else "")
    return f"{kind} {data['cause']['record']}"


def _cause_time(data: Payload) -> str:
    at = datetime.fromisoformat(data["cause"]["recorded_at"])
    return f"{_day(at.date())} {at:%H:%M} UTC"


def _next_text(data: Payload) -> str:
    step = data["next"]
    by = f" by {_day(date.fromisoformat(step['by']))}" if "by" in step else ""
    return f"Next: {_STEPS[step['action']]}{by}. Unassigned."
