"""The errors that the synthetic MSP makes: each is planted in one client, with what must be found, by plain arithmetic.

To add one: write a ``_<kind>`` function below and name it in ``KINDS``.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING

from tests.simulator.business import PRODUCTS, Client, Month, Posted, Product, Service, Truth, Work, cents, text

if TYPE_CHECKING:
    from tests.simulator.msp import Msp

KINDS = (
    "qty_under_invoice",
    "qty_over_invoice",
    "missing_line",
    "phantom_without_contract",
    "price_high_invoice",
    "unbilled_client",
    "unmapped_client",
    "unmapped_product",
    "unbilled_service",
    "duplicate",
    "expired_agreement",
    "out_of_scope",
    "proration",
    "tier_cross",
    "min_commit",
    "cost_mismatch",
    "assigned_ne_purchased",
    "margin_floor",
    "time_unbilled",
    "stale_time",
    "over_cap",
    "block_overdrawn",
    "tax",
    "currency",
    "rounding",
    "late_usage",
    "restated",
    "stale_feed",
    "qty_under_agreement",
    "price_low_invoice",
    "phantom_zero_usage",
    "price_high_agreement",
    "unbilled_service_without_price",
)
"""Planted errors: every code, then a second way to some of them."""


def kind_of(number: int) -> str | None:
    """The error of a client; every fifth has none, but differences that tolerances must absorb."""
    return None if number % 5 == 4 else KINDS[(number - number // 5) % len(KINDS)]


def plant(kind: str, msp: Msp, client: Client, rng: Random) -> None:
    """Make a client's error, and say what must be found."""
    globals()[f"_{kind}"](msp, client, rng)


def _truth(
    code: str, direction: str, client: Client, service: Service | None, period: Month | None, amount: Decimal | None
) -> Truth:
    product = service.product.id if service else None
    return Truth(code, direction, client=client.id, product=product, period=period, amount=amount)


def _metered(client: Client, rng: Random) -> Service:
    return rng.choice([s for s in client.services if s.product.kind == "gauge"])


def _qty_under_invoice(msp: Msp, client: Client, rng: Random) -> None:
    service = _metered(client, rng)
    more = Decimal(rng.randint(3, 20))
    days = list(service.closed)
    top = max(service.closed.values()) + more
    for day in days[len(days) // 3 : len(days) // 2]:  # back to normal well before the month ends: a gauge carries over
        service.closed[day] = top
    amount = cents((service.billable(service.closed) - service.invoiced) * service.price)
    client.truths.append(_truth("QTY_UNDER", "client_owes_us", client, service, msp.closed, amount))


def _qty_over_invoice(msp: Msp, client: Client, rng: Random) -> None:
    service = _metered(client, rng)
    more = Decimal(rng.randint(2, 9))
    service.invoiced += more
    client.truths.append(_truth("QTY_OVER", "we_owe_client", client, service, msp.closed, cents(more * service.price)))


def _missing_line(msp: Msp, client: Client, rng: Random) -> None:
    service = _metered(client, rng)
    service.invoiced = None
    amount = service.expected(service.closed)
    client.truths.append(_truth("MISSING_LINE", "client_owes_us", client, service, msp.closed, amount))


def _phantom_without_contract(msp: Msp, client: Client, rng: Random) -> None:
    service = Service(PRODUCTS["archive"], PRODUCTS["archive"].price, contracted=False)
    service.invoiced, service.invoice_price = Decimal(rng.randint(3, 12)), service.price
    client.services.append(service)
    amount = cents(service.invoiced * service.price)
    client.truths.append(_truth("PHANTOM_LINE", "we_owe_client", client, service, msp.closed, amount))


def _phantom_zero_usage(msp: Msp, client: Client, rng: Random) -> None:
    service = Service(PRODUCTS["archive"], PRODUCTS["archive"].price)
    service.closed = dict.fromkeys(msp.days(msp.closed), Decimal(0))
    service.running = dict.fromkeys(msp.days(msp.running), Decimal(0))
    service.invoiced, service.invoice_price = Decimal(rng.randint(3, 12)), service.price
    service.recurring, service.recurring_price = Decimal(0), service.price
    client.services.append(service)
    amount = cents(service.invoiced * service.price)
    client.truths.append(_truth("PHANTOM_LINE", "we_owe_client", client, service, msp.closed, amount))


def _price_high_invoice(msp: Msp, client: Client, rng: Random) -> None:
    _misprice(msp, client, rng, Decimal("1.10"))


def _price_low_invoice(msp: Msp, client: Client, rng: Random) -> None:
    _misprice(msp, client, rng, Decimal("0.85"))


def _misprice(msp: Msp, client: Client, rng: Random, factor: Decimal) -> None:
    service = _metered(client, rng)
    service.invoice_price = (service.price * factor).quantize(Decimal("0.001"))
    if abs(service.invoice_price - service.price) <= Decimal("0.01"):
        service.invoice_price = service.price + (Decimal("0.03") if factor > 1 else Decimal("-0.03"))
    billed, due = cents(service.invoiced * service.invoice_price), service.expected(service.closed)
    direction = "we_owe_client" if billed > due else "client_owes_us"
    client.truths.append(_truth("PRICE_MISMATCH", direction, client, service, msp.closed, abs(billed - due)))


def _price_high_agreement(msp: Msp, client: Client, rng: Random) -> None:
    service = client.services[0]  # endpoint protection: seats from the first day on
    service.recurring_price = service.price + Decimal("0.75")
    amount = cents(service.recurring * service.recurring_price) - cents(service.recurring * service.price)
    client.truths.append(_truth("PRICE_MISMATCH", "we_owe_client", client, service, msp.running, amount))


def _unbilled_client(msp: Msp, client: Client, rng: Random) -> None:
    # Until the invoice is overdue, the closed month is held against the agreement, which must agree with it: true
    # of gauges (both months have one top), not of counters.
    client.services = [service for service in client.services if service.product.kind != "counter"]
    for service in client.services:
        service.invoiced = None
    amount = sum((service.expected(service.closed) for service in client.services), Decimal(0))
    client.truths.append(Truth("UNBILLED_CLIENT", "client_owes_us", client=client.id, period=msp.closed, amount=amount))


def _unmapped_client(msp: Msp, client: Client, rng: Random) -> None:
    product, account = PRODUCTS["edr"], f"hun-{90_000 + client.number}"
    client.extra["unmapped_client"] = (product.source or "", account, product.sku)
    amount = cents(Decimal(7) * product.cost)
    client.truths.append(
        Truth("UNMAPPED_CLIENT", "client_owes_us", source=product.source, account=account, amount=amount)
    )


def _unmapped_product(msp: Msp, client: Client, rng: Random) -> None:
    sku = f"hnt-pilot-{client.number}"
    client.extra["unmapped_product"] = ("huntress", client.account("huntress"), sku)
    amount = cents(Decimal(7) * PRODUCTS["edr"].cost)
    client.truths.append(Truth("UNMAPPED_PRODUCT", "client_owes_us", source="huntress", sku=sku, amount=amount))


def _qty_under_agreement(msp: Msp, client: Client, rng: Random) -> None:
    service = _metered(client, rng)
    more = Decimal(rng.randint(3, 20))
    seen = list(msp.seen(service.running))
    if not seen:
        return  # the month's first observation is still to come
    top = max(service.running.values()) + more
    for day in service.running:
        if day >= seen[len(seen) // 2]:
            service.running[day] = top
    over = service.billable(msp.seen(service.running)) - service.recurring
    client.truths.append(
        _truth("QTY_UNDER", "client_owes_us", client, service, msp.running, cents(over * service.price))
    )


def _unbilled_service(msp: Msp, client: Client, rng: Random) -> None:
    _unbilled(msp, client, rng, PRODUCTS["archive"])


def _unbilled_service_without_price(msp: Msp, client: Client, rng: Random) -> None:
    _unbilled(msp, client, rng, PRODUCTS["soc"])


def _unbilled(msp: Msp, client: Client, rng: Random, product: Product) -> None:
    service = Service(product, product.list_price or Decimal(0), contracted=False)
    level = Decimal(rng.randint(3, 15))
    service.running = dict.fromkeys(msp.days(msp.running), level)
    client.services.append(service)
    if not msp.seen(service.running):
        return
    amount = cents(level * product.list_price) if product.list_price else None
    client.truths.append(_truth("UNBILLED_SERVICE", "client_owes_us", client, service, msp.running, amount))


# --- with services of their own ------------------------------------------------------------------------------------
def _messages(msp: Msp, client: Client, total: Decimal, *posted: Posted, **terms: str) -> Service:
    """A counter of the closed month only: all of it on the month's first day, and a contract line that ends with it."""
    service = Service(PRODUCTS["sms"], PRODUCTS["sms"].price, terms=dict(terms), until=msp.running.start)
    service.closed = {msp.closed.start: total}
    service.posted = list(posted)
    client.services.append(service)
    return service


def _some(rng: Random) -> Decimal:
    return Decimal(rng.randint(150, 400))


def _duplicate(msp: Msp, client: Client, rng: Random) -> None:
    service = _metered(client, rng)
    line = Posted(service.invoiced, service.invoice_price)
    service.posted = [line, line]
    client.truths.append(_truth("DUPLICATE", "we_owe_client", client, service, msp.closed, line.net))


def _expired_agreement(msp: Msp, client: Client, rng: Random) -> None:
    service = _messages(msp, client, _some(rng))
    service.until = msp.closed.start
    amount = service.expected(service.closed)
    client.truths.append(_truth("EXPIRED_AGREEMENT", "client_owes_us", client, service, msp.closed, amount))


def _out_of_scope(msp: Msp, client: Client, rng: Random) -> None:
    service = _messages(msp, client, _some(rng), excluded="true")
    amount = cents(service.measured(service.closed) * service.product.list_price)
    client.truths.append(_truth("OUT_OF_SCOPE", "client_owes_us", client, service, msp.closed, amount))


def _proration(msp: Msp, client: Client, rng: Random) -> None:
    product, level = PRODUCTS["archive"], Decimal(rng.randint(6, 30))
    days = msp.days(msp.closed)
    first = days[len(days) // 2]
    service = Service(product, product.price, since=first, terms={"statistic": "prorated"})
    service.closed = {day: level for day in days if day >= first}
    service.running = dict.fromkeys(msp.days(msp.running), level)
    service.invoiced = service.recurring = level
    service.invoice_price = service.recurring_price = service.price
    client.services.append(service)
    whole, served = (msp.closed.end - msp.closed.start).days, (msp.closed.end - first).days
    amount = cents(level * service.price) - cents(level * service.price * served / whole)
    client.truths.append(_truth("PRORATION", "we_owe_client", client, service, msp.closed, amount))


def _tier_cross(msp: Msp, client: Client, rng: Random) -> None:
    total = _some(rng)
    line = Posted(total, Decimal("0.50"))
    service = _messages(msp, client, total, line, price_model="volume", price="", tiers="100@0.50;*@0.40")
    amount = line.net - cents(total * Decimal("0.40"))
    client.truths.append(_truth("TIER_CROSS", "we_owe_client", client, service, msp.closed, amount))


def _min_commit(msp: Msp, client: Client, rng: Random) -> None:
    total = _some(rng)
    line = Posted(total, Decimal("0.50"))
    service = _messages(msp, client, total, line, minimum_amount="500")
    client.truths.append(
        _truth("MIN_COMMIT", "client_owes_us", client, service, msp.closed, Decimal("500.00") - line.net)
    )


def _cost_mismatch(msp: Msp, client: Client, rng: Random) -> None:
    service = client.services[0]
    quantity, cost = service.measured(service.closed), service.product.cost
    service.charged = (quantity, cost + Decimal("0.25"))
    amount = cents(quantity * (cost + Decimal("0.25"))) - cents(quantity * cost)
    source = service.product.source or ""
    truth = _truth("COST_MISMATCH", "vendor_owes_us", client, service, msp.closed, amount)
    client.truths.append(replace(truth, account=client.account(source), sku=service.product.sku))


def _assigned_ne_purchased(msp: Msp, client: Client, rng: Random) -> None:
    service = client.services[0]
    service.charged, service.category = (service.measured(service.closed) + 4, service.product.cost), "Purchase"
    amount = cents(4 * service.product.cost)
    client.truths.append(_truth("ASSIGNED_NE_PURCHASED", "vendor_owes_us", client, service, msp.closed, amount))


def _margin_floor(msp: Msp, client: Client, rng: Random) -> None:
    total, price = _some(rng), Decimal("0.10")
    service = _messages(msp, client, total, Posted(total, price), price="0.10")
    amount = cents(total * service.product.cost) - cents(total * price)
    client.truths.append(_truth("MARGIN_FLOOR", "client_owes_us", client, service, msp.closed, amount))


def _tax(msp: Msp, client: Client, rng: Random) -> None:
    rate, net = Decimal(19), Decimal(0)
    for service in client.services:
        service.posted = [Posted(line.quantity, line.price, line.amount, rate) for line in service.lines()]
        net += sum((line.net for line in service.posted), Decimal(0))
    client.invoice["tax_total"] = text(cents(net * rate / 100) + 3)
    client.truths.append(_truth("TAX", "we_owe_client", client, None, msp.closed, Decimal("3.00")))


def _currency(msp: Msp, client: Client, rng: Random) -> None:
    total = _some(rng)
    service = _messages(msp, client, total, Posted(total, Decimal("0.50")), currency="EUR")
    client.truths.append(_truth("CURRENCY", "we_owe_client", client, service, msp.closed, None))


def _rounding(msp: Msp, client: Client, rng: Random) -> None:
    net = sum((line.net for service in client.services for line in service.lines()), Decimal(0))
    client.invoice["total"] = text(net + Decimal("0.50"))
    client.truths.append(_truth("ROUNDING", "we_owe_client", client, None, msp.closed, Decimal("0.50")))


# --- after the month was closed ------------------------------------------------------------------------------------
def _late_usage(msp: Msp, client: Client, rng: Random) -> None:
    total, more = _some(rng), Decimal(rng.randint(20, 60))
    service = _messages(msp, client, total, Posted(total, Decimal("0.50")))
    service.uncharged = True  # else the vendor, who knows the final figure, would seem to charge too much meanwhile
    client.late.append((service.product, msp.closed.start + timedelta(days=3), more))
    amount = cents(more * service.price)
    client.truths.append(_truth("LATE_USAGE", "client_owes_us", client, service, msp.closed, amount))


def _restated(msp: Msp, client: Client, rng: Random) -> None:
    total, less = _some(rng), Decimal(rng.randint(20, 60))
    service = _messages(msp, client, total, Posted(total, Decimal("0.50")))
    service.uncharged = True
    client.late.append((service.product, msp.closed.start, total - less))
    amount = cents(less * service.price)
    client.truths.append(_truth("RESTATED", "we_owe_client", client, service, msp.closed, amount))


def _stale_feed(msp: Msp, client: Client, rng: Random) -> None:
    client.silent = f"veeam-{client.number}"
    client.services.append(msp.service(PRODUCTS["vault"], rng))
    client.truths.append(Truth("STALE_FEED", "client_owes_us", source=client.silent))


# --- labour --------------------------------------------------------------------------------------------------------
def _labour(
    msp: Msp, client: Client, hours: list[int], *posted: Posted, approved: bool = True, **terms: str
) -> Service:
    """Hours of the closed month, each of them an entry, and a contract line that ends with it."""
    product = PRODUCTS["labour"]
    cells = {"price_model": "unit", "hourly_rate": text(product.price), "increment": "15", **terms}
    service = Service(product, product.price, terms=cells, until=msp.running.start)
    service.posted = list(posted)
    service.work = [
        Work(f"T-{client.number}-{n}", msp.closed.start + timedelta(days=n), Decimal(60 * one), approved)
        for n, one in enumerate(hours)
    ]
    client.services.append(service)
    return service


def _hours(client: Client, service: Service, code: str, msp: Msp, hours: int) -> None:
    amount = cents(hours * service.price)
    client.truths.append(_truth(code, "client_owes_us", client, service, msp.closed, amount))


def _time_unbilled(msp: Msp, client: Client, rng: Random) -> None:
    service = _labour(msp, client, [2, 3, 1], Posted(Decimal(4), PRODUCTS["labour"].price))
    _hours(client, service, "TIME_UNBILLED", msp, 2)


def _stale_time(msp: Msp, client: Client, rng: Random) -> None:
    service = _labour(msp, client, [2], approved=False)
    _hours(client, service, "STALE_TIME", msp, 2)


def _over_cap(msp: Msp, client: Client, rng: Random) -> None:
    service = _labour(msp, client, [4, 4], Posted(Decimal(5), PRODUCTS["labour"].price), cap_hours="5")
    _hours(client, service, "OVER_CAP", msp, 3)


def _block_overdrawn(msp: Msp, client: Client, rng: Random) -> None:
    block = {
        "block": "B-1",
        "block_from": msp.closed.start.isoformat(),
        "block_to": msp.closed.end.isoformat(),
        "block_hours": "5",
    }
    service = _labour(msp, client, [4, 3], overdraw="refuse", **block)
    _hours(client, service, "BLOCK_OVERDRAWN", msp, 2)
