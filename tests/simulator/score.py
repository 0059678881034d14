"""Holds what was found against the truth. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.simulator.msp import Truth

Finding = tuple[str, str, str, str, str, str]
"""(code, client, product, account or silent source, sku, first day of the period), empty where there is none."""


@dataclass(frozen=True)
class Score:
    injected: dict[str, int]
    """Planted errors per code."""
    found: dict[str, int]
    """Of those, open at the end with the right direction and amount, and told."""
    missed: list[str]
    false_alarms: list[str]
    """Alerts about something that was never planted."""

    alarms: dict[str, int]
    """False alarms per code."""

    def table(self) -> str:
        """Precision and recall by code, as text."""
        rows = [f"{'code':<22} {'injected':>8} {'found':>6} {'false':>6} {'recall':>7} {'precision':>9}"]
        for code in sorted({*self.injected, *self.alarms}):
            injected, found, false = self.injected.get(code, 0), self.found.get(code, 0), self.alarms.get(code, 0)
            recall = f"{found / injected:.3f}" if injected else "-"
            precision = f"{found / (found + false):.3f}" if found + false else "-"
            rows.append(f"{code:<22} {injected:>8} {found:>6} {false:>6} {recall:>7} {precision:>9}")
        return "\n".join(rows)

    @property
    def perfect(self) -> bool:
        return not self.missed and not self.false_alarms


def _of_truth(truth: Truth) -> Finding:
    start = truth.period.start.isoformat() if truth.period else ""
    account = truth.source if truth.code == "STALE_FEED" else truth.account
    return (truth.code, truth.client or "", truth.product or "", account or "", truth.sku or "", start)


def of_body(body: Mapping[str, Any]) -> Finding:
    """The identity of a discrepancy's body."""
    period = body.get("period") or {}
    return (
        body["code"],
        body.get("client") or "",
        body.get("product") or "",
        (body.get("vendor_source") if body["code"] == "STALE_FEED" else body.get("account")) or "",
        body.get("sku") or "",
        period.get("from", ""),
    )


def score(truths: Iterable[Truth], open_bodies: Iterable[Mapping[str, Any]], alerted: Iterable[Finding]) -> Score:
    """``open_bodies``: bodies of the discrepancies open at the end; ``alerted``: whatever was ever told to the
    receiver. Found is what both say."""
    expected = {_of_truth(truth): truth for truth in truths}
    bodies = {of_body(body): body for body in open_bodies}
    injected: dict[str, int] = {}
    found: dict[str, int] = {}
    missed = []
    told = set(alerted)
    for finding, truth in expected.items():
        injected[truth.code] = injected.get(truth.code, 0) + 1
        found.setdefault(truth.code, 0)
        problem = _differs(truth, bodies.get(finding)) or (None if finding in told else "found, but nobody was told")
        if problem:
            missed.append(f"{' '.join(filter(None, finding))}: {problem}")
        else:
            found[truth.code] += 1
    wrong = sorted((told | set(bodies)) - set(expected))
    alarms: dict[str, int] = {}
    for finding in wrong:
        alarms[finding[0]] = alarms.get(finding[0], 0) + 1
    return Score(injected, found, missed, [" ".join(filter(None, finding)) for finding in wrong], alarms)


def _differs(truth: Truth, body: Mapping[str, Any] | None) -> str | None:
    if body is None:
        return "not found"
    if body["direction"] != truth.direction:
        return f"direction is {body['direction']}, the truth is {truth.direction}"
    amount = Decimal(body["amount"]) if body.get("amount") is not None else None
    if amount != truth.amount:
        return f"amount is {amount}, the truth is {truth.amount}"
    return None
