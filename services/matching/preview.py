"""What a mapping would do, before anyone confirms it: the fold, the resolver and the draw, in a transaction that is
rolled back (docs/decisions/0107).

The mapping is folded as its record would be, the groups that it touches are found and drawn from the same transaction,
and compared with the verdicts that stand. Nothing is committed, nothing is appended, and nobody else waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import Any, NamedTuple

import asyncpg
import orjson

from services.matching import cells
from services.matching.compare import Comparer
from services.matching.expand import EXCLUSIVE, NO_MONTH, Due, Key, expand
from services.matching.statements import Held
from services.matching.store import SOURCE, Drawn, changes
from shared.events.catalogue import CATALOGUE, mapping_stream
from shared.events.discrepancies import Direction, DiscrepancyBody
from shared.events.mappings import MappingConfirmed, MappingWithdrawn
from shared.events.record import Context, draft_decision
from shared.kernel.canonical import canonical
from shared.kernel.money import amount_text
from shared.kernel.periods import month_of
from shared.reconciliation.client_level import LEVEL
from shared.reconciliation.diff import Change
from shared.reconciliation.exact import exact
from shared.reconciliation.facts import Cell, extract
from shared.runtime.clock import Clock

GROUPS_MAX = 2_000
"""Groups that one preview draws."""
SECONDS_MAX = 4.0
"""How long it draws: shorter than a fold waits for the mapping that is being tried out. Both bounds are asked between
two months: an answer says where it stopped."""
AT_ONCE = 2
"""Previews at a time in one process; others wait."""
_RAW_MAX = 50
"""Turns of finding groups: a mapping with thousands of meters takes a few."""
_VERSION = 2**31 - 2
"""Of the mapping in its stream: after whatever has been decided."""
_ZERO = Decimal(0)

Mapped = MappingConfirmed | MappingWithdrawn


class Step(NamedTuple):
    """One record that would be appended."""

    change: Change
    before: DiscrepancyBody | None
    """What is open until then."""


@dataclass(frozen=True)
class PeriodEffect:
    """What would be recorded of a client's month, or of an identifier (then ``period`` is ``None``)."""

    owner: str
    """The client, or the identifier's source."""
    month: date | None
    changes: tuple[Step, ...]
    """By stream."""
    closed: bool = False
    """Whether the month is closed."""


@dataclass(frozen=True)
class Money:
    """What the changes of one direction and currency come to; amounts of two currencies are never added up."""

    direction: Direction
    currency: str
    opened: Decimal
    """Detected, and what open ones grew by."""
    cleared: Decimal
    """Cleared, and what open ones shrank by."""
    periods: int
    """In how many clients' months."""


@dataclass(frozen=True)
class Effect:
    """What a mapping would do."""

    periods: tuple[PeriodEffect, ...]
    """By client and month; months in which nothing would change are left out."""
    identifiers: tuple[PeriodEffect, ...]
    """Unmapped identifiers, whose amounts are estimates and part of no sum."""
    groups: int
    """Groups that were drawn."""
    left: int = 0
    """Groups that were not, because of the bounds."""
    money: tuple[Money, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "money", _money(self.periods))

    def count(self, kind: str) -> int:
        """How many discrepancies of clients would be ``detected``, ``changed`` or ``cleared``."""
        return sum(1 for period in self.periods for step in period.changes if step.change.kind == kind)


# --- sums ------------------------------------------------------------------------------------------------------------
@exact
def _money(periods: Iterable[PeriodEffect]) -> tuple[Money, ...]:
    opened: dict[tuple[Direction, str], Decimal] = {}
    cleared: dict[tuple[Direction, str], Decimal] = {}
    months: dict[tuple[Direction, str], set[tuple[str, date | None]]] = {}
    for period in periods:
        for step in period.changes:
            for key, moved in _moves(step):
                (opened if moved > 0 else cleared).setdefault(key, _ZERO)
                if moved > 0:
                    opened[key] += moved
                else:
                    cleared[key] -= moved
                months.setdefault(key, set()).add((period.owner, period.month))
    return tuple(
        Money(*key, opened.get(key, _ZERO), cleared.get(key, _ZERO), len(months[key])) for key in sorted(months)
    )


def _moves(step: Step) -> Iterable[tuple[tuple[Direction, str], Decimal]]:
    """By how much each direction and currency moves."""
    moves: dict[tuple[Direction, str], Decimal] = {}
    after = None if step.change.kind == "cleared" else step.change.body
    for body, sign in ((step.before, -1), (after, 1)):
        if body is not None and body.amount is not None and body.currency is not None:
            key = (body.direction, body.currency)
            moves[key] = moves.get(key, _ZERO) + sign * body.amount
    return [(key, moved) for key, moved in moves.items() if moved]


def sentence(wanted: Mapped, effect: Effect) -> str:
    """``Confirming account acronis 8841 = cobalt back-bills EUR 2548.80 over 12 months (4 closed), opens 12.``"""
    said = [text for one in effect.money for text in _said(one)]
    closed = sum(1 for period in effect.periods if period.closed)
    if said:
        months = len({(period.owner, period.month) for period in effect.periods})
        said[-1] += f" over {months} month{'s' if months != 1 else ''}" + (f" ({closed} closed)" if closed else "")
    counts = [
        f"{word} {effect.count(kind)}"
        for kind, word in (("detected", "opens"), ("changed", "changes"), ("cleared", "clears"))
        if effect.count(kind)
    ]
    does = ", ".join([*said, *counts]) or "changes nothing that was compared"
    stopped = f"; {effect.left} groups more were not looked at" if effect.left else ""
    return f"{_doing(wanted)} {does}{stopped}."


def _doing(wanted: Mapped) -> str:
    what = f"{wanted.kind} {wanted.source} {wanted.key}"
    if isinstance(wanted, MappingWithdrawn):
        return f"Withdrawing {what}"
    if wanted.excluded is not None:
        return f"Excluding {what}"
    return f"Confirming {what} = {', '.join(target.id for target in wanted.targets)}"


_VERBS = {
    Direction.CLIENT_OWES_US: ("back-bills", "takes back back-bills of"),
    Direction.WE_OWE_CLIENT: ("credits", "takes back credits of"),
    Direction.VENDOR_OWES_US: ("claims from vendors", "drops claims from vendors of"),
    Direction.WE_OWE_VENDOR: ("owes vendors", "no longer owes vendors"),
}


def _said(one: Money) -> Iterable[str]:
    for verb, amount in zip(_VERBS[one.direction], (one.opened, one.cleared), strict=True):
        if amount:
            yield f"{verb} {one.currency} {amount_text(amount, one.currency)}"


# --- drawing ---------------------------------------------------------------------------------------------------------
class TooBusy(Exception):
    """Others move the same mapping at this moment; the preview was given up."""


class _Unlocked:
    """A transaction whose finding of groups locks nobody out: a group that is being drawn at this moment may be missed,
    which a preview may (:func:`services.matching.expand.expand`)."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def execute(self, sql: str, *arguments: Any) -> Any:
        return None if sql == EXCLUSIVE else await self._connection.execute(sql, *arguments)

    async def fetch(self, sql: str, *arguments: Any) -> Any:
        return await self._connection.fetch(sql, *arguments)

    async def fetchrow(self, sql: str, *arguments: Any) -> Any:
        return await self._connection.fetchrow(sql, *arguments)


class Preview:
    """Says what a mapping would do. ``pool`` is one of the ``_work`` role; nothing is ever committed on it."""

    def __init__(
        self, pool: Any, clock: Clock, *, groups_max: int = GROUPS_MAX, seconds_max: float = SECONDS_MAX
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._groups_max = groups_max
        self._seconds_max = seconds_max
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def of_mapping(self, tenant: str, wanted: Mapped) -> Effect:
        """What would be recorded if ``wanted`` were decided now. Raises :class:`TooBusy`."""
        async with self._turn, self._pool.acquire() as connection:
            transaction = connection.transaction(isolation="repeatable_read")
            await transaction.start()
            try:
                # Whoever folds the same mapping at this moment need not wait long for us, nor we for him.
                await connection.execute("SET LOCAL lock_timeout = '1s'")
                return await self._effect(connection, tenant, wanted)
            except (asyncpg.SerializationError, asyncpg.LockNotAvailableError) as error:
                raise TooBusy(str(error)) from error
            finally:
                await transaction.rollback()

    async def _effect(self, connection: Any, tenant: str, wanted: Mapped) -> Effect:
        cell, cause = _folded(tenant, wanted, self._clock)
        await cells.merge(connection, [cells.row(cell, cause)])
        keys = await _touched(connection, cell, cause)
        ends = self._clock.monotonic() + self._seconds_max
        found: list[PeriodEffect] = []
        drawn = 0
        units = [(unit, list(group)) for unit, group in groupby(sorted(keys, key=_order), key=_unit)]
        for unit, group in units:
            if drawn and (drawn + len(group) > self._groups_max or self._clock.monotonic() > ends):
                break
            found.append(await _draw(connection, unit, dict.fromkeys(group, cause)))
            drawn += len(group)
        return await _with_closed(connection, tenant, found, drawn, len(keys) - drawn)


def _folded(tenant: str, wanted: Mapped, clock: Clock) -> tuple[Cell, str]:
    """The cell that a record of the decision would fill, and the cause that it would be."""
    name = "mapping.withdrawn.v1" if isinstance(wanted, MappingWithdrawn) else "mapping.confirmed.v1"
    draft = draft_decision(
        CATALOGUE[name],
        tenant=tenant,
        source=SOURCE,
        record_id="preview",
        time=clock.now(),
        data=wanted,
        command={},
        stream=mapping_stream(tenant, wanted.kind, wanted.source, wanted.key),
        expected=_VERSION - 1,
        context=Context("preview"),
    )
    fields = orjson.loads(draft.body)
    cell = extract(fields)
    assert isinstance(cell, Cell)
    cause = {"record": "preview", "type": name, "recorded_at": fields["time"], "id": "preview", "correlation": None}
    return cell, canonical(cause).decode()


async def _touched(connection: Any, cell: Cell, cause: str) -> set[Key]:
    """The groups that the mapping touches, as the resolver finds them."""
    unlocked, keys = _Unlocked(connection), set[Key]()
    dues: Sequence[Due] = [Due(cell.tenant, "mapping", None, cell.key, None, None, cause)]
    for _ in range(_RAW_MAX):
        found = await expand(unlocked, dues)
        keys |= found.keys.keys()
        dues = [Due(tenant, kind, meter, tuple(key), None, None, cause) for tenant, kind, meter, key in found.raw]
        if not dues:
            break
    return keys


def _unit(key: Key) -> Key:
    """What is drawn together: a client's month, or the identifiers of one kind."""
    if key.level in ("product", "client"):
        return Key(key.tenant, "client", key.owner, key.month, LEVEL)
    return Key(key.tenant, key.level, "", NO_MONTH, "")


def _order(key: Key) -> tuple[Any, ...]:
    """Identifiers first, then clients, of each the newest month first: that is where an answer may end."""
    unit = _unit(key)
    return unit.level == "client", unit.level, unit.owner, -unit.month.toordinal(), key.level, key.owner, key.item


async def _draw(connection: Any, unit: Key, causes: Mapping[Key, str]) -> PeriodEffect:
    whole = unit if unit.level == "client" else next(iter(causes))
    drawn: Drawn = await Comparer(Held(connection)).draw(whole, causes)
    steps = [Step(change, before) for _, change, before in await changes(connection, drawn)]
    moved = sorted(steps, key=lambda step: step.change.stream_key)
    return PeriodEffect(unit.owner, unit.month if unit.level == "client" else None, tuple(moved))


_CLOSED = """
SELECT c.owner, c.month FROM matching.closing c
  JOIN unnest($2::text[], $3::date[]) AS p(owner, month) USING (owner, month) WHERE c.tenant = $1"""


async def _with_closed(connection: Any, tenant: str, found: Sequence[PeriodEffect], drawn: int, left: int) -> Effect:
    moved = [one for one in found if one.changes]
    periods = sorted((one for one in moved if one.month is not None), key=lambda one: (one.owner, one.month))
    owners, months = [one.owner for one in periods], [one.month for one in periods]
    closed = {tuple(row) for row in await connection.fetch(_CLOSED, tenant, owners, months)}
    return Effect(
        periods=tuple(
            PeriodEffect(one.owner, one.month, one.changes, (one.owner, one.month) in closed) for one in periods
        ),
        identifiers=tuple(one for one in moved if one.month is None),
        groups=drawn,
        left=left,
    )


# --- shapes ----------------------------------------------------------------------------------------------------------
def shown(wanted: Mapped, effect: Effect) -> dict[str, Any]:
    """As JSON values and Decimals."""
    return {
        "sentence": sentence(wanted, effect),
        "mapping": wanted.model_dump(mode="json", exclude_defaults=True),
        "withdraw": isinstance(wanted, MappingWithdrawn),
        "opens": effect.count("detected"),
        "changes": effect.count("changed"),
        "clears": effect.count("cleared"),
        "sums": [
            {
                "direction": one.direction,
                "currency": one.currency,
                "opened": one.opened,
                "cleared": one.cleared,
                "periods": one.periods,
            }
            for one in effect.money
        ],
        "periods": [
            {"client": one.owner, "period": _span(one.month), "closed": one.closed} | _changes_shown(one)
            for one in effect.periods
            if one.month is not None
        ],
        "identifiers": [_changes_shown(one) for one in effect.identifiers],
        "groups": effect.groups,
        "complete": not effect.left,
        "left": effect.left,
    }


def _span(month: date) -> dict[str, date]:
    period = month_of(month)
    return {"from": period.start, "to": period.end}


def _changes_shown(one: PeriodEffect) -> dict[str, Any]:
    return {
        kind: [_change_shown(step.change) for step in one.changes if step.change.kind == kind]
        for kind in ("detected", "changed", "cleared")
    }


def _change_shown(change: Change) -> dict[str, Any]:
    body: DiscrepancyBody = change.body
    said = body.model_dump(mode="json", exclude_defaults=True)
    names = ("code", "product", "vendor_source", "account", "sku", "direction", "amount", "currency", "why", "reached")
    told = {name: said[name] for name in (*names, "standing") if name in said}
    return told | ({"previous_amount": change.previous_amount} if change.kind == "changed" else {})
