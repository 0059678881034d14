"""``python -m services.matching``."""

from __future__ import annotations

from services.matching.app import build_app
from services.matching.settings import MatchingSettings
from shared.runtime.service import configure_logging, serve

if __name__ == "__main__":
    settings = MatchingSettings()
    configure_logging("matching", settings.log_level)
    serve(build_app(settings), settings)
