"""A proxy that spoils the answers of an API: for tests of what is to notice that an API is wrong."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """An answer of the API; its headers' names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@contextmanager
def spoiling_proxy(api: str, spoil: Callable[[Answer], Answer]) -> Iterator[str]:
    """The URL of a proxy in front of the API at this URL; each answer is what `spoil` makes of it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            back = HTTPConnection(urlsplit(api).netloc, timeout=30)
            back.request(self.command, self.path, body, dict(self.headers.items()))
            got = back.getresponse()
            headers = {name.lower(): value for name, value in got.getheaders()}
            answer = spoil(Answer(got.status, headers, got.read()))
            back.close()
            self.send_response_only(answer.status)
            for name, value in (answer.headers | {"content-length": str(len(answer.body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_POST = do_GET  # noqa: N815 - the name that http.server asks for

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
