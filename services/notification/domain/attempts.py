"""One attempt to deliver one message, and the record that tells of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

from services.notification.domain.retry import RetryPolicy
from shared.events.catalogue import CATALOGUE, notification_stream
from shared.events.notifications import NotificationFailed, NotificationSent
from shared.events.record import Context, Draft, draft_decision
from shared.kernel.identity import decision_id

SOURCE = "plumbline.notification"
UNKNOWN = "unknown outcome: the sender stopped before it heard the answer"


@dataclass(frozen=True, slots=True)
class Sending:
    """An intent whose attempt ``attempt`` is under way."""

    tenant: str
    intent: str
    discrepancy: UUID
    version: int
    attempt: int
    started_at: datetime
    recorded_at: datetime
    """When the discrepancy was recorded."""
    record_id: str
    correlation_id: str | None
    payload: str = field(repr=False)
    url: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    """Documents in the vault: the secret, and while a receiver changes over the former one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an attempt. ``reason`` is ``None`` exactly if the receiver took the message."""

    reason: str | None
    status: int | None = None
    retry_after_s: float = 0.0  # float: seconds
    """The receiver's own wish."""
    duration_ms: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """An attempt that is over: the intent's next state, and the record of it."""

    sending: Sending
    state: str
    due_at: datetime
    """When a planned intent is due again."""
    draft: Draft


def settle(sending: Sending, answer: Answer, now: datetime, policy: RetryPolicy, rng: Random) -> Settled:
    """What follows from ``answer`` at ``now``."""
    if answer.reason is None:
        return Settled(sending, "sent", now, _draft(sending, answer, None))
    due = _next_attempt(sending, answer, now, policy, rng)
    return Settled(sending, "failed" if due is None else "planned", due or now, _draft(sending, answer, due))


def settle_unknown(sending: Sending, now: datetime, policy: RetryPolicy) -> Settled:
    """An attempt of which nobody can tell the outcome. The message is sent again at once, under the same id."""
    answer = Answer(UNKNOWN)
    due = now if sending.attempt < policy.attempts_max else None
    return Settled(sending, "failed" if due is None else "planned", now, _draft(sending, answer, due))


def _next_attempt(sending: Sending, answer: Answer, now: datetime, policy: RetryPolicy, rng: Random) -> datetime | None:
    due = policy.next_attempt(sending.attempt, sending.recorded_at, now, answer.status, rng)
    if due is None:
        return None
    return max(due, now + timedelta(seconds=min(answer.retry_after_s, policy.wait_max_s)))


def _draft(sending: Sending, answer: Answer, due: datetime | None) -> Draft:
    common = {
        "intent": sending.intent,
        "channel": "webhook",
        "discrepancy": sending.discrepancy.hex,
        "version": sending.version,
        "attempt": sending.attempt,
        "attempted_at": sending.started_at,
        "duration_ms": answer.duration_ms,
        "status_code": answer.status,
    }
    data = (
        NotificationSent.model_validate(common)
        if answer.reason is None
        else NotificationFailed.model_validate(
            common | {"reason": answer.reason[:300], "final": due is None, "next_attempt_at": due}
        )
    )
    return draft_decision(
        CATALOGUE["notification.sent.v1" if answer.reason is None else "notification.failed.v1"],
        tenant=sending.tenant,
        source=SOURCE,
        record_id=decision_id(f"{sending.intent}/{sending.attempt}", 1),
        time=sending.started_at,
        data=data,
        # Which attempt it was, not how it went: a repetition of the same append is a duplicate whatever it says.
        command={"name": "record_attempt", "intent": sending.intent, "attempt": sending.attempt},
        stream=notification_stream(sending.tenant, sending.intent),
        expected=sending.attempt - 1,
        context=Context(
            actor="service:notification",
            correlation_id=sending.correlation_id,
            causation_id=sending.record_id,
        ),
    )
