"""Which loopback port each process listens on: pinned by the environment, else as last time, else a free one."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Mapping

from deploy.local.errors import PlatformError

# Below the range from which Linux gives ports to outgoing connections: one of those would take ours while it is down.
_LOWEST, _HIGHEST = 20_000, 32_000


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:``port`` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def choose(
    names: Iterable[str], kept: Mapping[str, int], environment: Mapping[str, str], choice: random.Random
) -> dict[str, int]:
    """A port for each name. ``PLUMBLINE_<NAME>_PORT`` pins one; raises :class:`PlatformError` if that one is taken."""
    chosen: dict[str, int] = {}
    for name in names:
        port = _pinned(name, environment) or kept.get(name, 0)
        while port in chosen.values() or not (port and is_free(port)):
            port = choice.randrange(_LOWEST, _HIGHEST)
        chosen[name] = port
    return chosen


def variable(name: str) -> str:
    """The environment variable that pins the port of ``name``."""
    return f"PLUMBLINE_{name.upper()}_PORT"


def _pinned(name: str, environment: Mapping[str, str]) -> int | None:
    text = environment.get(variable(name))
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise PlatformError(f"{variable(name)} is {text!r}; a port from 1 to 65535 is needed")
    if not is_free(int(text)):
        raise PlatformError(
            f"port {text}, pinned for {name}, is taken by another program",
            where=f"127.0.0.1:{text}",
            fix=f"stop that program, or pin another port by {variable(name)}, or unset it: a free one is found then",
        )
    return int(text)
