"""Contract lines and measures, short to write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from shared.events.contracts import RoundingStep, Terms
from shared.kernel.periods import Period, instant_of
from shared.reconciliation.rating import parts
from shared.reconciliation.rating.model import Amount, Component, Level, Measurement, Part, Service, Version

D = Decimal
JUNE = Part(date(2025, 6, 1), date(2025, 7, 1), date(2025, 6, 1), date(2025, 7, 1))


def day(text: str, year: int = 2025) -> date:
    """``6-11`` of 2025."""
    month, of_month = text.split("-")
    return date(year, int(month), int(of_month))


def terms(kind: str, *, price: dict[str, Any] | None = None, **more: Any) -> Terms:
    return Terms.model_validate({"price": {"kind": kind, **(price or {})}, **more})


def unit(amount: str, **more: Any) -> Terms:
    return terms("unit", price={"unit_amount": amount}, **more)


def flat(amount: str, **more: Any) -> Terms:
    return terms("flat", price={"amount": amount}, **more)


def tiers(
    *rows: tuple[str | None, str] | tuple[str | None, str, str] | tuple[str | None, str, str, str],
) -> dict[str, Any]:
    """Rows of up_to, unit amount, flat amount, size."""
    names = ("up_to", "unit_amount", "flat_amount", "size")
    return {"tiers": [{n: v for n, v in zip(names, row, strict=False) if v is not None} for row in rows]}


def service(of: Terms, start: date = date(2025, 1, 1), end: date | None = None, **more: Any) -> Service:
    return Service((Version(of, start, end),), more.pop("currency", "EUR"), **more)


def versions(*of: tuple[str, Terms], end: date | None = None) -> Service:
    starts = [day(start) for start, _ in of]
    ends = [*starts[1:], end]
    return Service(tuple(Version(t, s, e) for (_, t), s, e in zip(of, starts, ends, strict=True)), "EUR")


def counter(*quantities: str, on: str = "6-5", unit: str | None = None) -> Measurement:
    return used(*((on, quantity) for quantity in quantities), unit=unit)


def used(*of: tuple[str, str], kind: Any = "counter", unit: str | None = None) -> Measurement:
    """Amounts by day: each a minute after the one before it, from noon on."""
    return Measurement(
        kind,
        amounts=tuple(
            Amount(instant_of(day(on), "UTC") + timedelta(hours=12, minutes=i), D(quantity))
            for i, (on, quantity) in enumerate(of)
        ),
        unit=unit,
    )


def seats(*of: tuple[str, str], zone: str = "UTC", until: date | None = None) -> Measurement:
    """Levels by day, from its first instant on."""
    end = None if until is None else instant_of(until, zone)
    return Measurement("gauge", levels=tuple(Level(instant_of(day(on), zone), D(q), end) for on, q in of))


def figures(components: Iterable[Component]) -> list[tuple[str, Decimal]]:
    """Components and totals."""
    return [(component.component, component.total) for component in components]


def amounts(components: Sequence[Component]) -> dict[str, Decimal]:
    assert len({c.component for c in components}) == len(components)
    return {component.component: component.amount for component in components}


def parts_of(of: Service, start: date, end: date) -> tuple[Part, ...]:
    return parts(of, Period(start, end))


def at(instant: str) -> datetime:
    return datetime.fromisoformat(instant)


def step(scale: int, mode: str = "half_up") -> RoundingStep:
    return RoundingStep.model_validate({"mode": mode, "scale": scale})
