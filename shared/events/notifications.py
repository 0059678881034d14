"""What was told to whom (topic ``notifications``): each attempt is a record."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.events.base import Data, Instant, Key, Label


class Attempt(Data):
    """One attempt to deliver one message."""

    intent: Key
    """The message's id, and its ``webhook-id``, the same on every attempt for ever."""
    channel: Literal["webhook"]
    """How it goes out."""
    discrepancy: Key
    """The discrepancy that it is about."""
    version: int = Field(ge=1)
    """Version of the discrepancy's stream."""
    attempt: int = Field(ge=1)
    """Number of this attempt."""
    attempted_at: Instant
    """When it was made."""
    duration_ms: int = Field(ge=0)
    """How long the receiver took."""
    status_code: int | None = None
    """The receiver's HTTP status; empty when it gave none."""


class NotificationSent(Attempt):
    """The receiver took the message."""


class NotificationFailed(Attempt):
    """The receiver did not, or cannot be known to have."""

    reason: Label
    """Such as ``timeout``, ``connection refused``, ``HTTP 503``. Never a response body."""
    final: bool
    """True when it will not be tried again by itself."""
    next_attempt_at: Instant | None = None
    """When it is tried next."""
