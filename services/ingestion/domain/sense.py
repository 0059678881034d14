"""What a model alone does not refuse and no comparison could use: a currency that there is not, figures beyond any
sense, ends before their starts, a conversion that is none. Every door asks here, files and HTTP alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from pydantic import BaseModel

from services.ingestion.domain.facts import Fault
from shared.events.catalog import ClientRecorded, ProductRecorded
from shared.events.contracts import ContractAgreed, ContractAmended, Conversion
from shared.events.invoices import InvoiceIssued, InvoiceLine, VendorBillLine, VendorBillReceived
from shared.events.time_entries import TimeEntryLogged, TimeEntryRevised
from shared.events.usage import UsageMetered, UsageRestated
from shared.kernel.money import CURRENCIES

QUANTITY_MAX = Decimal(10**18)
"""Units of anything: an exabyte in bytes."""
MONEY_MAX = Decimal(10**15)
"""Any amount or price, in any currency."""
ENTRY_MINUTES_MAX = Decimal(31 * 24 * 60)
"""One piece of work."""

_BYTES = {
    **{
        unit: 1000**n
        for n, units in enumerate(("B byte bytes", "KB kB", "MB", "GB", "TB", "PB"))
        for unit in units.split()
    },
    **{unit: 1024**n for n, unit in enumerate(("KiB", "MiB", "GiB", "TiB", "PiB"), start=1)},
}
_SECONDS = {
    **dict.fromkeys(("second", "seconds", "s"), 1),
    **dict.fromkeys(("minute", "minutes", "min"), 60),
    **dict.fromkeys(("hour", "hours", "h"), 3600),
    **dict.fromkeys(("day", "days"), 86400),
}
_DIMENSIONS = (_BYTES, _SECONDS)


def nonsense(data: BaseModel, time: datetime) -> Fault | None:
    """The first thing of a record's ``data`` that makes no sense; ``time`` is the record's."""
    check = _CHECKS.get(type(data))
    return check(data, time) if check else None


def _usage(data: Any, time: datetime) -> Fault | None:
    if abs(data.quantity) > QUANTITY_MAX:
        return _beyond("quantity", QUANTITY_MAX)
    if data.until is not None and data.until <= time:
        return Fault("data.until", "is not after the start", "Write the end, exclusive: after the record's time.")
    return None


def _line(data: Any, _: datetime) -> Fault | None:
    if abs(data.quantity) > QUANTITY_MAX:
        return _beyond("quantity", QUANTITY_MAX)
    return _money(data, ("unit_price", "amount", "tax"))


def _invoice(data: Any, _: datetime) -> Fault | None:
    if fault := _currencies(data, ("currency", "exchange_from")):
        return fault
    if (data.exchange_rate is None) != (data.exchange_from is None):
        missing = "exchange_rate" if data.exchange_rate is None else "exchange_from"
        return Fault(f"data.{missing}", "is missing", "Give exchange_rate and exchange_from together, or neither.")
    if data.exchange_from == data.currency:
        return Fault("data.exchange_from", "is the invoice's own currency", "Send the contract's currency, or neither.")
    return _money(data, ("total", "tax_total", "gross_total"))


def _charge(data: Any, _: datetime) -> Fault | None:
    if data.charge_to < data.charge_from:
        return Fault("data.charge_to", "lies before charge_from", "Write the end of the charge, exclusive.")
    if data.quantity is not None and abs(data.quantity) > QUANTITY_MAX:
        return _beyond("quantity", QUANTITY_MAX)
    return _currencies(data, ("currency",)) or _money(
        data, ("unit_price", "billed_cost", "list_cost", "contracted_cost", "effective_cost")
    )


def _bill(data: Any, _: datetime) -> Fault | None:
    return _currencies(data, ("currency",)) or _money(data, ("total",))


def _client(data: Any, _: datetime) -> Fault | None:
    return _currencies(data, ("currency",))


def _product(data: Any, _: datetime) -> Fault | None:
    if data.unit_cost is not None and data.cost_currency is None:
        return Fault("data.cost_currency", "is missing", "Send the currency of unit_cost.")
    if data.product in data.components:
        return Fault("data.components", "names the product itself", "Name the products that it is a bundle of.")
    return _currencies(data, ("currency", "cost_currency")) or _money(data, ("list_price", "unit_cost"))


def _entry(data: Any, _: datetime) -> Fault | None:
    if data.minutes > ENTRY_MINUTES_MAX:
        return Fault("data.minutes", "is beyond any sense: more than 31 days", "Send the minutes of one piece of work.")
    if data.started_at is not None and data.ended_at is not None and data.ended_at < data.started_at:
        return Fault("data.ended_at", "lies before started_at", "Correct the start or the end.")
    return None


def _contract(data: Any, _: datetime) -> Fault | None:
    for name in ("recurring", "terms"):
        if field := _too_great(getattr(data, name), f"data.{name}"):
            return Fault(field, f"is beyond any sense: over {QUANTITY_MAX:,}", _SMALLER)
    convert = data.terms.convert
    return None if convert is None else _conversion(convert)


def _conversion(convert: Conversion) -> Fault | None:
    """Of two units that are known the factor is known too."""
    here, there = (next((d for d in _DIMENSIONS if unit in d), None) for unit in (convert.from_unit, convert.to_unit))
    if here is None or there is None:
        return None
    if here is not there:
        fix = "Send units of one kind, such as bytes and GiB, or seconds and hours."
        return Fault("data.terms.convert.to_unit", f"cannot be converted from {convert.from_unit}", fix)
    known = Fraction(here[convert.from_unit], here[convert.to_unit])
    said = Fraction(convert.multiply) if convert.multiply is not None else 1 / Fraction(convert.divide or 1)
    if said == known:
        return None
    name = "multiply" if convert.multiply is not None else "divide"
    reason = f"is not what makes {convert.to_unit} of {convert.from_unit}"
    fix = f"Divide by {known.denominator}." if known.numerator == 1 else f"Multiply by {known}."
    return Fault(f"data.terms.convert.{name}", reason, fix)


_SMALLER = "Correct the figure, or its unit."


def _beyond(field: str, limit: Decimal) -> Fault:
    return Fault(f"data.{field}", f"is beyond any sense: over {limit:,}", _SMALLER)


def _money(data: Any, fields: Sequence[str]) -> Fault | None:
    for field in fields:
        figure = getattr(data, field)
        if figure is not None and abs(figure) > MONEY_MAX:
            return _beyond(field, MONEY_MAX)
    return None


def _currencies(data: Any, fields: Sequence[str]) -> Fault | None:
    for field in fields:
        code = getattr(data, field)
        if code is not None and code not in CURRENCIES:
            return Fault(f"data.{field}", "is no currency that there is", 'Send a code of ISO 4217, such as "EUR".')
    return None


_LEAVES = frozenset({str, bool, int, date, type(None)})


def _too_great(value: Any, path: str) -> str | None:
    """The JSON path of the first figure in a model that is beyond any sense."""
    kind = type(value)
    inner: Iterable[tuple[Any, Any]]
    if kind in _LEAVES:
        return None
    if kind is Decimal:
        return path if abs(value) > QUANTITY_MAX else None
    if kind is tuple:
        inner = enumerate(value)
    elif kind is dict:
        inner = value.items()
    else:
        inner = ((name, getattr(value, name)) for name in value.model_fields_set)
    return next((found for name, one in inner if (found := _too_great(one, f"{path}.{name}"))), None)


_CHECKS: dict[type[BaseModel], Callable[[Any, datetime], Fault | None]] = {
    UsageMetered: _usage,
    UsageRestated: _usage,
    InvoiceIssued: _invoice,
    InvoiceLine: _line,
    VendorBillReceived: _bill,
    VendorBillLine: _charge,
    ClientRecorded: _client,
    ProductRecorded: _product,
    TimeEntryLogged: _entry,
    TimeEntryRevised: _entry,
    ContractAgreed: _contract,
    ContractAmended: _contract,
}
