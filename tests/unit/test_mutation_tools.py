"""What `make mutants` does around mutmut: functions without decorators, reasons for survivors."""

from __future__ import annotations

from tests.mutation.run import Mutant, Reasons
from tests.mutation.undecorate import undecorate

SOURCE = '''
from functools import lru_cache

def exact(function):
    return lambda *of: ("exact", function(*of))

@exact
def twice(value):
    return 2 * value

@lru_cache(maxsize=8)
def thrice(value):
    return 3 * value

class Line:
    amount = 5

    @property
    def total(self) -> int:
        """All of it."""
        return self.amount + 1

    @staticmethod
    def none():
        return None
'''


def test_a_function_without_its_decorator_does_what_it_did() -> None:
    text = undecorate(SOURCE)
    names: dict[str, object] = {}
    exec(text, names)
    assert names["twice"](4) == ("exact", 8)  # type: ignore[operator]
    assert names["thrice"](4) == 12  # type: ignore[operator]
    assert names["Line"]().total == 6  # type: ignore[operator]
    assert names["Line"].none() is None  # type: ignore[attr-defined]
    assert [line for line in text.splitlines() if line.strip().startswith("@")] == [
        "    @property",
        "    @staticmethod",
    ]


def test_a_reason_covers_one_mutant_a_line_or_a_function() -> None:
    reasons = Reasons(
        [
            {"in": "a.one", "was": "x = 1", "becomes": "x = 2", "why": "this mutant"},
            {"in": "a.two", "was": "x = 1", "why": "this line"},
            {"in": "a.three", "why": "this function"},
        ]
    )
    assert reasons.why(Mutant("a.one", "x = 1", "x = 2")) == "this mutant"
    assert reasons.why(Mutant("a.one", "x = 1", "x = 3")) is None
    assert list(reasons.unused()) == ["a.two: x = 1 -> ", "a.three:  -> "]
    assert reasons.why(Mutant("a.two", "x = 1", "x = 3")) == "this line"
    assert reasons.why(Mutant("a.two", "y = 1", "y = 3")) is None
    assert reasons.why(Mutant("a.three", "y = 1", "y = 3")) == "this function"
    assert list(reasons.unused()) == []
