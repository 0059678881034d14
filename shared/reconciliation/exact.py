"""Exact decimal arithmetic between the rounding points (rating.md section 0)."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Context, DivisionByZero, Inexact, InvalidOperation, Overflow, getcontext, localcontext
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# Figures have at most 38 digits and shares 18 decimals: the longest product stays below 200. Python's own default of
# 28 digits would round silently; here whatever would round raises, except in shared.kernel.money, which says how.
_EXACT = Context(prec=200, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])


def exact(function: Callable[P, R]) -> Callable[P, R]:
    """Runs a function in exact arithmetic: a result that would have to be rounded is an error, not a figure."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if getcontext().prec == _EXACT.prec:  # called by another that is exact
            return function(*args, **kwargs)
        with localcontext(_EXACT):
            return function(*args, **kwargs)

    return run
