"""STALE_FEED: a feed is silent beyond its cadence. It has no client and no amount; what depends on it waits."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal

from shared.events.discrepancies import Code, Direction, DiscrepancyBody, Reached
from shared.reconciliation import words
from shared.reconciliation.bodies import step
from shared.reconciliation.inputs import MissedFeed
from shared.reconciliation.remedies import remedy
from shared.reconciliation.verdict import FAMILIES, Break, State, Verdict, Waiting


def draw_feed(missed: MissedFeed) -> Verdict:
    """The verdict on a feed of the tenant of which a run was missed and none has come since (a feed that runs has
    none)."""
    return Verdict(State.BREAK, breaks=(Break(("feed", missed.source, missed.feed), _body(missed), "none"),))


def feed_waits(missed: Iterable[MissedFeed]) -> tuple[Waiting, ...]:
    """What a group waits for while feeds of its sources are silent: no absence of usage is concluded."""
    ordered = sorted(missed, key=lambda one: (one.source, one.feed))
    return tuple(Waiting("feed", words.clip(_said(one)), None) for one in ordered)


def _body(missed: MissedFeed) -> DiscrepancyBody:
    code, direction = Code.STALE_FEED, Direction.CLIENT_OWES_US
    return DiscrepancyBody(
        code=code,
        family=FAMILIES[code],
        vendor_source=missed.source,
        direction=direction,
        remedy=remedy(code, direction),
        reached=Reached.NOWHERE,
        why=words.clip(_said(missed), words.SENTENCE),
        derivation=(step("runs missed", _said(missed), Decimal(1), [missed.record]),),
    )


def _said(missed: MissedFeed) -> str:
    since = "it has never run" if missed.last_at is None else f"its last was at {_time(missed.last_at)}"
    return f"feed {missed.feed} of {missed.source} missed its run of {_time(missed.due_at)}; {since}"


def _time(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
