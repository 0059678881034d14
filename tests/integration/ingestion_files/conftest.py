"""Files on a real PostgreSQL, sent over HTTP in process."""

from tests.integration.ingestion.conftest import house, ingestion

__all__ = ["house", "ingestion"]
