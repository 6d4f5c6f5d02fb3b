"""`python -m tests.conformance.failing_laptop`: the laptop stack, whose DynamoDB can be made to fail.

POST /outage/begins and /outage/ends go to the port of the embedded AWS.
"""

import sys
from typing import Any

from werkzeug.wrappers import Response

from local import __main__ as laptop
from local import aws
from tests.support.faults import retrying_at_once


def with_outages() -> None:
    """From now on the embedded AWS of this process can fail."""
    served = aws._OneRequestAtATime.__call__
    outage: list[str] = []

    def serve(self: Any, environ: dict[str, Any], start_response: Any) -> Any:
        path = environ.get("PATH_INFO", "")
        if path.startswith("/outage/"):
            outage[:] = ["DynamoDB"] if path == "/outage/begins" else []
            return Response(status=204)(environ, start_response)
        if outage and environ.get("HTTP_X_AMZ_TARGET", "").startswith("DynamoDB"):
            failure = '{"__type": "InternalServerError", "message": "an outage"}'
            return Response(failure, 500, content_type="application/x-amz-json-1.0")(environ, start_response)
        return served(self, environ, start_response)

    aws._OneRequestAtATime.__call__ = serve  # type: ignore[method-assign]


if __name__ == "__main__":
    with_outages()
    with retrying_at_once():
        sys.exit(laptop.main([]))
