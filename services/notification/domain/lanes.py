"""How many messages may be on their way to each tenant's receiver: a receiver that fails is asked less and less often,
and what it holds up is never taken from those that answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what is on its way."""

    per_tenant: int = 16
    healthy: int = 256
    """To all receivers that answered last time."""
    suspect: int = 16
    """To all receivers that did not: room of their own, one message each."""
    rest_base_s: float = 0.5  # float: seconds
    rest_max_s: float = 60.0  # float: seconds


@dataclass(slots=True)
class _Lane:
    in_flight: int = 0
    failures: int = 0
    """Attempts that failed since one succeeded."""
    rests_until: float = 0.0  # float: seconds


class Lanes:
    """One lane per tenant with something on its way or with a failing receiver. ``now``: seconds that never go back."""

    def __init__(self, limits: Limits, rng: Random) -> None:
        self._limits = limits
        self._rng = rng
        self._lanes: dict[str, _Lane] = {}

    @property
    def failing(self) -> int:
        """Tenants whose receiver failed last."""
        return sum(lane.failures > 0 for lane in self._lanes.values())

    def room(self, now: float) -> tuple[int, dict[str, int]]:  # float: seconds
        """How many more may start in all, and how many for each tenant where that is not ``per_tenant``."""
        lanes = self._lanes.values()
        healthy = self._limits.healthy - sum(lane.in_flight for lane in lanes if not lane.failures)
        suspect = self._limits.suspect - sum(lane.in_flight for lane in lanes if lane.failures)
        special: dict[str, int] = {}
        for tenant, lane in sorted(self._lanes.items(), key=lambda item: item[1].rests_until):
            if not lane.failures:
                special[tenant] = self._limits.per_tenant - lane.in_flight
            elif suspect > 0 and lane.in_flight == 0 and lane.rests_until <= now:
                special[tenant], suspect = 1, suspect - 1
                healthy += 1
            else:
                special[tenant] = 0
        return max(0, healthy), special

    def started(self, tenants: Iterable[str]) -> None:
        for tenant in tenants:
            self._lanes.setdefault(tenant, _Lane()).in_flight += 1

    def finished(self, tenant: str, taken: bool, now: float) -> None:  # float: seconds
        """One message of ``tenant`` was taken, or not."""
        lane = self._lanes[tenant]
        lane.in_flight -= 1
        if not taken:
            lane.failures += 1
            bound = min(self._limits.rest_max_s, self._limits.rest_base_s * 2 ** min(lane.failures, 40))
            lane.rests_until = now + self._rng.uniform(0, bound)
        else:
            lane.failures = 0
            if lane.in_flight == 0:
                del self._lanes[tenant]
