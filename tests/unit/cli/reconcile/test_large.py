"""Large inputs and small ones have one answer: what is settled as it is read is what the comparator would have said."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cli.reconcile import large, tables
from services.cli.reconcile.answer import Answer
from services.cli.reconcile.bucket import Bucket
from shared.reconciliation.verdict import body_bytes
from tests.unit.cli.reconcile.books import CLIENTS, Book, answer


@pytest.fixture(autouse=True)
def _one_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process of its own for each bucket: a hundred small answers would start a thousand."""

    def draw_all(shared: large.Shared, names: large.Names, advance: object) -> list[large.Part]:
        large.begin(shared, names)
        ids = [*CLIENTS, *(f"a-{client}" for client in CLIENTS), "nobody"]
        used = {large.spill.bucket_of(one) for one in ids}
        return [large.draw(shelf) for shelf in large.shelves(shared.laid.values()) if used & set(shelf)]

    class Here:
        def __init__(self, *_: object) -> None: ...
        def __enter__(self) -> Here:
            return self

        def __exit__(self, *_: object) -> None: ...

        @staticmethod
        def submit(function: object, *arguments: object) -> object:
            class Done:
                @staticmethod
                def result() -> object:
                    return function(*arguments)  # type: ignore[operator]

            return Done()

    monkeypatch.setattr(large, "draw_all", draw_all)
    monkeypatch.setattr("services.cli.reconcile.work.ProcessPoolExecutor", Here)
    yield
    gc.enable()


def said(one: Answer) -> dict[str, object]:
    lines = one.lines_csv.read_text() if one.lines_csv is not None else tables.lines(one)
    return {
        "lines": lines.splitlines(),
        "sums": [(s.client, s.period, s.totals, s.counts) for s in one.statements],
        "discrepancies": [body_bytes(body) for body in one.discrepancies],
        "rejected": sorted((r.file, r.row, r.field, r.reason, r.fix) for r in one.rejected),
        "assumed": sorted(one.assumed),
    }


def both(seed: int, wild: float) -> tuple[dict[str, object], dict[str, object]]:
    with TemporaryDirectory() as folder, TemporaryDirectory() as scratch:
        Book(Random(seed), wild).write(Path(folder))
        small = said(answer(Path(folder), Path(scratch), large=False))
        return small, said(answer(Path(folder), Path(scratch), large=True))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**9), wild=st.sampled_from([0.0, 0.03, 0.1, 0.3]))
def test_large_inputs_have_the_answer_of_small_ones(seed: int, wild: float) -> None:
    small, big = both(seed, wild)
    for part, wanted in small.items():
        assert big[part] == wanted, part


def test_plain_lines_that_agree_never_reach_the_comparator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fed: list[object] = []
    monkeypatch.setattr(Bucket, "_feed", lambda self, client, sides, left, *rest: fed.append((client, left)))
    (tmp_path / "in").mkdir()
    (tmp_path / "scratch").mkdir()
    Book(Random(1), 0.0, included=(0,)).write(tmp_path / "in")
    one = answer(tmp_path / "in", tmp_path / "scratch", large=True)
    assert one.lines > 10
    assert fed == []
