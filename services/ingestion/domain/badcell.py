"""Why a cell cannot be what its column holds."""

from __future__ import annotations


class BadCell(Exception):
    """A cell cannot be what its column holds: ``reason`` says why, ``fix`` what to write. Neither holds the
    value, which may be a person's."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix
        self.column = ""
        """Set by whoever knows it."""
