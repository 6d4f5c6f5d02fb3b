"""The API's OpenAPI document."""

import json

from docs.openapi.document import BUILT


def operations() -> set[tuple[str, str]]:
    """Method and path of each operation."""
    paths = json.loads(BUILT.read_bytes())["paths"]
    return {(method.upper(), path) for path, item in paths.items() for method in item if method in ("get", "post")}
