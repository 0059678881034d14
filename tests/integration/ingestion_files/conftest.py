"""Files on a real PostgreSQL, sent over HTTP in process."""

from tests.integration.ingestion.conftest import ingestion

__all__ = ["ingestion"]
