"""Small services on free ports of this machine, for the suite to be pointed at."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from typing import Any, Protocol


@dataclass(frozen=True)
class Reply:
    """An answer. With HEAD its content is left out, unless `even_to_head`."""

    status: int
    document: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    even_to_head: bool = False

    @property
    def content(self) -> bytes:
        if self.document is None:
            return b""
        return self.document.encode() if isinstance(self.document, str) else json.dumps(self.document).encode()


class Service(Protocol):
    def answer(self, method: str, path: str, headers: Message, body: bytes) -> Reply: ...


@contextmanager
def serving(service: Service) -> Iterator[str]:
    """The URL of a service that runs."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            reply = service.answer(self.command, self.path, self.headers, body)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.content)))
            self.end_headers()
            if self.command != "HEAD" or reply.even_to_head:
                self.wfile.write(reply.content)

        do_GET = do_HEAD = do_POST = do_PUT = handle_one  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Nothing is logged."""

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 50

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that went away is not an error here."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
