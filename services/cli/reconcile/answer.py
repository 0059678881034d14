"""The one answer that every output shows: statements, discrepancies, what is pending and why, and what was assumed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, Protocol

from services.cli.reconcile.sheets import TENANT, Rejected
from shared.events.discrepancies import Direction, DiscrepancyBody, Standing
from shared.kernel.periods import Period
from shared.reconciliation.statement import (
    Counts,
    GroupLines,
    Statement,
    StatementState,
    Totals,
    state_of,
    statement,
)
from shared.reconciliation.verdict import LineState, StatementLine, Verdict
from shared.reconciliation.world import Group, Verdicts, World

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class File:
    """What was read of one file."""

    name: str
    kind: str
    profile: str
    source: str
    rows: int
    records: int
    rejected: int


class Sum(NamedTuple):
    """How much in one direction, of one standing and currency."""

    direction: Direction
    standing: str
    """``owed``, ``at_risk``, ``lost``, or ``unknown`` where no amount is known."""
    currency: str | None
    amount: Decimal | None
    discrepancies: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A client's month."""

    client: str
    period: Period
    totals: tuple[Totals, ...]
    counts: Counts
    groups: tuple[GroupLines, ...]
    """All groups; of large inputs those with a line that does not match."""
    left_out: int = 0
    """Lines that match and stand in ``statements.csv`` alone."""
    digest: str | None = None
    """SHA-256 of the statement's document; of large inputs it is not made."""

    @classmethod
    def of(cls, one: Statement) -> Summary:
        return cls(one.client, one.period, one.totals, one.counts, one.groups, 0, one.digest)

    @property
    def state(self) -> StatementState:
        return state_of(self.counts)


class Pending(NamedTuple):
    """A line of a statement that waits."""

    client: str
    period: Period
    line: StatementLine


class Names(Protocol):
    """What clients and products are called."""

    def client(self, one: str) -> str: ...

    def product(self, one: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything that there is to say."""

    periods: tuple[Period, ...]
    as_of: date
    files: tuple[File, ...]
    assumed: tuple[str, ...]
    statements: tuple[Summary, ...]
    """By client and period."""
    discrepancies: tuple[DiscrepancyBody, ...]
    """The largest amounts first."""
    rejected: tuple[Rejected, ...]
    clients: Mapping[str, str]
    """Id -> name."""
    products: Mapping[str, str]
    """Id -> name."""
    lines_csv: Path | None = None
    """``statements.csv`` as it was written for large inputs."""

    @property
    def compared(self) -> int:
        """Lines both of whose sides were set against each other."""
        return sum(one.counts.compared for one in self.statements)

    @property
    def lines(self) -> int:
        return sum(one.counts.lines for one in self.statements)

    def client(self, one: str) -> str:
        """A client's name."""
        return self.clients.get(one, one)

    def product(self, one: str) -> str:
        """A product's name."""
        return "(all)" if one == "*" else self.products.get(one, one)

    def pending(self) -> Iterator[Pending]:
        """What waits, by client, period and line."""
        for one in self.statements:
            for group in one.groups:
                for line in group.lines:
                    if line.state is LineState.PENDING:
                        yield Pending(one.client, one.period, line)


def statements(verdicts: Mapping[Verdicts, Verdict], periods: Sequence[Period]) -> tuple[Summary, ...]:
    """The statements of the periods, by client and period."""
    of: dict[tuple[str, Period], dict[str, Verdict | None]] = defaultdict(dict)
    for key, verdict in verdicts.items():
        if isinstance(key, Group) and key.period in periods:
            of[key.client, key.period][key.product] = verdict
    return tuple(Summary.of(statement(client, period, of[client, period])) for client, period in sorted(of))


def discrepancies(verdicts: Mapping[Verdicts, Verdict], periods: Sequence[Period]) -> tuple[DiscrepancyBody, ...]:
    """Every discrepancy of the periods and every identifier that is not mapped, the largest amounts first."""
    found = [
        (one.stream_key, one.body)
        for key, verdict in verdicts.items()
        if not isinstance(key, Group) or key.period in periods
        for one in verdict.breaks
    ]
    return largest_first(found)


def largest_first(found: Iterable[tuple[tuple[str, ...], DiscrepancyBody]]) -> tuple[DiscrepancyBody, ...]:
    """The bodies of breaks, given with their streams' keys; those without an amount last."""
    return tuple(body for _, body in sorted(found, key=_largest_first))


def _largest_first(one: tuple[tuple[str, ...], DiscrepancyBody]) -> tuple[bool, Decimal, tuple[str, ...]]:
    key, body = one
    return body.amount is None, -(body.amount or ZERO), key


def draw(records: Iterable[dict[str, object]]) -> Mapping[Verdicts, Verdict]:
    """The verdict on every group, every client's level and every identifier that is not mapped."""
    return World().fold(records).verdicts(TENANT)


def standing_of(body: DiscrepancyBody) -> str:
    """``owed``, ``at_risk``, ``lost``, or ``unknown`` where no amount is known."""
    return "unknown" if body.amount is None else str(body.standing or Standing.AT_RISK)


def sums(bodies: Iterable[DiscrepancyBody]) -> list[Sum]:
    """How much by direction, standing and currency, in this order."""
    found: dict[tuple[Direction, str, str], list[Decimal]] = defaultdict(list)
    for body in bodies:
        found[body.direction, standing_of(body), body.currency or ""].append(body.amount or ZERO)
    return [
        Sum(direction, standing, currency or None, None if standing == "unknown" else sum(of, ZERO), len(of))
        for (direction, standing, currency), of in sorted(found.items())
    ]
