"""What is known about the feeds themselves, and the calendar (topic ``feeds``)."""

from __future__ import annotations

from pydantic import Field

from shared.events.base import Data, Day, Instant, Key, Sha256, Zone


class FeedObserved(Data):
    """A run of a feed is complete: whatever occurred in ``[covers_from, covers_to)`` and was to come, has come."""

    feed: Key
    """The feed's name at its source, such as ``usage``."""
    run: int = Field(ge=0)
    """The run's number; a greater one supersedes."""
    asserted_at: Instant
    """When the source said so: its own stamp, else the start of the fetch."""
    covers_from: Instant
    """Start of the span that is complete."""
    covers_to: Instant
    """Its end, exclusive; never after ``asserted_at``."""
    keys: int | None = Field(default=None, ge=0)
    """How many distinct keys the run held."""
    digest: Sha256 | None = None
    """Digest of what the run held."""


class FeedMissed(Data):
    """A run of a feed that was due has not come: what depends on the feed is held back."""

    feed: Key
    """The feed's name at its source."""
    run: int = Field(ge=0)
    """The run that was expected; a greater one that is observed ends the silence."""
    due_at: Instant
    """When it was due."""
    last_at: Instant | None = None
    """Until when the feed is complete; empty: it never was."""


class CalendarAdvanced(Data):
    """A day began for a tenant. Time enters matching by this record alone, so that what pends or expires replays."""

    zone: Zone
    """The tenant's time zone."""
    date: Day
    """The local date that began."""
