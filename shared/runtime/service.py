"""How a service runs: its HTTP server, its end, and its logs. A service's ``__main__`` is three lines::

settings = ServiceSettings()
configure_logging("matching", settings.log_level)
serve(build_app(settings), settings)
"""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import MutableMapping
from types import FrameType
from typing import Any

import orjson
import structlog
import uvicorn
from pydantic import SecretBytes, SecretStr

from shared.runtime.clock import Clock, SystemClock
from shared.runtime.settings import ServiceSettings

DRAIN_S = 10
"""How long requests in flight may take to end after SIGTERM."""
EXIT_S = 20
"""How long the whole end may take, consumers and pools included; then the process ends as it is. Nothing is lost by
that (effects and marks commit together), only time at the next start."""

_SECRET_NAMES = re.compile(r"password|secret|token|authorization|api_?key|pepper|master", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(://[^/:@\s]*):[^@/\s]+@")
_HIDDEN = "***"


class _Server(uvicorn.Server):
    """A server whose end is bounded, whatever the application's shutdown does."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            watchdog = threading.Timer(EXIT_S, os._exit, args=[1])
            watchdog.daemon = True
            watchdog.start()
        super().handle_exit(sig, frame)


def serve(app: Any, settings: ServiceSettings) -> None:
    """Run an ASGI ``app`` until SIGTERM or SIGINT, then drain. Returns after an orderly end.

    Raises SystemExit with status 3 if the application did not start (its lifespan failed).
    """
    # Records are trees without cycles: frequent collections cost throughput (a third of validation) and find nothing.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    # The server raises the signal again when it has ended; a signal that was obeyed is not a failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    server = _Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=DRAIN_S,
        )
    )
    server.run()
    if not server.started:
        raise SystemExit(3)


def configure_logging(service: str, level: str = "INFO", clock: Clock | None = None) -> None:
    """One JSON object per line on stderr, for our own logs (structlog) and the libraries' (logging) alike.

    ``structlog.contextvars.bind_contextvars(correlation_id=...)`` adds to every line of the task that calls it.
    """
    source = clock or SystemClock()

    def stamp(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["at"] = source.now().isoformat(timespec="milliseconds")
        event["service"] = service
        return event

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        stamp,
        structlog.processors.format_exc_info,
        hide_secrets,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # A refused connection to a broker that restarts is normal for a moment, and is reported by our own readiness.
    for noisy in ("aiokafka", "httpx", "httpcore", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def hide_secrets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace what must not be in a log: values under the names of secrets, and passwords inside addresses."""
    for name, value in event.items():
        if isinstance(value, (SecretStr, SecretBytes)) or (_SECRET_NAMES.search(name) and value is not None):
            event[name] = _HIDDEN
        elif isinstance(value, str) and "://" in value:
            event[name] = _URL_PASSWORD.sub(rf"\1:{_HIDDEN}@", value)
    return event


def _render(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
