"""GET /openapi.json: the API's description (OpenAPI 3.1), a file that `python -m docs.openapi` makes."""

from functools import cache
from pathlib import Path

from chalicelib.entrypoints.caching import cacheable
from chalicelib.entrypoints.exchange import Answer, Request


def get_openapi(request: Request) -> Answer:
    """The file as it is, or 304 if the client has it already."""
    return cacheable(request, _document())


@cache
def _document() -> str:
    return Path(__file__).with_suffix(".json").read_text("utf-8")
