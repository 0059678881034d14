"""What technicians logged (topic ``time-entries``)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.events.base import Data, Day, Exact, Instant, Key, Label, Person, Sha256


class TimeEntryLogged(Data):
    """One piece of work. Who did it is an id; what they wrote is a document in the vault."""

    entry: Key
    """The entry's id in the PSA or time tracker."""
    client: Key
    """For whom."""
    person: Person | None = None
    """Who worked."""
    worked_on: Day
    """Local date of the work."""
    minutes: Exact = Field(ge=0)
    """Time worked, in minutes."""
    billable: bool = True
    """Whether the tracker calls it billable."""
    approved: bool = False
    """Whether it was approved for billing."""
    product: Key | None = None
    """The service that it belongs to."""
    contract: Key | None = None
    """The contract that it draws on."""
    role: Label | None = None
    """Role that sets the rate."""
    work_type: Label | None = None
    """Work type that sets or changes the rate."""
    ticket: Key | None = None
    """Ticket or project task."""
    started_at: Instant | None = None
    """When the work began, if the tracker says so."""
    ended_at: Instant | None = None
    """When it ended."""
    when: tuple[Literal["out_of_hours", "weekend", "holiday"], ...] = Field(default=(), max_length=3)
    """What the time of the work adds a factor for."""
    invoice: Key | None = None
    """The invoice that billed it, if the tracker says so."""
    note: Sha256 | None = None
    """The note's document in the vault."""


class TimeEntryRevised(TimeEntryLogged):
    """The entry as it now stands: the later assertion about one entry replaces the earlier one."""
