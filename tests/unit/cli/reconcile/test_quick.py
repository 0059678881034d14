"""A row read by its shape is the record that the profile makes of it."""

from __future__ import annotations

import csv
from pathlib import Path
from random import Random

import pytest

from services.cli.reconcile.quick import QUICK, Quick
from services.cli.reconcile.sheets import load, sheet
from tests.unit.cli.reconcile.books import Book


@pytest.mark.parametrize("kind", QUICK)
@pytest.mark.parametrize("seed", range(8))
def test_a_row_of_a_shape_is_the_profiles_record(tmp_path: Path, kind: str, seed: int) -> None:
    Book(Random(seed), 0.1).write(tmp_path)
    of = sheet(kind, str(tmp_path / f"{kind}.csv"), None)
    wanted: dict[int, list[dict[str, object]]] = {}
    for record in load(of, "Europe/Berlin", lambda _: None).records:
        if record["type"] != "invoice.issued.v1":
            wanted.setdefault(record["streamversion"], []).append(record)
    with of.path.open(newline="") as handle:
        reader = csv.reader(handle)
        quick = Quick(of, next(reader), "Europe/Berlin")
        shaped = 0
        for row, cells in enumerate(reader, 2):
            shape = quick.shape(cells)
            if shape is None or row not in wanted:
                continue
            made = quick.record(shape, cells, row)
            if kind == "invoices" and not quick.cell(cells, "line"):
                continue  # its number is its place in the document: only whoever reads the document knows
            assert [made] == wanted[row]
            shaped += 1
    assert shaped > 3
