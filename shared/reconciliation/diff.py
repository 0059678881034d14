"""From the verdicts that were recorded of a group and the breaks that hold now, to what becomes a record.

``none -detected-> open -changed*-> open -cleared-> cleared -detected(reopened n)-> open``, one version a step
(protocols.md section 9). A change of evidence that changes nothing material is no record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal
from uuid import UUID

from shared.events.discrepancies import DiscrepancyBody
from shared.kernel.identity import stream_id
from shared.reconciliation.verdict import Break, State, material

StreamKey = tuple[str, ...]
"""(family, client, period, key...), :attr:`Break.stream_key`."""


@dataclass(frozen=True, slots=True)
class StoredVerdict:
    """The last record of one discrepancy's stream."""

    version: int
    open: bool
    body: DiscrepancyBody
    reopened: int = 0
    """How often it had been cleared before."""


@dataclass(frozen=True, slots=True)
class Change:
    """One record to append to a discrepancy's stream."""

    kind: Literal["detected", "changed", "cleared"]
    stream_key: StreamKey
    expected: int
    """Version of the stream before; the record's own is one more."""
    body: DiscrepancyBody
    """What holds; of a cleared one: what held until now."""
    reopened: int = 0
    previous_amount: Decimal | None = None
    """Of a changed one."""
    verdict: Literal["matched", "not_comparable"] = "matched"
    """Of a cleared one: what holds instead."""

    @property
    def after(self) -> StoredVerdict:
        """What is stored once the record is appended."""
        return StoredVerdict(self.expected + 1, self.kind != "cleared", self.body, self.reopened)


def discrepancy_stream(tenant: str, stream_key: StreamKey) -> UUID:
    """The stream of one discrepancy: its stable id."""
    return stream_id("discrepancies", tenant, "discrepancy", *stream_key)


def diff(previous: Mapping[StreamKey, StoredVerdict], breaks: Iterable[Break], state: State | None) -> list[Change]:
    """What to append, in order of streams. ``previous`` holds the streams of *this* group, open and cleared ones;
    ``state`` is the new verdict's (``None``: the group is empty). Raises ``ValueError`` if two breaks share a stream.
    """
    now = {}
    for one in breaks:
        if one.stream_key in now:
            raise ValueError(f"two breaks share the stream {one.stream_key}")
        now[one.stream_key] = one.body
    changes = [_step(key, previous.get(key), now.get(key), state) for key in sorted(previous.keys() | now.keys())]
    return [change for change in changes if change is not None]


def _step(
    key: StreamKey, before: StoredVerdict | None, body: DiscrepancyBody | None, state: State | None
) -> Change | None:
    if before is None or not before.open:
        if body is None:
            return None
        if before is None:
            return Change("detected", key, 0, body)
        return Change("detected", key, before.version, body, before.reopened + 1)
    if body is None:
        verdict: Literal["matched", "not_comparable"] = "not_comparable" if state is State.NOT_COMPARABLE else "matched"
        return Change("cleared", key, before.version, before.body, before.reopened, verdict=verdict)
    if material(body) == material(before.body):
        return None
    return Change("changed", key, before.version, body, before.reopened, previous_amount=before.body.amount)
