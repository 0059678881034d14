"""What ingestion is told by its environment."""

from __future__ import annotations

from pydantic import Field

from shared.runtime.settings import ServiceSettings
from shared.vault.documents import MAX_DOCUMENT_BYTES


class IngestionSettings(ServiceSettings):
    """What every service is told, and the largest file."""

    file_bytes_max: int = Field(default=MAX_DOCUMENT_BYTES, ge=1_024, le=MAX_DOCUMENT_BYTES)
    """``PLUMBLINE_FILE_BYTES_MAX``: the largest file that is taken in; the vault keeps no larger one."""
