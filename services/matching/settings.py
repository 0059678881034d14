"""What matching is told by its environment."""

from __future__ import annotations

from shared.runtime.settings import ServiceSettings


class MatchingSettings(ServiceSettings):
    """See :class:`~shared.runtime.settings.ServiceSettings`."""
