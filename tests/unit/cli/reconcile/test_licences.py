"""Microsoft's file, contracts and invoices: licences are counted by the bill, whether files are large or small."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path

import pytest

from services.cli.output import Output
from services.cli.reconcile.run import Options, asked
from services.cli.reconcile.work import work
from tests.unit.ingestion_files.test_formats import SAMPLES

CONTRACTS = """contract,line,client,product,effective from,currency,price model,price
C-1,1,northwind,m365,2026-01-01,EUR,unit,12.00
C-2,1,fabrikam,m365,2026-01-01,EUR,unit,12.00
"""
INVOICES = """invoice,client,issued on,period from,period to,currency,line,product,quantity,unit price,amount
INV-1,northwind,2026-11-01,2026-10-01,2026-11-01,EUR,1,m365,7,12.00,84.00
INV-2,fabrikam,2026-11-01,2026-10-01,2026-11-01,EUR,1,m365,6,12.00,72.00
"""
MAPPINGS = """kind,source,key,target
account,microsoft,cust-northwind,northwind
account,microsoft,cust-fabrikam,fabrikam
sku,microsoft,CFQ7TTC0LH18/0001,m365
"""


def bill(path: Path) -> None:
    """7 seats of Northwind, 3 more from the 17th; 5 of Fabrikam."""
    with (SAMPLES / "microsoft-nce.csv").open(newline="") as sample:
        first = next(csv.DictReader(sample))
    rows = [
        ("cust-northwind", "cycleFee", "7", "9.60", "67.20", "10/1/2026"),
        ("cust-northwind", "addQuantity", "3", "4.64", "13.92", "10/17/2026"),
        ("cust-fabrikam", "cycleFee", "5", "9.60", "48.00", "10/1/2026"),
    ]
    with path.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(first))
        writer.writeheader()
        for number, (customer, kind, quantity, price, subtotal, start) in enumerate(rows):
            names = ("CustomerId", "ChargeType", "Quantity", "BillableQuantity", "EffectiveUnitPrice", "Subtotal")
            said = dict(zip(names, (customer, kind, quantity, quantity, price, subtotal), strict=True))
            dates = {"ChargeStartDate": start, "ChargeEndDate": "10/31/2026", "AlternateId": f"a-{number}"}
            writer.writerow(first | said | dates | {"TaxTotal": "0", "Total": subtotal})


@pytest.mark.parametrize("large", [False, True])
def test_the_bill_says_what_the_invoice_should(tmp_path: Path, large: bool) -> None:
    for name, text in {"contracts": CONTRACTS, "invoices": INVOICES, "mappings": MAPPINGS}.items():
        (tmp_path / f"{name}.csv").write_text(text)
    bill(tmp_path / "bill.csv")
    plain = ("contracts", "invoices", "mappings")
    inputs: dict[str, tuple[list[str], str | None]] = {kind: ([str(tmp_path / f"{kind}.csv")], None) for kind in plain}
    inputs["vendor-bills"] = ([str(tmp_path / "bill.csv")], "microsoft-nce")
    options = Options(
        inputs=inputs, period="2026-10", as_of=None, zone="UTC", partial=False, settings=[], out=None, exit_code=False
    )  # type: ignore[arg-type]
    one = work(asked(options), Output(quiet=True), tmp_path, large_bytes=0 if large else 10**9)
    found = sorted((body.code, body.client, body.amount) for body in one.discrepancies)
    # 3 x 12.00 x 15/31 were not billed; one seat too many was.
    assert found == [("QTY_OVER", "fabrikam", Decimal("12.00")), ("QTY_UNDER", "northwind", Decimal("17.42"))]
    assert list(one.pending()) == []
