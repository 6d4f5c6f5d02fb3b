"""A proxy in front of an API that drops, cuts, delays and replaces answers, by a schedule."""

import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.support.signed_gateway import Received


class Trouble(Enum):
    """What happens to a request and its answer."""

    NONE = auto()
    DROPPED = auto()
    """The connection is closed, and the request never reaches the service."""
    LOST = auto()
    """The service handles it, and the connection is closed before its answer."""
    HALF = auto()
    """The service handles it, and the connection is closed in the middle of its answer."""
    SLOW = auto()
    """The service handles it, and its answer comes after the client has gone."""
    LATE = auto()
    """The request reaches the service only after the client has gone."""
    FAILED = auto()
    """The service handles it, and the answer is somebody else's 502."""


@dataclass(frozen=True)
class Instead:
    """An answer in the place of the service's, which never sees the request."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"message": "not by the service"}'


BUSY = Instead(503, {"Retry-After": "2"})
LIMITED = Instead(429, {"Retry-After": "1"})

Step = Trouble | Instead


@dataclass
class Proxy:
    """`received`: every request that came, whatever became of it. `answers`: all of the service's."""

    api: str
    url: str
    schedule: Iterator[Step]
    received: list[Received] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def keys(self) -> list[str | None]:
        """The key of every request that came."""
        return [request.headers["Idempotency-Key"] for request in self.received]

    def next_step(self, request: Received) -> Step:
        """What this request meets."""
        with self.lock:
            self.received.append(request)
            return next(self.schedule, Trouble.NONE)

    def forward(self, request: Received) -> Instead:
        """What the service answers."""
        back = HTTPConnection(urlsplit(self.api).netloc, timeout=60)
        back.request(request.method, request.target, request.body, dict(request.headers.items()))
        answer = back.getresponse()
        kept = {name: value for name, value in answer.getheaders() if name.lower() != "content-length"}
        read = Instead(answer.status, kept, answer.read())
        back.close()
        self.answers.append(read.body)
        return read


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    def do_GET(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        request = Received(self.command, self.path, self.headers, body)
        match proxy.next_step(request):
            case Instead() as answer:
                self._answer(answer)
            case Trouble.DROPPED:
                pass
            case Trouble.LATE:
                self._wait_until_the_client_has_gone()
                proxy.forward(request)
            case Trouble() as trouble:
                self._hand_back(proxy.forward(request), trouble)

    do_POST = do_GET  # noqa: N815 - the name that http.server asks for

    def do_OPTIONS(self) -> None:
        """A browser asks first whether it may: that is answered, whatever the schedule says."""
        self._answer(self.server.proxy.forward(Received(self.command, self.path, self.headers, b"")))

    def _hand_back(self, answer: Instead, trouble: Trouble) -> None:
        if trouble is Trouble.SLOW:
            self._wait_until_the_client_has_gone()
        elif trouble is Trouble.FAILED:
            self._answer(Instead(502))
        elif trouble is not Trouble.LOST:
            self._answer(answer, half=trouble is Trouble.HALF)

    def _wait_until_the_client_has_gone(self) -> None:
        self.connection.settimeout(10)
        self.connection.recv(1)

    def _answer(self, answer: Instead, *, half: bool = False) -> None:
        self.send_response_only(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body[: len(answer.body) // 2] if half else answer.body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # closing the server waits for what it has begun
    proxy: Proxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # that a client has gone is expected
            super().handle_error(request, client_address)


@contextmanager
def lossy_proxy(api: str, schedule: Iterable[Step] = ()) -> Iterator[Proxy]:
    """A proxy of the API, whose first requests meet what the schedule says; later ones pass.

    When the context ends, every request has ended too.
    """
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.proxy = Proxy(api, f"http://127.0.0.1:{server.server_port}{urlsplit(api).path}", iter(schedule))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server.proxy
        finally:
            server.shutdown()
