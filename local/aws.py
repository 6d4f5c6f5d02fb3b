"""The embedded AWS: moto's server in a thread of this process, on 127.0.0.1 alone."""

import html
import io
import json
import logging
import socket
import threading
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import ThreadedWSGIServer
from werkzeug.wrappers import Response

from local.data import Data
from local.keeping import Keeper
from local.moto_fixes import Guards
from local.settings import LOOPBACK

log = logging.getLogger(__name__)


class EmbeddedAws:
    """DynamoDB, SQS, EventBridge, CloudFormation and the rest; empty at each start, until `restore`.

    A context manager: entering starts the server on a socket that listens already, leaving ends it without waiting for
    a long poll under way. One at a time in a process, because moto's state belongs to the process.
    """

    def __init__(self, listener: socket.socket, data: Data | None = None) -> None:
        self._keeper = Keeper(data)
        self._guards = Guards(self._keeper)
        self._ending = ExitStack()
        port: int = listener.getsockname()[1]
        application = _OneRequestAtATime(self._guards)
        # The server works on a duplicate of the descriptor; the caller still owns its socket.
        self._server = _Server(LOOPBACK, port, application, _Handler, fd=listener.fileno())
        self.url = f"http://{LOOPBACK}:{port}"

    def __enter__(self) -> Self:
        self._ending.enter_context(self._guards.installed())
        moto_api_backend.reset()
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="embedded-aws", daemon=True)
        thread.start()
        self._ending.callback(thread.join)
        self._ending.callback(self._server.shutdown)
        self._ending.callback(self.end_long_polls)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ending.close()

    def restore(self) -> bool:
        """Put the rows and messages of the data into the tables and queues that exist; whether there were any.

        Raises StartError if they do not fit.
        """
        return self._keeper.restore()

    def end_long_polls(self) -> None:
        """Answer every waiting ReceiveMessage now, without messages; later ones do not wait."""
        self._guards.closing.set()


class _OneRequestAtATime(DomainDispatcherApplication):
    def __init__(self, guards: Guards) -> None:
        super().__init__(create_backend_app)
        self._guards = guards
        self._backend_of: dict[str | None, Any] = {}

    def get_backend_for_host(self, host: str | None) -> Any:
        """As moto does, which would list its own directory for each request."""
        if host not in self._backend_of:
            self._backend_of[host] = super().get_backend_for_host(host)
        return self._backend_of[host]

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        if environ.keys() & {"HTTP_ORIGIN", "HTTP_SEC_FETCH_SITE"}:  # a web page in a browser, and no client of AWS
            return Response("Not for web pages.", 403)(environ, start_response)
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        try:
            with self._guards.turn(target):
                return super().__call__(environ, start_response)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            log.debug("the embedded AWS failed: %s", reason, exc_info=True)
            return _failure(reason, as_json=bool(target))(environ, start_response)


def _failure(reason: str, as_json: bool) -> Response:
    """A fault inside moto in AWS's own format, so that the caller sees the reason.

    Services that name their action in X-Amz-Target speak JSON, the older ones XML.
    """
    if as_json:
        body = json.dumps({"__type": "InternalFailure", "message": reason})
        return Response(body, 500, content_type="application/x-amz-json-1.0")
    error = f"<Code>InternalFailure</Code><Message>{html.escape(reason)}</Message>"
    return Response(f"<ErrorResponse><Error>{error}</Error></ErrorResponse>", 500, content_type="text/xml")


class _Handler(MotoRequestHandler):
    """Keeps connections open and answers with one write; werkzeug's own closes each and then waits for 10 ms."""

    protocol_version = "HTTP/1.1"
    # Otherwise a client on a kept-alive connection waits about 40 ms for each answer (Nagle's algorithm).
    disable_nagle_algorithm = True
    wbufsize = -1

    def run_wsgi(self) -> None:
        """Answer one request. Its body is read whole: what is left of it would be taken for the next request."""
        environ = self.make_environ()
        environ["wsgi.input"] = io.BytesIO(self.rfile.read(int(environ.get("CONTENT_LENGTH") or 0)))
        answer = Response.from_app(self.server.app, environ, buffered=True)
        body = answer.get_data()
        self.send_response(answer.status_code)
        for name, value in answer.headers:
            if name.lower() not in ("content-length", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing: the calls of AWS are not what a person follows here."""


class _Server(ThreadedWSGIServer):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        """Werkzeug's lines are for people who debug the stack, not for those who run it."""
        log.debug(message, *args)
