"""The fake of Stripe behind HTTP, on a free port of this machine; and one that takes connections and never answers."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.support.stripe_fake import StripeFake


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "_Server"

    def do_GET(self) -> None:
        target = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        params = dict(parse_qsl(body or target.query, strict_parsing=bool(body or target.query)))
        answer = self.server.fake.respond(self.command, target.path, params, dict(self.headers.items()))
        if answer is None:
            self.close_connection = True
            return
        sent = json.dumps({k: v for k, v in answer.body.items() if not k.startswith("_")}).encode()
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Request-Id", f"req_{len(self.server.fake.requests)}")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        """Nothing: the fake keeps all requests."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    fake: StripeFake


@contextmanager
def serving(fake: StripeFake) -> Iterator[str]:
    """The address of the fake while it is served."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.fake = fake
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def silent_server() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
