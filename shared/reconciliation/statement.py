"""A client's month as a statement: every line of its groups, its totals on three sides, and one document of them.

The verdicts are the source of every figure here: nothing is rated or compared a second time. What a verdict says
without a line of its own (a break of neither side, a side that is missing) becomes a line too, so that no statement
looks cleaner than its verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, NamedTuple

import orjson

from shared.events.discrepancies import Code, Step
from shared.kernel.canonical import canonical, sha256_hex
from shared.kernel.periods import Period
from shared.reconciliation.exact import exact
from shared.reconciliation.verdict import LineState, State, StatementLine, VendorTotals, Verdict

VERSION = 1
"""Of the document's shape."""
_ZERO = Decimal(0)
_AMOUNTS = ("expected", "billed", "cost", "quantity_expected", "quantity_billed", "price_expected", "price_billed")
_PARTS = ("explained", "pending", "broken")
_TEXTS = ("currency", "cost_currency", "contract_ref", "billed_ref", "by")


@dataclass(frozen=True, slots=True)
class Totals:
    """One currency: ``billed - expected - explained - pending - broken = 0``, exactly.

    Raises ``ArithmeticError`` if it is not. A pending line counts with the side that is known, all of it as pending;
    of any other line both sides have to be known.
    """

    currency: str
    expected: Decimal = _ZERO
    billed: Decimal = _ZERO
    explained: Decimal = _ZERO
    pending: Decimal = _ZERO
    broken: Decimal = _ZERO
    cost: Decimal | None = None
    """What vendors billed; ``None``: nothing is known of it."""

    def __post_init__(self) -> None:
        if self.residual != 0:
            raise ArithmeticError(f"the residual {self.residual} of {self.currency} is not zero: {self}")

    @property
    @exact
    def residual(self) -> Decimal:
        return self.billed - self.expected - self.explained - self.pending - self.broken


class Counts(NamedTuple):
    """Lines by state."""

    lines: int = 0
    matched: int = 0
    explained: int = 0
    pending: int = 0
    broken: int = 0

    @property
    def compared(self) -> int:
        """Lines both of whose sides were set against each other."""
        return self.lines - self.pending


StatementState = Literal["nothing_compared", "break", "pending", "settled"]


def state_of(counts: Counts) -> StatementState:
    """What holds for lines together. No lines at all is ``nothing_compared``, which is not clean.

    >>> state_of(Counts()), state_of(Counts(2, matched=1, pending=1))
    ('nothing_compared', 'pending')
    """
    if not counts.lines:
        return "nothing_compared"
    return "break" if counts.broken else "pending" if counts.pending else "settled"


@dataclass(frozen=True)
class GroupLines:
    """One group's part of a statement. Raises ``ValueError`` if two of its lines share a key."""

    item: str
    """The group: its least product, or ``*`` for what is said of the whole client."""
    lines: tuple[StatementLine, ...]
    """In order of their keys."""
    vendor: tuple[VendorTotals, ...] = ()
    """The vendors' side, by currency."""

    def __post_init__(self) -> None:
        keys = [line.key for line in self.lines]
        if len(set(keys)) < len(keys):
            raise ValueError(f"two lines of group {self.item} share a key: {keys}")
        object.__setattr__(self, "lines", tuple(sorted(self.lines, key=lambda line: line.key)))
        object.__setattr__(self, "vendor", tuple(sorted(self.vendor, key=lambda one: one.currency)))

    @cached_property
    def totals(self) -> tuple[Totals, ...]:
        return totals_of([self])

    @cached_property
    def counts(self) -> Counts:
        return counts_of([self])

    def document(self) -> dict[str, Any]:
        """As JSON values and Decimals, for :func:`~shared.kernel.canonical.canonical`; :func:`read_group` reads it."""
        vendor = [{field.name: getattr(one, field.name) for field in fields(one)} for one in self.vendor]
        return {"item": self.item, "lines": [line_document(line) for line in self.lines], "vendor": vendor}


@dataclass(frozen=True)
class Statement:
    """A client's period: :func:`statement` makes it from verdicts, :func:`read_statement` from its document."""

    client: str
    period: Period
    groups: tuple[GroupLines, ...]
    """By item. Groups without a line are none."""

    @cached_property
    def totals(self) -> tuple[Totals, ...]:
        """By currency; empty: no amount is known, which is not the same as clean."""
        return totals_of(self.groups)

    @cached_property
    def counts(self) -> Counts:
        return counts_of(self.groups)

    @property
    def state(self) -> StatementState:
        return state_of(self.counts)

    @property
    def until(self) -> date | None:
        """When the last of the missing sides is due, as far as that is known."""
        return max((line.until for group in self.groups for line in group.lines if line.until), default=None)

    @cached_property
    def document(self) -> bytes:
        """The canonical document of the lines: the same facts give the same bytes."""
        period = {"from": self.period.start, "to": self.period.end}
        groups = [group.document() for group in self.groups]
        return canonical({"client": self.client, "groups": groups, "period": period, "version": VERSION})

    @property
    def digest(self) -> str:
        """SHA-256 of :attr:`document`, in hex."""
        return sha256_hex(self.document)


def statement(client: str, period: Period, verdicts: Mapping[str, Verdict | None]) -> Statement:
    """The statement of a client's period from the verdicts of its groups (``*``: the client's own level), by item."""
    groups = (group_lines(item, verdicts[item], period) for item in sorted(verdicts))
    return Statement(client, period, tuple(group for group in groups if group.lines))


@exact
def group_lines(item: str, verdict: Verdict | None, period: Period) -> GroupLines:
    """A verdict's lines, and one for each thing that it says beside them."""
    if verdict is None:
        return GroupLines(item, ())
    lines = verdict.lines or _whole(item, verdict, period)
    return GroupLines(item, (*lines, *_unsaid(item, verdict, lines, period)), verdict.vendor)


def _whole(item: str, verdict: Verdict, period: Period) -> tuple[StatementLine, ...]:
    """One line for a verdict that has figures and no lines."""
    if verdict.expected is None or verdict.billed is None or item == "*":
        return ()  # what is said of the whole client is money that its groups' lines hold already
    waits = "pending" in (verdict.explained_by or "")
    state = {
        State.MATCHED: LineState.EXPLAINED if verdict.explained else LineState.MATCHED,
        State.BREAK: LineState.BREAK,
        State.NOT_COMPARABLE: LineState.PENDING,
    }[verdict.state]
    waiting = sorted((one.side, one.what) for one in verdict.waiting)
    line = StatementLine(
        key=("group", item),
        product=item,
        service=period,
        state=state,
        currency=verdict.currency,
        expected=verdict.expected,
        billed=verdict.billed,
        explained=_ZERO if waits else verdict.explained,
        pending=verdict.explained if waits else _ZERO,
        broken=verdict.broken,
        by=verdict.explained_by or next((what for _, what in waiting), None),
        until=_until(verdict),
        codes=tuple(sorted({one.body.code for one in verdict.breaks})),
    )
    return (line,)


def _unsaid(item: str, verdict: Verdict, lines: Iterable[StatementLine], period: Period) -> Iterable[StatementLine]:
    """What a verdict says and none of its lines does: breaks of neither side, sides that are missing."""
    lines = tuple(lines)
    told = {code for line in lines for code in line.codes}
    for one in verdict.breaks:
        if one.body.code not in told:
            line = StatementLine(
                key=("break", *one.stream_key),
                product=one.body.product or item,
                service=period,
                state=LineState.BREAK,
                currency=one.body.currency,
                by=one.body.why,
                codes=(one.body.code,),
            )
            amount = one.body.amount
            if one.body.code is Code.UNBILLED_CLIENT and amount is not None:
                # What is due is in the groups' lines, which wait for the invoice: here it is concluded.
                line = replace(line, expected=_ZERO, billed=_ZERO, pending=amount, broken=-amount)
            yield line
    if verdict.state is State.NOT_COMPARABLE and not any(line.state is LineState.PENDING for line in lines):
        for waiting in sorted(set(verdict.waiting), key=lambda one: (one.side, one.what)):
            yield StatementLine(
                key=("waiting", waiting.side, waiting.what),
                product=item,
                service=period,
                state=LineState.PENDING,
                by=waiting.what,
                until=waiting.until,
            )


def _until(verdict: Verdict) -> date | None:
    return max((one.until for one in verdict.waiting if one.until), default=None)


# --- sums --------------------------------------------------------------------------------------------------------
@exact
def totals_of(groups: Iterable[GroupLines]) -> tuple[Totals, ...]:
    """The sums of lines by currency; amounts of two currencies are never added up. What vendors billed is taken from
    the groups' vendor sides, and where a group has none from its lines."""
    sums: dict[str, dict[str, Decimal]] = {}
    costs: dict[str, Decimal] = {}
    for group in groups:
        for line in group.lines:
            figures = _figures(line)
            if line.currency is not None and figures is not None:
                of = sums.setdefault(line.currency, dict.fromkeys(("expected", "billed", *_PARTS), _ZERO))
                for name, amount in figures.items():
                    of[name] += amount
        for currency, cost in _costs(group):
            costs[currency] = costs.get(currency, _ZERO) + cost
    return tuple(
        Totals(currency, **sums.get(currency, {}), cost=costs.get(currency))
        for currency in sorted(sums.keys() | costs.keys())
    )


def _figures(line: StatementLine) -> dict[str, Decimal] | None:
    """What a line adds to the totals, if anything."""
    if line.expected is not None and line.billed is not None:
        parts = {name: getattr(line, name) for name in _PARTS}
        return {"expected": line.expected, "billed": line.billed, **parts}
    if line.state is not LineState.PENDING or (line.expected is None and line.billed is None):
        return None
    expected, billed = line.expected or _ZERO, line.billed or _ZERO
    return {"expected": expected, "billed": billed, "pending": billed - expected}


def _costs(group: GroupLines) -> Iterable[tuple[str, Decimal]]:
    if group.vendor:
        return ((one.currency, one.billed) for one in group.vendor)
    return (
        (line.cost_currency, line.cost)
        for line in group.lines
        if line.cost is not None and line.cost_currency is not None
    )


def counts_of(groups: Iterable[GroupLines]) -> Counts:
    """Lines by state."""
    states = [line.state for group in groups for line in group.lines]
    by = {state: states.count(state) for state in LineState}
    return Counts(
        len(states), by[LineState.MATCHED], by[LineState.EXPLAINED], by[LineState.PENDING], by[LineState.BREAK]
    )


# --- documents ---------------------------------------------------------------------------------------------------
def line_document(line: StatementLine) -> dict[str, Any]:
    """A line as JSON values and Decimals. What is not said has its default."""
    said: dict[str, Any] = {
        "key": list(line.key),
        "product": line.product,
        "service": {"from": line.service.start, "to": line.service.end},
        "state": line.state.value,
    }
    said |= {name: getattr(line, name) for name in (*_AMOUNTS, *_TEXTS, "until") if getattr(line, name) is not None}
    said |= {name: getattr(line, name) for name in _PARTS if getattr(line, name)}
    if line.codes:
        said["codes"] = [code.value for code in line.codes]
    if line.steps:
        said["steps"] = [step.model_dump(mode="json", exclude_defaults=True) for step in line.steps]
    return said


def _read_line(said: Mapping[str, Any]) -> StatementLine:
    until = said.get("until")
    texts: dict[str, Any] = {name: said.get(name) for name in _TEXTS}
    decimals: dict[str, Any] = {name: Decimal(said[name]) for name in (*_AMOUNTS, *_PARTS) if name in said}
    return StatementLine(
        key=tuple(said["key"]),
        product=said["product"],
        service=Period(date.fromisoformat(said["service"]["from"]), date.fromisoformat(said["service"]["to"])),
        state=LineState(said["state"]),
        until=None if until is None else date.fromisoformat(until),
        codes=tuple(Code(code) for code in said.get("codes", ())),
        steps=tuple(Step.model_validate(step) for step in said.get("steps", ())),
        **texts,
        **decimals,
    )


@exact
def read_group(said: Mapping[str, Any]) -> GroupLines:
    """The inverse of :meth:`GroupLines.document`, after a turn through JSON."""
    vendor = (
        VendorTotals(
            one["currency"],
            None if one["expected"] is None else Decimal(one["expected"]),
            *(Decimal(one[name]) for name in ("billed", "explained", "broken")),
        )
        for one in said["vendor"]
    )
    return GroupLines(said["item"], tuple(_read_line(line) for line in said["lines"]), tuple(vendor))


def read_statement(document: bytes) -> Statement:
    """The inverse of :attr:`Statement.document`. Raises ``ValueError`` for a shape that this release does not know."""
    said = orjson.loads(document)
    if said.get("version") != VERSION:
        raise ValueError(f"a statement of shape {said.get('version')}; this release reads {VERSION}")
    period = Period(date.fromisoformat(said["period"]["from"]), date.fromisoformat(said["period"]["to"]))
    return Statement(said["client"], period, tuple(read_group(group) for group in said["groups"]))


# --- what changed ------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class LineChange:
    """A line that is not what it was."""

    item: str
    key: tuple[str, ...]
    kind: Literal["added", "removed", "changed"]
    before: StatementLine | None
    after: StatementLine | None
    fields: tuple[str, ...] = ()
    """Which of its fields differ, of a changed one. ``steps`` alone: only the evidence has grown."""

    @property
    @exact
    def by(self) -> Decimal | None:
        """By how much ``billed - expected`` moved; ``None`` where it is not known on one side."""
        before, after = _difference(self.before), _difference(self.after)
        return None if before is None or after is None else after - before


def _difference(line: StatementLine | None) -> Decimal | None:
    if line is None:
        return _ZERO
    return None if line.expected is None or line.billed is None else line.billed - line.expected


def diff(old: Statement, new: Statement) -> tuple[LineChange, ...]:
    """Line by line what differs between two statements, in order of group and key."""
    before, after = _by_key(old), _by_key(new)
    changes = (_change(key, before.get(key), after.get(key)) for key in sorted(before.keys() | after.keys()))
    return tuple(change for change in changes if change is not None)


def _by_key(one: Statement) -> dict[tuple[str, tuple[str, ...]], StatementLine]:
    return {(group.item, line.key): line for group in one.groups for line in group.lines}


def _change(
    key: tuple[str, tuple[str, ...]], before: StatementLine | None, after: StatementLine | None
) -> LineChange | None:
    if before is None or after is None:
        return LineChange(*key, "added" if before is None else "removed", before, after)
    differing = tuple(
        field.name for field in fields(before) if getattr(before, field.name) != getattr(after, field.name)
    )
    return LineChange(*key, "changed", before, after, differing) if differing else None
