"""The laptop stack's own log lines, in the format of the app's."""

import json
import logging
import os
import sys
from datetime import UTC, datetime

_QUIET = ("werkzeug", "botocore", "boto3", "urllib3", "moto")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "level": record.levelname,
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "logger": record.name,
            "message": super().format(record),
        }
        return json.dumps(line)


def configure() -> None:
    """Send the log lines of `local` to stderr, by LOG_LEVEL and LOG_FORMAT (text or json)."""
    text = logging.Formatter("%(asctime)s,%(msecs)03d %(levelname)-7s %(message)s", "%H:%M:%S")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if os.environ.get("LOG_FORMAT") == "json" else text)
    own = logging.getLogger("local")
    own.handlers = [handler]
    own.propagate = False
    level = logging.getLevelNamesMapping().get(os.environ.get("LOG_LEVEL", "").upper())
    own.setLevel(level or logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
