"""The files of ``docs/examples`` give what their README works out by hand."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.ingestion.domain.profiles import profile
from shared.events.base import utc_text
from shared.events.discrepancies import DiscrepancyBody
from shared.reconciliation.world import World
from tests.unit.ingestion_files.reading import Read, read

FOLDER = Path(__file__).parents[3] / "docs" / "examples"
TENANT = "example-msp"
NAMES = {
    "focus-small.csv": "focus",
    **{f"{n}.csv": n for n in ("clients", "products", "contracts", "invoices", "mappings")},
}


def example(file: str) -> Read:
    return read(NAMES[file], (FOLDER / file).read_text())


def facts(name: str, found: Read) -> Iterator[dict[str, Any]]:
    """The records of a file, as a consumer decodes them."""
    for record in found.made:
        yield {
            "type": record.type,
            "id": record.record_id,
            "source": profile(name).source,
            "tenant": TENANT,
            "time": utc_text(record.time),
            "assertedat": "2025-11-02T00:00:00Z",
            "run": 1,
            "streamversion": 1,
            "data": record.data.model_dump(mode="json", exclude_defaults=True),
        }


def said(record_type: str, data: dict[str, Any]) -> dict[str, Any]:
    fixed = {"id": "1", "source": "focus", "tenant": TENANT, "time": "2025-11-02T00:00:00Z", "run": 1}
    return {**fixed, "type": record_type, "assertedat": "2025-11-02T00:00:00Z", "data": data}


def world(*files: str, also: Iterable[dict[str, Any]] = ()) -> list[DiscrepancyBody]:
    """What stands once these files are in, on 2 November 2025."""
    whole = World()
    whole.fold([said("calendar.advanced.v1", {"zone": "UTC", "date": "2025-11-02"})])
    span = {"covers_from": "2025-09-01T00:00:00Z", "covers_to": "2025-10-01T00:00:00Z"}
    whole.fold([said("feed.observed.v1", {"feed": "focus", "run": 1, "asserted_at": "2025-11-02T00:00:00Z", **span})])
    for file in files:
        whole.fold(facts(NAMES[file], example(file)))
    whole.fold(also)
    bodies = list(whole.draw_all(TENANT).values())
    return sorted(bodies, key=lambda body: (body.code, body.account or body.sku or "", body.client or ""))


@pytest.mark.parametrize("file", NAMES)
def test_every_row_of_an_example_is_stored(file: str) -> None:
    assert example(file).spoilt == []


def test_the_export_is_what_the_readme_says() -> None:
    found = example("focus-small.csv")
    with (FOLDER / "focus-small.csv").open(newline="") as lines:
        costs = [Decimal(row["BilledCost"]) for row in csv.DictReader(lines)]
    assert found.survey.rows == len(costs) == 63
    assert found.rows.amounts == {"USD": sum(costs)} == {"USD": Decimal("97.36800000001")}
    assert [len(found.of(f"{name}.v1")) for name in ("vendor_bill.line", "usage.metered", "vendor_bill.received")] == [
        63,
        61,
        2,
    ]
    assert found.rows.covers() == (datetime(2025, 9, 1, tzinfo=UTC), datetime(2025, 10, 1, tzinfo=UTC))


def test_before_anything_is_mapped_each_account_and_service_waits_with_its_cost_and_candidates() -> None:
    found = world("focus-small.csv", "clients.csv", "products.csv")
    assert [
        (body.code, body.account or body.sku, str(body.amount), [c.id for c in body.candidates][:1]) for body in found
    ] == [
        ("UNMAPPED_CLIENT", "700100200301", "69.90", ["northwind"]),
        ("UNMAPPED_CLIENT", "700100200302", "19.97", ["aster"]),
        ("UNMAPPED_CLIENT", "700100200399", "2.50", []),
        ("UNMAPPED_CLIENT", "stratus-acc-17", "5.00", ["aster"]),
        ("UNMAPPED_PRODUCT", "Nimbus/Object Storage", "10.00", ["storage"]),
        ("UNMAPPED_PRODUCT", "Nimbus/Virtual Machines", "82.37", ["vm"]),
        ("UNMAPPED_PRODUCT", "Stratus/Backup Vault", "5.00", ["backup"]),
    ]


def test_mapped_with_contracts_and_invoices_three_discrepancies_are_left() -> None:
    found = world(*NAMES)
    assert [(b.code, b.client, b.product, b.direction, str(b.amount), b.reached) for b in found] == [
        ("PRICE_MISMATCH", "aster", "vm", "we_owe_client", "7.20", "client_invoice"),
        ("QTY_UNDER", "northwind", "storage", "client_owes_us", "8.00", "client_invoice"),
        ("UNBILLED_SERVICE", "aster", "backup", "client_owes_us", "20.00", "client_invoice"),
    ]


def test_the_repaired_invoice_is_the_next_version_and_clears_its_discrepancy() -> None:
    repaired = (
        (FOLDER / "invoices.csv").read_text().replace("400,0.08,32.00", "500,0.08,40.00").replace("118.40", "126.40")
    )
    found = world(*NAMES, also=facts("invoices", read("invoices", repaired, version=2)))
    assert [body.code for body in found] == ["PRICE_MISMATCH", "UNBILLED_SERVICE"]
