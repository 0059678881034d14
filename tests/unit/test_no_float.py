"""Money is ``Decimal`` (fractions between rounding points): no float in any room that computes amounts.

A float that is not about money (a score, seconds) says so on its line: ``# float: a score``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = sorted([ROOT / "shared/kernel", ROOT / "shared/reconciliation", *ROOT.glob("services/*/domain")])
FLOAT_MODULES = {"math", "statistics", "cmath", "numpy"}
_INTEGERS_ONLY = {"ceil", "floor", "gcd", "isqrt", "lcm", "comb", "prod"}


def floats_in(source: str) -> Iterator[tuple[int, str]]:
    """(line, what it is) of each float that a module's source makes or names."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        what = _what(node)
        if what and "# float:" not in lines[node.lineno - 1]:  # type: ignore[attr-defined]
            yield node.lineno, what  # type: ignore[attr-defined]


def _what(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, float | complex):
        return f"the literal {node.value!r}"
    if isinstance(node, ast.Name) and node.id == "float":
        return "float"
    if isinstance(node, ast.Import | ast.ImportFrom):
        module = node.module if isinstance(node, ast.ImportFrom) else None
        names = {alias.name for alias in node.names}
        if isinstance(node, ast.Import) and names & FLOAT_MODULES:
            return f"import {', '.join(sorted(names & FLOAT_MODULES))}"
        if module in FLOAT_MODULES and names - _INTEGERS_ONLY:
            return f"from {module} import {', '.join(sorted(names - _INTEGERS_ONLY))}"
    if isinstance(node, ast.Attribute) and node.attr in ("total_seconds", "timestamp"):
        return f".{node.attr}() is a float"
    return None


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(ROOT)))
def test_no_float_where_amounts_are_computed(room: Path) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in sorted(room.rglob("*.py"))
        for line, what in floats_in(path.read_text())
    ]
    assert not found, "\n".join(["use Decimal or Fraction, or say on the line why it is not money:", *found])


@pytest.mark.parametrize(
    "source", ["x = 1.5", "def f(x: float) -> int: ...", "import math", "from math import sqrt", "a.total_seconds()"]
)
def test_a_float_is_seen(source: str) -> None:
    assert list(floats_in(source))


@pytest.mark.parametrize("source", ["x = 1", "from math import gcd", "x = 0.5  # float: a share of a score"])
def test_what_is_no_float_passes(source: str) -> None:
    assert not list(floats_in(source))
