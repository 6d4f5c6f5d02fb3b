"""Requests and answers, as they are on the wire: repeated fields, odd values, lost answers, the content after HEAD."""

import http.client
import json
import socket
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Fields = tuple[tuple[str, str], ...]
"""Header fields in their order; a name may be there more than once."""

MAX_CONTENT_BYTES = 1_000_000


class Unreachable(Exception):
    """Nobody listens at the address of the API; the text is one sentence."""


class NoAnswer(Exception):
    """The connection ended, or the time, without an answer."""


@dataclass(frozen=True)
class Request:
    """One request. `target` is a path of the API's host, with its query."""

    method: str
    target: str
    headers: Fields
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: int
    headers: Fields
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a field, repeated ones joined (RFC 9110, section 5.3)."""
        values = [value for given, value in self.headers if given.lower() == name.lower()]
        return ", ".join(values) if values else None

    @property
    def accepted(self) -> bool:
        return 200 <= self.status < 300

    @property
    def refused(self) -> bool:
        return 400 <= self.status < 500

    @property
    def media_type(self) -> str:
        return (self.header("Content-Type") or "").partition(";")[0].strip().lower()

    @property
    def document(self) -> Any:
        """The content as JSON; None if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True)
class Answered:
    """A request and its answer. Not `of_api`: a hook's, or a page of documentation, which the rules do not judge."""

    request: Request
    answer: Answer
    of_api: bool = True


@dataclass(frozen=True)
class Unanswered:
    """A request whose answer there was not, or was not read; `note` says which."""

    request: Request
    note: str


Exchange = Answered | Unanswered


class Wire:
    """The way to one host. Each request has a connection of its own."""

    def __init__(self, url: str, timeout: float) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        if "@" in parts.netloc:
            raise ValueError("the address must not have a user name or a password: put credentials into a header")
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.query or parts.fragment:
            raise ValueError(f"{url!r} is not the http or https address of an API")
        self._secure, self._host, self._port, self.timeout = parts.scheme == "https", parts.hostname, port, timeout
        self.base = parts.path

    def reach(self) -> None:
        """Raises Unreachable if nobody listens."""
        try:
            with closing(self._connection()) as connection:
                connection.connect()
        except OSError as error:
            raise Unreachable(f"{self.url} cannot be reached: {error.strerror or error}.") from error

    def send(self, request: Request) -> Answer:
        """Raises NoAnswer."""
        try:
            with closing(self._connection()) as connection:
                _write(connection, request)
                return _read(connection)
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(str(error) or type(error).__name__) from error

    def send_and_hang_up(self, request: Request) -> None:
        """Send all of the request, and close the connection before the answer is read."""
        try:
            with closing(self._connection()) as connection:
                _write(connection, request)
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(str(error) or type(error).__name__) from error

    def send_together(self, requests: Sequence[Request]) -> list[Answer | NoAnswer]:
        """The answers to requests that are sent at the same moment, on connections made before it."""
        barrier = threading.Barrier(len(requests))
        answers: list[Answer | NoAnswer] = [NoAnswer("not sent")] * len(requests)

        def one(number: int) -> None:
            try:
                with closing(self._connection()) as connection:
                    connection.connect()
                    barrier.wait(self.timeout)
                    _write(connection, requests[number])
                    answers[number] = _read(connection)
            except (OSError, http.client.HTTPException, threading.BrokenBarrierError) as error:
                answers[number] = NoAnswer(str(error) or type(error).__name__)

        threads = [threading.Thread(target=one, args=(number,)) for number in range(len(requests))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    def content_after_head(self, request: Request) -> bytes:
        """The bytes that follow the fields of the answer to a HEAD request, which http.client would not show."""
        request = Request(request.method, request.target, (*request.headers, ("Connection", "close")), request.body)
        try:
            with closing(self._connection()) as connection:
                _write(connection, request)
                read = _all_of(connection.sock)
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(str(error) or type(error).__name__) from error
        return read.partition(b"\r\n\r\n")[2]

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        return kind(self._host, self._port, timeout=self.timeout)


def _write(connection: http.client.HTTPConnection, request: Request) -> None:
    connection.putrequest(request.method, request.target, skip_accept_encoding=True)
    if not any(name.lower() == "user-agent" for name, _ in request.headers):
        connection.putheader("User-Agent", "conformance")  # some gateways refuse a request without one
    for name, value in request.headers:
        connection.putheader(name, value.encode("latin-1"))
    if request.body or request.method not in ("GET", "HEAD"):
        connection.putheader("Content-Length", str(len(request.body)))
    connection.endheaders(request.body or None)


def _read(connection: http.client.HTTPConnection) -> Answer:
    response = connection.getresponse()
    body = response.read(MAX_CONTENT_BYTES)
    if response.length and len(body) < MAX_CONTENT_BYTES:
        raise http.client.IncompleteRead(body, response.length)
    return Answer(response.status, tuple(response.getheaders()), body)


def _all_of(sock: socket.socket) -> bytes:
    """What comes until the connection ends; or the time, if the server keeps it open after its answer."""
    read = b""
    try:
        while len(read) < MAX_CONTENT_BYTES and (part := sock.recv(65536)):
            read += part
    except TimeoutError:
        if b"\r\n\r\n" not in read:
            raise
    return read
