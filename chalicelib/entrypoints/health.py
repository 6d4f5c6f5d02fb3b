"""GET /health: whether the API answers at all. It calls nothing and needs no setting: nothing else makes it fail."""

from chalicelib import exact_json
from chalicelib.entrypoints.exchange import Answer


def health() -> Answer:
    """The function runs, and its code could be loaded."""
    return Answer(200, exact_json.dumps({"status": "ok"}), {})
