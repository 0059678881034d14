"""What a run of the tests against mutants does differently: fewer generated examples, cheap tests first.

A mutant dies by the first test that fails, so examples worked by hand come before properties; and a property that fails
need not be shrunk.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import Phase, settings

from tests.mutation.modules import NOT_RUN

EXAMPLES_MAX = int(os.environ.get("MUTANTS_EXAMPLES", "30"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = [item for item in items if item.name not in NOT_RUN]
    for item in items:
        if is_property(item):
            lower(item)
    items.sort(key=is_property)


def is_property(item: pytest.Item) -> bool:
    return hasattr(getattr(item, "obj", None), "hypothesis")


def lower(item: Any) -> None:
    """Decorated settings win over a profile, so they are replaced where they are kept."""
    test = getattr(item.obj, "__func__", item.obj)
    given = getattr(test, "_hypothesis_internal_use_settings", settings.default)
    test._hypothesis_internal_use_settings = settings(
        given,
        max_examples=min(given.max_examples, EXAMPLES_MAX),
        phases=(Phase.explicit, Phase.generate),
        database=None,
        derandomize=True,
        deadline=None,
    )
