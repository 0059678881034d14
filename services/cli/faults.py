"""How a command fails: what happened, where, how to mend it, and an exit status that a script can act on."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit statuses, the same for every command."""

    DONE = 0
    DIFFERENCE = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_ALLOWED = 4
    QUARANTINED = 5
    NOT_FOUND = 6
    NOT_COMPARABLE = 7
    NOT_CHECKED = 8
    INTERRUPTED = 130


class Fault(Exception):
    """A command cannot do what was asked."""

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        exit: Exit = Exit.USAGE,
        correlation: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix
        self.exit = exit
        self.correlation = correlation

    def parts(self) -> dict[str, str]:
        """What is known, in the order in which it is said."""
        known = {"error": self.what, "where": self.where, "fix": self.fix, "correlation": self.correlation}
        return {name: text for name, text in known.items() if text}
