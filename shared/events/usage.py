"""What vendors say was used (topic ``usage``), under the vendors' own identifiers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from shared.events.base import Data, Exact, Instant, Key, Label


class UsageMetered(Data):
    """One observation of one meter. The record's ``time`` is the instant observed, or the start of the bucket.

    The *slot* that it fills is ``event`` if the vendor names its events, else the bucket ``[time, until)``, else the
    instant. A later assertion about the same slot replaces the earlier one (protocols.md section 7).
    """

    account: Key
    """The vendor's id of the customer account."""
    account_name: Label | None = None
    """The account's name at the vendor: an organisation. It ranks candidates while the account is unmapped."""
    sku: Key
    """The vendor's id of the product."""
    sku_name: Label | None = None
    """The product's name at the vendor."""
    meter: Key = "quantity"
    """What is counted, when one product has several counts."""
    kind: Literal["gauge", "counter", "peak"]
    """``gauge``: a level that holds until the next. ``counter``: an amount that adds up. ``peak``: a high mark."""
    unit: Label | None = None
    """The unit of ``quantity``, such as ``agent`` or ``GiB``."""
    quantity: Exact
    """The level (gauge), the amount of this event or bucket (counter), or the mark (peak), in ``unit``."""
    event: Key | None = None
    """The vendor's id of the event, if it has one."""
    until: Instant | None = None
    """End of the bucket, exclusive; empty for an instant."""
    absent: bool = Field(default=False)
    """True when a complete run no longer held the key, so that this zero was observed as absence."""

    @model_validator(mode="after")
    def _slot(self) -> UsageMetered:
        # Two events of one instant would fill one slot, and one of them would not count.
        if self.kind != "gauge" and self.event is None and self.until is None:
            raise ValueError("a counter or peak needs event (the vendor's id of it) or until (the end of its bucket)")
        return self


class UsageRestated(UsageMetered):
    """The vendor says something else of a slot that it reported before: the later assertion holds."""
