"""A service that does nothing but live: it tests the platform, which starts, watches and ends services."""

from __future__ import annotations

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """``/environment`` answers what the service was told; ``/fail`` ends it as a crash would."""

    def do_GET(self) -> None:
        if self.path == "/fail":
            os._exit(7)
        body = json.dumps(dict(os.environ)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    if sys.argv[1:] == ["broken"]:
        sys.exit("cannot read its settings")
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PLUMBLINE_PORT"])), Handler).serve_forever()
