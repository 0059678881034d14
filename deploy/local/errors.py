"""What a person has to mend before the platform can start."""

from __future__ import annotations

from pathlib import Path


class PlatformError(Exception):
    """Something stands in the way; ``str()`` is what, ``where`` the place, ``fix`` what to do about it."""

    def __init__(self, what: str, *, where: str | Path | None = None, fix: str | None = None) -> None:
        super().__init__(what)
        self.where = None if where is None else str(where)
        self.fix = fix

    def lines(self) -> str:
        """The error as a person reads it."""
        parts = [f"error: {self}"]
        parts += [f"  where: {self.where}"] if self.where else []
        parts += [f"  fix: {self.fix}"] if self.fix else []
        return "\n".join(parts)
