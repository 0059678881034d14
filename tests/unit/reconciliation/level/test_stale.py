"""STALE_FEED: a feed that is silent, and who waits for it."""

from __future__ import annotations

from shared.events.discrepancies import Code
from shared.reconciliation.inputs import MissedFeed
from shared.reconciliation.stale import draw_feed, feed_waits
from shared.reconciliation.verdict import State
from tests.unit.reconciliation.given import at, only_break, record

MISSED = MissedFeed("huntress", "agents", at(14, 6), at(13, 6), record("feed.missed.v1", "m-1", "huntress"))


def test_a_silent_feed_has_no_client_and_no_amount() -> None:
    verdict = draw_feed(MISSED)
    body = only_break(verdict)
    assert (verdict.state, body.code, body.vendor_source, body.client, body.amount, body.standing) == (
        State.BREAK,
        Code.STALE_FEED,
        "huntress",
        None,
        None,
        None,
    )
    assert verdict.breaks[0].stream_key == ("STALE_FEED", "", "", "feed", "huntress", "agents")
    assert body.why == (
        "feed agents of huntress missed its run of 2026-10-14 06:00 UTC; its last was at 2026-10-13 06:00 UTC"
    )
    assert body.derivation[0].sources == (MISSED.record,)


def test_what_depends_on_it_waits_and_names_it() -> None:
    never = MissedFeed("acronis", "usage", at(14, 6), None, record("feed.missed.v1", "m-2", "acronis"))
    waits = feed_waits([MISSED, never])
    assert [one.side for one in waits] == ["feed", "feed"]
    assert waits[0].what.startswith("feed usage of acronis missed its run")
    assert waits[0].what.endswith("it has never run")
    assert feed_waits([never, MISSED]) == waits
    assert feed_waits([]) == ()
