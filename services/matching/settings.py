"""What matching is told by its environment."""

from __future__ import annotations

from pydantic import Field

from shared.runtime.settings import ServiceSettings


class MatchingSettings(ServiceSettings):
    """See :class:`~shared.runtime.settings.ServiceSettings`, and:"""

    resolvers: int = Field(default=1, ge=1, le=8)
    """Resolvers in this process."""
    comparers: int = Field(default=3, ge=1, le=16)
    """Comparers in this process; each uses two connections."""
