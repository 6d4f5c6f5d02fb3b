"""What API Gateway does in front of a deployed stage: it checks who has signed a request, and hands it on.

The signature is computed again by botocore's SigV4Auth from what has arrived. The path begins with the stage, as on
AWS. Nothing here knows the clients: curl, Python and JavaScript are each checked against the same computation.
"""

import hmac
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

REGION = "eu-west-1"
STAGE = "/dev"
PERMANENT = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
TEMPORARY = Credentials("ASIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "temporary/token==")

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8}/[\w-]+/[\w-]+)/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
)


@dataclass(frozen=True)
class Received:
    """A request as it arrived."""

    method: str
    target: str
    headers: Message
    body: bytes


def why_refused(request: Received, credentials: Credentials) -> str | None:
    """None if an identity has signed this very request, host, token and body included; otherwise the reason."""
    found = _AUTHORIZATION.fullmatch(request.headers.get("Authorization", ""))
    if not found:
        return "Missing Authentication Token"
    access_key, scope, names, signature = found.groups()
    time = request.headers.get("X-Amz-Date", "")
    if access_key != credentials.access_key or scope != f"{time[:8]}/{REGION}/execute-api":
        return "The security token included in the request is invalid"
    if not {"host", "x-amz-date", *(["x-amz-security-token"] if credentials.token else [])} <= set(names.split(";")):
        return "'Host', 'X-Amz-Date' and 'X-Amz-Security-Token' must be signed headers"
    if request.headers["X-Amz-Security-Token"] != credentials.token:
        return "The security token included in the request is invalid"
    if not hmac.compare_digest(signature, _signature(request, names.split(";"), time, credentials)):
        return "The request signature we calculated does not match the signature you provided"
    return None


def _signature(request: Received, names: list[str], time: str, credentials: Credentials) -> str:
    url = f"http://{request.headers['Host']}{request.target}"
    again = AWSRequest(request.method, url, {name: request.headers[name] or "" for name in names}, request.body)
    again.context["timestamp"] = time
    auth = SigV4Auth(credentials, "execute-api", REGION)
    return str(auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again))


@dataclass(frozen=True)
class Gateway:
    """A gateway in front of an API; `received` has the requests that it let through."""

    url: str
    credentials: Credentials
    received: list[Received]

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of a caller."""
        variables = {
            "API": self.url,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": self.credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_key,
            "AWS_SESSION_TOKEN": self.credentials.token,
        }
        return {name: value for name, value in variables.items() if value}


@contextmanager
def signed_gateway(api: str, credentials: Credentials) -> Iterator[Gateway]:
    """A gateway in front of the API at this URL, which knows one identity."""
    received: list[Received] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            request = Received(self.command, self.path, self.headers, body)
            if reason := why_refused(request, credentials):
                self._answer(403, [("Content-Type", "application/json")], f'{{"message": "{reason}"}}'.encode())
                return
            received.append(request)
            back = HTTPConnection(urlsplit(api).netloc, timeout=30)
            back.request(self.command, self.path.removeprefix(STAGE), body, dict(self.headers.items()))
            answer = back.getresponse()
            passed_on = [(name, value) for name, value in answer.getheaders() if name.lower() != "content-length"]
            self._answer(answer.status, passed_on, answer.read())
            back.close()

        do_POST = do_GET  # noqa: N815 - the name that http.server asks for

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in [*headers, ("Content-Length", str(len(body)))]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield Gateway(f"http://127.0.0.1:{server.server_port}{STAGE}", credentials, received)
        finally:
            server.shutdown()
