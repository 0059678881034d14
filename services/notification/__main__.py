"""``python -m services.notification``."""

from __future__ import annotations

from services.notification.app import build_app
from services.notification.settings import NotificationSettings
from shared.runtime.service import configure_logging, serve

if __name__ == "__main__":
    settings = NotificationSettings()
    configure_logging("notification", settings.log_level)
    serve(build_app(settings), settings)
