"""Which modules are mutated, and the tests that answer for each: few and near, so that a mutant costs half a second.

Not here, because none of them computes an amount and pinning their wording would prove nothing about money:
``rating/text.py`` words the arithmetic, ``rating/document.py`` and ``rating/model.py`` declare shapes, and
``rating/spelling.py`` and ``rating/question.py`` read the document of ``plumbline rate``.
"""

from __future__ import annotations

UNIT = "tests/unit/reconciliation"
RATING = (f"{UNIT}/rating", f"{UNIT}/rating_corrections")
LABOUR = (f"{UNIT}/rating_labour",)

MODULES: dict[str, tuple[str, ...]] = {
    "shared/kernel/money.py": (
        "tests/unit/kernel/test_money.py",
        "tests/unit/kernel/test_money_guard.py",
        f"{UNIT}/rating_tax",
        f"{UNIT}/rating_microsoft",
    ),
    "shared/reconciliation/rating/numbers.py": RATING,
    "shared/reconciliation/rating/grid.py": RATING,
    "shared/reconciliation/rating/fraction.py": RATING,
    "shared/reconciliation/rating/prices.py": RATING,
    "shared/reconciliation/rating/billable.py": RATING,
    "shared/reconciliation/rating/gauge.py": RATING,
    "shared/reconciliation/rating/entries.py": RATING,
    "shared/reconciliation/rating/apply.py": RATING,
    "shared/reconciliation/rating/advance.py": RATING,
    "shared/reconciliation/rating/billed.py": RATING,
    "shared/reconciliation/rating/corrections.py": RATING,
    "shared/reconciliation/rating/hours.py": LABOUR,
    "shared/reconciliation/rating/blocks.py": LABOUR,
    "shared/reconciliation/rating/labour.py": LABOUR,
    "shared/reconciliation/rating/tax.py": (f"{UNIT}/rating_tax",),
    "shared/reconciliation/rating/microsoft.py": (f"{UNIT}/rating_microsoft",),
    "shared/reconciliation/allocation.py": (f"{UNIT}/allocation",),
}

WORDING = (r"^\s*Arithmetic\(", r"\bformula = ", r"\bbody [+]?= ")
"""Lines on which the formula of a step is worded: not mutated either."""

NOT_RUN = ("test_ten_times_the_lines_cost_about_ten_times_as_much",)
"""Tests that measure time: a mutant slows the code down by itself."""
