"""Given: short builders of the inputs of one group (October 2026 of Northwind Dental, product ``edr``)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from shared.events.contracts import FlatPrice, Recurring, Terms, UnitPrice
from shared.events.discrepancies import DiscrepancyBody, Source
from shared.kernel.periods import Period
from shared.reconciliation.compare import draw_group
from shared.reconciliation.inputs import (
    Client,
    FeedSpan,
    GroupInputs,
    InvoiceLineFacts,
    InvoiceState,
    LineVersion,
    Measured,
    Observation,
    Product,
    Settings,
)
from shared.reconciliation.verdict import Verdict

D = Decimal
OCTOBER = Period(date(2026, 10, 1), date(2026, 11, 1))
CLIENT = Client("northwind", "Northwind Dental")
PRODUCT = Product("edr", "Huntress EDR")
INVOICED = InvoiceState(complete=1)
MID_MONTH, MONTH_OVER, OVERDUE = date(2026, 10, 14), date(2026, 11, 2), date(2026, 11, 6)


def at(day: int, hour: int = 12, month: int = 10, minute: int = 0) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def record(kind: str, record_id: str, source: str = "psa") -> Source:
    return Source(type=kind, source=source, id=record_id)


def gauge(
    *levels: tuple[datetime, str], account: str = "a-1", unit: str | None = "agent", **changes: object
) -> Measured:
    observations = tuple(
        Observation(when, D(level), record("usage.metered.v1", f"{account}/{when:%m%dT%H%M}", "huntress"))
        for when, level in levels
    )
    meter = Measured("huntress", account, "edr", "quantity", "gauge", unit, observations=observations)
    return replace(meter, records=len(observations), **changes)  # type: ignore[arg-type]


def counter(total: str, account: str = "a-1", **changes: object) -> Measured:
    meter = Measured("huntress", account, "edr", "quantity", "counter", "GiB", total=D(total), records=3)
    return replace(meter, sample=(record("usage.metered.v1", f"{account}/1", "huntress"),), **changes)  # type: ignore[arg-type]


def unit_line(
    price: str = "4.20",
    recurring: str | None = None,
    *,
    included: str = "0",
    at_price: str | None = None,
    line: str = "3",
    meter: str | None = None,
    currency: str = "EUR",
    statistic: Any = "max",
    **changes: object,
) -> LineVersion:
    """A price a unit; of a gauge the highest level counts, unless ``statistic`` says another."""
    price_of = UnitPrice(kind="unit", unit_amount=D(price))
    terms = Terms(price=price_of, included=D(included), meter=meter, statistic=statistic)
    return _line(terms, recurring, at_price or price, line, currency, **changes)


def flat_line(
    amount: str = "150.00",
    recurring: str | None = None,
    *,
    at_price: str | None = None,
    line: str = "1",
    currency: str = "EUR",
    **changes: object,
) -> LineVersion:
    terms = Terms(price=FlatPrice(kind="flat", amount=D(amount)))
    return _line(terms, recurring, at_price or amount, line, currency, **changes)


def _line(terms: Terms, recurring: str | None, price: str, line: str, currency: str, **changes: object) -> LineVersion:
    set_to_bill = None if recurring is None else Recurring(quantity=D(recurring), unit_price=D(price))
    version = LineVersion(
        source="psa",
        contract="C-1042",
        line=line,
        effective_from=date(2026, 1, 1),
        effective_to=None,
        currency=currency,
        terms=terms,
        recurring=set_to_bill,
        record=record("contract.agreed.v1", f"C-1042/{line}/2026-01-01"),
    )
    return replace(version, **changes)  # type: ignore[arg-type]


def posted(
    quantity: str,
    price: str,
    amount: str | None = None,
    *,
    line: str = "7",
    invoice: str = "INV-20931",
    **changes: object,
) -> InvoiceLineFacts:
    fact = InvoiceLineFacts(
        source="psa",
        invoice=invoice,
        version=1,
        line=line,
        kind="invoice",
        issued_on=date(2026, 10, 31),
        currency="EUR",
        contract=None,
        contract_line=None,
        period=OCTOBER,
        quantity=D(quantity),
        unit_price=D(price),
        amount=D(amount) if amount is not None else D(quantity) * D(price),
        record=record("invoice.line.v1", f"{invoice}/{line}"),
    )
    return replace(fact, **changes)  # type: ignore[arg-type]


def credit(
    amount: str, quantity: str = "0", *, line: str = "1", invoice: str = "CN-1", **changes: object
) -> InvoiceLineFacts:
    return posted(quantity, "0", amount, line=line, invoice=invoice, kind="credit_note", **changes)


COMPLETE = (FeedSpan("huntress", at(1, 0), at(1, 0, month=11)),)
"""The whole of October in UTC."""


def group(
    *,
    lines: tuple[LineVersion, ...] = (),
    used: tuple[Measured, ...] = (),
    invoice: tuple[InvoiceLineFacts, ...] | None = None,
    complete: bool = False,
    as_of: date | None = MONTH_OVER,
    **changes: object,
) -> GroupInputs:
    """A group; with ``invoice`` (lines, perhaps none) the client has a complete invoice of the month."""
    inputs = GroupInputs(
        client=CLIENT,
        product=PRODUCT,
        period=OCTOBER,
        as_of=as_of,
        lines=lines,
        measured=used,
        invoices=InvoiceState() if invoice is None else INVOICED,
        invoice_lines=invoice or (),
        feeds=COMPLETE if complete else (),
        feed_sources=("huntress",),
        settings=Settings(),
    )
    return replace(inputs, **changes)  # type: ignore[arg-type]


def drawn(**given: object) -> Verdict:
    verdict = draw_group(group(**given))  # type: ignore[arg-type]
    assert verdict is not None
    return verdict


def only_break(verdict: Verdict) -> DiscrepancyBody:
    assert len(verdict.breaks) == 1, [one.body.code for one in verdict.breaks]
    return verdict.breaks[0].body


def sides(verdict: Verdict) -> list[str]:
    """The sides that a verdict waits for."""
    return [waiting.side for waiting in verdict.waiting]


def days(first: int, last: int) -> list[datetime]:
    return [at(first) + timedelta(days=n) for n in range(last - first + 1)]
