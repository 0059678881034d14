from __future__ import annotations

from pathlib import Path

import pytest

from services.ingestion.disk import FREE_BYTES_MIN, Disk, DiskLow
from shared.runtime.clock import SystemClock


class Hand(SystemClock):
    """A clock moved by hand."""

    at_s = 0.0

    def monotonic(self) -> float:
        return self.at_s


def test_nothing_is_accepted_while_the_disk_is_nearly_full_and_again_when_it_is_not() -> None:
    clock, free = Hand(), [FREE_BYTES_MIN]
    disk = Disk(Path("/"), clock, lambda _path: free[0])
    disk.check()
    free[0] -= 1
    disk.check()  # what was seen is believed for a second: a look at the disk per batch is a look too many
    clock.at_s = 1.0
    with pytest.raises(DiskLow, match="bytes of disk"):
        disk.check()
    free[0], clock.at_s = FREE_BYTES_MIN, 2.0
    disk.check()
