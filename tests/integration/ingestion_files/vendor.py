"""Files as vendors and PSAs write them: synthetic, of the same shape."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from decimal import Decimal

from services.ingestion.domain.profiles import template
from tests.integration.ingestion_files.sending import table

SERVICES = [("Storage", "GB-Months"), ("Compute", "Hours"), ("Queue", "Requests")]


def usage(rows: int, *, quantity: int | None = None) -> str:
    """Daily gauges of September 2026; without a ``quantity`` each row has its own."""
    return table(
        "account,account name,sku,meter,kind,unit,quantity,at",
        (
            (
                f"acct-{n // 30}",
                f"Client {n // 30}",
                "edr",
                "agents",
                "gauge",
                "agent",
                quantity or n + 1,
                f"2026-09-{n % 30 + 1:02}",
            )
            for n in range(rows)
        ),
    )


def focus(rows: int, *, factor: int = 1, seed: int = 5) -> str:
    """A FOCUS export of September 2026: two providers, three accounts, costs of up to 15 decimals, some credits."""
    header = template("focus").splitlines()[0]
    rng = random.Random(seed)
    return table(header, (_charge(rng, n, factor, header.split(",")) for n in range(rows)))


def _charge(rng: random.Random, n: int, factor: int, header: Sequence[str]) -> list[str]:
    provider, (service, unit), day = rng.choice(["Nimbus", "Stratus"]), rng.choice(SERVICES), rng.randrange(1, 30)
    quantity = factor * Decimal(rng.randrange(1, 10**9)).scaleb(-9)
    cost = factor * Decimal(rng.randrange(1, 10**12)).scaleb(-15)
    credit = n % 17 == 0
    row = {
        "BilledCost": f"{-cost if credit else cost:f}",
        "BillingAccountId": f"ba-{provider}",
        "BillingCurrency": "USD",
        "BillingPeriodStart": "2026-09-01 00:00:00",
        "BillingPeriodEnd": "2026-10-01 00:00:00",
        "ChargeCategory": "Credit" if credit else "Usage",
        "ChargePeriodStart": f"2026-09-{day:02} 00:00:00",
        "ChargePeriodEnd": f"2026-09-{day + 1:02} 00:00:00",
        "ConsumedQuantity": "NULL" if credit else f"{quantity:f}",
        "ConsumedUnit": "NULL" if credit else unit,
        "ProviderName": provider,
        "ResourceId": f"res-{n}",
        "ServiceName": service,
        "SkuId": f"{service[:2].upper()}{n % 5}",
        "SubAccountId": f"sub-{rng.randrange(3)}",
        "SubAccountName": "Northwind Dental",
    }
    return [row.get(column, "NULL") for column in header]


def invoices(documents: Mapping[str, Sequence[int]], *, version: str = "") -> str:
    """Invoices of September 2026: number -> the amounts of its lines."""
    return table(
        "invoice,version,client,issued on,period from,period to,currency,line,product,quantity,unit price,amount",
        (
            (number, version, "acme", "2026-10-01", "2026-09-01", "2026-10-01", "EUR", line, "edr", 1, amount, amount)
            for number, amounts in documents.items()
            for line, amount in enumerate(amounts, 1)
        ),
    )
