"""``python -m services.ingestion``."""

from __future__ import annotations

from services.ingestion.app import build_app
from services.ingestion.settings import IngestionSettings
from shared.runtime.service import configure_logging, serve

if __name__ == "__main__":
    settings = IngestionSettings()
    configure_logging("ingestion", settings.log_level)
    serve(build_app(settings), settings)
