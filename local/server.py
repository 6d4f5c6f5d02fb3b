"""The API: Chalice's local server, with every error a problem (RFC 9457)."""

import errno
import functools
import json
import logging
import socket
import sys
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from chalice.app import Chalice, CORSConfig
from chalice.config import Config
from chalice.local import (
    ChaliceRequestHandler,
    LocalGatewayAuthorizer,
    LocalGatewayException,
    ThreadedHTTPServer,
    create_local_server,
)

from chalicelib import telemetry
from chalicelib.entrypoints.problems import CONTENT_TYPE, Problem
from local import api_reference
from local.authorizer import TokenRefused
from local.faults import StartError

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 10 * 1024 * 1024
"""The maximum of API Gateway."""


REQUEST_TIMEOUT_SECONDS = 20.0
"""How long the server waits for the next part of a request, or for the next request of a kept connection."""


def listen(host: str, port: int, setting: str) -> socket.socket:
    """A listening socket. Raises StartError naming the setting that chooses another port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        # Python's text repeats the address, which the sentence has already.
        reason = (error.strerror or str(error)).partition(" (while")[0].lower()
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise StartError(f"HOST must be an IP address of this machine, not {host!r} ({reason}).") from error
        raise StartError(f"Cannot listen on {host}:{port} ({reason}): set {setting} to use another port.") from error


class ApiServer:
    """Serves the app on a socket that listens already, for as long as the context lasts.

    Without an authorizer, Chalice's own decides who may call: only the app's custom ones are asked then.
    """

    def __init__(
        self, app: Chalice, config: Config, listener: socket.socket, authorizer: LocalGatewayAuthorizer | None = None
    ) -> None:
        host, port = listener.getsockname()[:2]
        self._server = create_local_server(app, config, "127.0.0.1", 0).server
        _adopt(self._server, listener)
        self._server.RequestHandlerClass = functools.partial(
            ProblemHandler, app_object=app, config=config, authorizer=authorizer
        )
        # Chalice's own loop prints its address, and checks only twice a second whether to stop.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="api", daemon=True)
        reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        self.url = f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()


def _adopt(server: ThreadedHTTPServer, listener: socket.socket) -> None:
    """Let the server accept on `listener`, which was bound before anything else was started."""
    server.socket.close()
    server.socket = listener
    server.server_address = listener.getsockname()[:2]
    server.handle_error = _handle_error


def _handle_error(request: Any, client_address: Any) -> None:
    """A client that went away is not logged; anything else is one line, not a traceback."""
    error = sys.exception()
    if not isinstance(error, ConnectionError):
        log.warning("a request failed: %s: %s", type(error).__name__, error)
        log.debug("from %s", client_address, exc_info=error)


class ProblemHandler(ChaliceRequestHandler):
    """Chalice's handler, which answers as API Gateway in front of this app does.

    What Chalice refuses before the app sees it (an unknown route, an authorizer's refusal) and what Python's HTTP
    server refuses (a malformed request) becomes a problem like every other error.
    """

    # Otherwise a client on a kept-alive connection waits about 40 ms for each answer (Nagle's algorithm).
    disable_nagle_algorithm = True
    timeout = REQUEST_TIMEOUT_SECONDS

    def __init__(self, *given: Any, authorizer: LocalGatewayAuthorizer | None, **named: Any) -> None:
        self._authorizer = authorizer
        super().__init__(*given, **named)  # which handles the requests of the connection

    def setup(self) -> None:
        """Put the authorizer in the place of Chalice's own."""
        super().setup()
        if self._authorizer:
            self.local_gateway._authorizer = self._authorizer

    def _generic_handle(self) -> None:
        length = self.headers.get("content-length") or "0"
        # Chalice reads a body by its Content-Length alone.
        if "transfer-encoding" in self.headers:
            self.send_error(411, explain="Send the body with a Content-Length.")
        elif not (length.isascii() and length.isdigit()):
            self.send_error(400, explain="Content-Length is not a number.")
        elif len(length) > 9 or int(length) > MAX_BODY_BYTES:
            self.send_error(413, explain=f"The body may have at most {MAX_BODY_BYTES} bytes.")
        elif self.command in ("GET", "HEAD") and (file := api_reference.served(self.path.partition("?")[0])):
            self._send_http_response(200, {"Content-Type": file.content_type}, file.content)
        else:
            super()._generic_handle()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_PATCH = do_OPTIONS = _generic_handle  # noqa: N815
    do_TRACE = do_QUERY = _generic_handle  # noqa: N815 - no route has them: 405

    def _parse_payload(self) -> tuple[Any, bytes | None]:
        """Headers and body. A body that does not come, or not whole, never reaches the app.

        The values of a repeated header are joined (RFC 9110, section 5.3): Chalice's event has room for one.
        """
        try:
            headers, body = super()._parse_payload()
        except TimeoutError:
            self.send_error(408, explain=f"No part of the body came for {self.timeout:g} seconds.")
            raise
        if len(body or b"") < int(self.headers.get("content-length") or 0):
            raise ConnectionAbortedError("the client left before the end of the body")
        return {name.lower(): ", ".join(self.headers.get_all(name, ())) for name in headers}, body

    def _send_http_response_with_body(self, code: int, headers: Any, body: str | bytes) -> None:
        """The answer to a HEAD request is the one to GET without its body (RFC 9110)."""
        if self.command == "HEAD":
            length = len(body if isinstance(body, bytes) else body.encode())
            self.send_response(code)
            self._send_headers({"Content-Type": "application/json", **headers, "Content-Length": str(length)})
        else:
            super()._send_http_response_with_body(code, headers, body)

    def _send_headers(self, headers: dict[str, str]) -> None:
        """The app's answers have a correlation id; what never reached the app gets one here."""
        super()._send_headers({"X-Correlation-Id": self._correlation_id()} | headers)

    def _correlation_id(self) -> str:
        return telemetry.correlation_id(getattr(self, "headers", {}).get("x-correlation-id"), None)

    def _send_error_response(self, error: LocalGatewayException) -> None:
        if isinstance(error, TokenRefused):
            self._send_problem(error.problem)
            return
        status, detail = error.CODE, "The authorizer of this route refused the request."
        # Chalice answers 403 to an unknown route, as API Gateway does. 404 is clearer for a client.
        if error.headers.get("x-amzn-ErrorType") == "UnauthorizedException":
            status, detail = 404, f"{self.command} {self.path.partition('?')[0]} does not exist."
        elif status == 500:
            detail = "The authorizer of this route failed."
        self._send_problem(Problem(status, detail, headers=error.headers))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a request that cannot be read, and close its connection."""
        self.close_connection = True
        detail = explain or message or "The request is malformed."
        self._send_problem(Problem(code, detail, headers={"Connection": "close"}))

    def _send_problem(self, problem: Problem) -> None:
        correlation_id = self._correlation_id()
        headers = {**problem.headers, **_cors_headers(self.local_gateway), "X-Correlation-Id": correlation_id}
        headers["Content-Type"] = CONTENT_TYPE
        self._send_http_response(problem.status, headers, json.dumps(problem.answered_as(correlation_id)))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """The app logs the requests that reach it, so this is for debugging only."""
        log.debug(format, *args)


def _cors_headers(gateway: Any) -> dict[str, str]:
    """The headers that let a browser read the answer, if the app allows it."""
    config = _cors_config(gateway._app_object)
    return config.get_access_control_headers() if config else {}


def _cors_config(app: Chalice) -> CORSConfig | None:
    """What the app allows everywhere, or else on the first of its routes that allows anything."""
    if app.api.cors:
        return CORSConfig() if app.api.cors is True else app.api.cors
    entries = (entry for methods in app.routes.values() for entry in methods.values())
    allowed: Iterator[CORSConfig | None] = (entry.cors for entry in entries)
    return next(filter(None, allowed), None)
