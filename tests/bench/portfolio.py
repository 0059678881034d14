"""A large MSP as plain CSVs: so many contract lines, as much usage and as many invoice lines, with known errors."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

CLIENT_LINES = 500
_CENT = Decimal("0.01")
_ERRORS = ("QTY_UNDER", "QTY_OVER", "MISSING_LINE", "PHANTOM_LINE", "PRICE_MISMATCH")


def write(folder: Path, lines: int, *, error_share: float = 0.02, seed: int = 7) -> Counter[str]:
    """Writes ``contracts.csv``, ``usage.csv``, ``invoices.csv`` and ``mappings.csv`` of October 2026; returns how many
    errors of each kind there are. A PHANTOM_LINE replaces the contract line and the usage of an invoice line."""
    rng = random.Random(seed)
    planted: Counter[str] = Counter()
    with (
        (folder / "contracts.csv").open("w") as contracts,
        (folder / "usage.csv").open("w") as usage,
        (folder / "invoices.csv").open("w") as invoices,
        (folder / "mappings.csv").open("w") as mappings,
    ):
        contracts.write("contract,line,client,product,effective from,currency,price model,price,included\n")
        usage.write("account,account name,sku,kind,unit,quantity,at,until\n")
        invoices.write(
            "invoice,client,issued on,period from,period to,currency,"
            "line,product,contract,contract line,quantity,unit price,amount\n"
        )
        mappings.write("kind,source,key,target\n")
        mappings.writelines(f"sku,usage,v-{n:03d},p-{n:03d}\n" for n in range(CLIENT_LINES))
        for number in range(lines // CLIENT_LINES):
            client = f"client-{number:05d}"
            mappings.write(f"account,usage,org-{number},{client}\n")
            for n in range(CLIENT_LINES):
                error = rng.choice(_ERRORS) if rng.random() < error_share else None
                if error:
                    planted[error] += 1
                contract, used, invoice = _line(rng, number, client, n, error)
                contracts.write(contract)
                usage.write(used)
                invoices.write(invoice)
    return planted


def _line(rng: random.Random, number: int, client: str, n: int, error: str | None) -> tuple[str, str, str]:
    """The rows of one contract line: a fifth is flat, a fifth a counter, a tenth includes units."""
    flat, counter = n % 5 == 0 and error in (None, "MISSING_LINE"), n % 5 == 1
    price = Decimal(rng.randint(100, 2_000)).scaleb(-2)
    quantity = Decimal(rng.randint(4_000, 90_000)).scaleb(-1) if counter else Decimal(rng.randint(20, 90))
    included = Decimal(5) if n % 10 == 7 else Decimal(0)
    units = quantity - included
    billed, billed_price = units, price
    if error == "QTY_UNDER":
        billed -= rng.randint(1, 9)
    elif error == "QTY_OVER":
        billed += rng.randint(1, 9)
    elif error == "PRICE_MISMATCH":
        billed_price = price + Decimal("0.25")
    if flat:
        billed = Decimal(1)
    amount = (billed * billed_price).quantize(_CENT, ROUND_HALF_UP)
    model = f"flat,{price}," if flat else f"unit,{price},{included or ''}"
    contract = f"C-{number},{n + 1},{client},p-{n:03d},2026-01-01,EUR,{model}\n"
    kind, at = ("counter", "2026-10-09T10:00:00Z,2026-10-09T11:00:00Z") if counter else ("gauge", "2026-10-01,")
    used = f"org-{number},Client {number},v-{n:03d},{kind},unit,{quantity},{at}\n"
    head = f"INV-{number},{client},2026-11-01,2026-10-01,2026-11-01,EUR"
    invoice = f"{head},{n + 1},p-{n:03d},C-{number},{n + 1},{billed},{billed_price},{amount}\n"
    if error == "MISSING_LINE":
        invoice = ""
    if error == "PHANTOM_LINE":
        return "", "", invoice
    return contract, used, invoice


def rows(path: Path) -> Iterator[list[str]]:
    """The rows of a CSV, its header left out."""
    with path.open() as handle:
        next(handle)
        for line in handle:
            yield line.rstrip("\n").split(",")
