"""How much may still be accepted: PostgreSQL without disk stops hard, so ingestion stops before it, and says so."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from shared.eventlog.model import LogFull
from shared.runtime.clock import Clock

FREE_BYTES_MIN = 1_000_000_000
"""As much as the platform asks for before it starts; the rest is for what was accepted to be worked on."""
_BELIEVED_S = 1.0


class DiskLow(LogFull):
    """Too little disk is left; send the batch again when there is more."""


class Disk:
    """Watches the disk that this installation's folder is on (with the embedded servers: their data too)."""

    def __init__(
        self, path: Path, clock: Clock, free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
    ) -> None:
        self._path = path
        self._clock = clock
        self._free_bytes = free_bytes
        self._looked_at = float("-inf")
        self._free = 0

    def check(self) -> None:
        """Raise :class:`DiskLow` when less than :data:`FREE_BYTES_MIN` is free."""
        now = self._clock.monotonic()
        if now - self._looked_at >= _BELIEVED_S:
            self._looked_at, self._free = now, self._free_bytes(self._path)
        if self._free < FREE_BYTES_MIN:
            raise DiskLow(f"{self._free:,} bytes of disk are free where {FREE_BYTES_MIN:,} are kept")
