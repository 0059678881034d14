"""What ingestion is told by its environment: what every service is told, and nothing more."""

from __future__ import annotations

from shared.runtime.settings import ServiceSettings


class IngestionSettings(ServiceSettings):
    """See :class:`~shared.runtime.settings.ServiceSettings`."""
