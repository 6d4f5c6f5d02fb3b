"""AWS without a network: every client of the process gets prepared answers, below all of botocore's own work.

Signing, serialising, retries and reading an answer are botocore's, as ever; only the socket is gone. So what is
measured is the CPU of a process, alike for whoever calls.
"""

import json
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.httpsession import URLLib3Session

Document = dict[str, Any]


class _Body:
    """What botocore reads an answer's body from."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self) -> Iterator[bytes]:
        yield self._content


class Network:
    """Prepared answers by operation (`PutItem`). `calls` are those made; `delay`, the seconds that each takes."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.calls: list[tuple[str, bytes]] = []
        self._always: dict[str, tuple[int, bytes]] = {}

    def always(self, operation: str, document: Document, status: int = 200) -> None:
        """What each call of the operation is answered from now on."""
        self._always[operation] = status, json.dumps(document).encode()

    def first(self, operation: str) -> Document:
        """What the operation was first asked with."""
        return cast("Document", json.loads(next(body for name, body in self.calls if name == operation)))

    def last(self, operation: str) -> Document:
        """What the operation was last asked with."""
        body = next(body for name, body in reversed(self.calls) if name == operation)
        return cast("Document", json.loads(body))

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        """In the place of botocore's own `URLLib3Session.send`."""
        target: Any = request.headers["X-Amz-Target"]
        operation = (target if isinstance(target, str) else target.decode()).rpartition(".")[2]
        self.calls.append((operation, cast("bytes", request.body)))
        status, content = self._always[operation]
        if self.delay:
            time.sleep(self.delay)
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "Content-Length": str(len(content)),
            "x-amzn-RequestId": "5F1A7B9E3C5D4E6F8A0B1C2D3E4F5A6B7C8D9E0F1A2B3C4D5E6F",
            "x-amz-crc32": str(zlib.crc32(content)),
        }
        return AWSResponse(request.url, status, headers, _Body(content))  # type: ignore[arg-type]


@contextmanager
def without_network(current: Callable[[], Network]) -> Iterator[None]:
    """Inside, no client reaches anything but the answers of the network that is current."""
    original = URLLib3Session.send

    def send(_: URLLib3Session, request: Any) -> Any:
        return current().send(request)

    setattr(URLLib3Session, "send", send)  # noqa: B010 - a method cannot be assigned otherwise
    try:
        yield
    finally:
        setattr(URLLib3Session, "send", original)  # noqa: B010 - see above


def refused_with(item: Document) -> Document:
    """What a conditional write is answered that meets this item (status 400)."""
    kind = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"
    return {"__type": kind, "message": "The conditional request failed", "Item": item}
