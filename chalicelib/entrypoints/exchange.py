"""An HTTP request and its answer, as the API sees them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chalicelib import exact_json
from chalicelib.entrypoints.problems import Problem

MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """What the API looks at of an HTTP request.

    Header names are in lower case; the values of a header that was sent more than once are joined by `, ` (RFC 9110).
    `body` is what came, undecoded. `base` is what comes before the route in the path: the stage, or a custom domain's
    base path (`/dev`); empty on a laptop. `context` is what the gateway, and no client, says about the request.
    """

    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    correlation_id: str
    base: str = ""
    context: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> Any:
        """The body, which is JSON. Raises Problem for any other."""
        media_type = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise Problem("unsupported-media-type", "Send the body as application/json.")
        encodings = {coding.strip().lower() for coding in self.headers.get("content-encoding", "").split(",")}
        if not encodings <= {"identity", ""}:
            detail, headers = "Send the body as it is, without compression.", {"Accept-Encoding": "identity"}
            raise Problem("unsupported-content-encoding", detail, headers=headers)
        if len(self.body) > MAX_BODY_BYTES:
            raise Problem("body-too-large", f"It must have at most {MAX_BODY_BYTES} bytes.")
        try:
            return exact_json.loads(self.body)
        except exact_json.InvalidJson as error:
            raise Problem("invalid-json", str(error)) from error


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; the body is a JSON document, or empty."""

    status: int
    body: str
    headers: Mapping[str, str]
