"""Doubles for tests of the platform: a service that does nothing but live, and a supervisor of two of them.

``python -m tests.integration.platform_double service | broken | supervise``
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from deploy.local.errors import PlatformError
from deploy.local.home import Home
from deploy.local.supervisor import Supervisor, run

ME = (sys.executable, "-m", "tests.integration.platform_double")
SERVICES = {"ingestion": (*ME, "service"), "matching": (*ME, "service")}


class Handler(BaseHTTPRequestHandler):
    """Answers everything with the environment that the service was given; ``/fail`` ends it as a crash would."""

    def do_GET(self) -> None:
        if self.path == "/fail":
            os._exit(7)
        body = json.dumps(dict(os.environ)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main(mode: str) -> int:
    if mode == "broken":
        print("cannot read its settings", flush=True)
        return 9
    if mode == "service":
        ThreadingHTTPServer(("127.0.0.1", int(os.environ["PLUMBLINE_PORT"])), Handler).serve_forever()
    try:
        asyncio.run(run(Supervisor(Home.named(), services=SERVICES, say=lambda line: print(line, flush=True))))
    except PlatformError as error:
        print(error.lines(), flush=True)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
