"""What the service reports: structured log lines and metrics (CloudWatch's embedded metric format).

Keys and metrics are the invocation's own, also where several run in one process, as they do on a laptop.
"""

import json
import logging
import re
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from threading import Lock
from typing import Any

from chalicelib.settings import BadSetting, app_settings, trace_header

_CORRELATION_ID = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)
_MAX_VALUES = 100
"""Of one metric in one line (Amazon CloudWatch User Guide, "Embedded metric format specification")."""

VERSION_FAULTS = "VersionFaults"

_CALLER = 2
"""Frames from the log's own line to the one that called `info`, `warning` …: that is the line's location."""

_keys: ContextVar[Mapping[str, Any]] = ContextVar("keys", default={})  # noqa: B039 - nobody changes it, each sets another
_metrics: ContextVar["_Metrics | None"] = ContextVar("metrics", default=None)
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


def _as_text() -> bool:
    return app_settings().log_format == "text"


@cache
def logger() -> logging.Logger:
    """The one logger. LOG_FORMAT `json` (the default) is what CloudWatch wants, `text` what a person reads."""
    made = logging.getLogger(_service())
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Text() if _as_text() else _Json())
    made.handlers = [handler]
    made.setLevel(app_settings().log_level)
    made.propagate = False  # Lambda's own handler would write each line again
    return made


class _Json(logging.Formatter):
    """One JSON object a line, its first members in this order."""

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime(f"%Y-%m-%d %H:%M:%S,{int(record.msecs):03}%z", time.localtime(record.created))
        return self.line(
            {
                "level": record.levelname,
                "location": f"{record.funcName}:{record.lineno}",
                "message": record.getMessage(),
                "timestamp": moment,
                "service": _service(),
                **_keys.get(),
                **record.__dict__.get("keys", {}),
                **self._fault(record),
                **_trace_id(),
            }
        )

    def line(self, members: Mapping[str, Any]) -> str:
        return _to_json(members)

    def _fault(self, record: logging.LogRecord) -> dict[str, Any]:
        if not record.exc_info or record.exc_info[1] is None:
            return {}
        fault = record.exc_info[1]
        frames = [
            {"file": frame.filename, "line": frame.lineno, "function": frame.name, "statement": frame.line}
            for frame in traceback.extract_tb(fault.__traceback__)
        ]
        kind = type(fault)
        stack = {"type": kind.__name__, "value": str(fault), "module": kind.__module__, "frames": frames}
        text = self.formatException(record.exc_info)
        return {"exception": text, "exception_name": kind.__name__, "stack_trace": stack}


class _Text(_Json):
    """One line that a person reads, and after it the traceback, if there is one."""

    def line(self, members: Mapping[str, Any]) -> str:
        shown = {"timestamp", "level", "message", "location", "service", "exception", "exception_name", "stack_trace"}
        keys = " ".join(f"{name}={_shown(value)}" for name, value in members.items() if name not in shown)
        trace = f"\n{members['exception']}" if "exception" in members else ""
        return f"{members['timestamp'][11:23]} {members['level']:7} {members['message']:28} {keys}{trace}"


def _shown(value: Any) -> str:
    """As it is, unless it could end the line or break it up: then a client could write log lines of its own."""
    text = str(value)
    return text if text.isprintable() else repr(text)


def _trace_id() -> dict[str, str]:
    header = trace_header()
    return {"xray_trace_id": header.partition(";")[0].replace("Root=", "")} if header else {}


class _Metrics:
    """What one invocation counts: the values of each metric. One line at its end; more only if there are many."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}
        self._adding = Lock()  # an invocation may have threads

    def add(self, name: str, value: int) -> None:
        with self._adding:
            values = self._values.setdefault(name, [])
            values.append(float(value))
            if len(values) == _MAX_VALUES:
                self._write()

    def flush(self) -> None:
        with self._adding:
            self._write()

    def _write(self) -> None:
        if self._values:
            _write_metrics(self._values, {})
            self._values = {}


def _write_metrics(values: Mapping[str, list[float]], dimensions: Mapping[str, str]) -> None:
    dimensions = {"service": _service(), **dimensions}
    directive = {
        "Namespace": app_settings().metrics_namespace,
        "Dimensions": [list(dimensions)],
        "Metrics": [{"Name": name, "Unit": "Count"} for name in values],
    }
    metadata = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}
    sys.stdout.write(_to_json({"_aws": metadata, **dimensions, **values}) + "\n")


@contextmanager
def invocation(**keys: str | None) -> Iterator[None]:
    """Every line logged inside has these keys, and no others; the metrics are written when it ends, however it ends."""
    metrics = _Metrics()
    counting, logging_keys = _metrics.set(metrics), _keys.set(_present(keys))
    try:
        yield
    finally:
        _keys.reset(logging_keys)
        _metrics.reset(counting)
        metrics.flush()


@contextmanager
def bound(**keys: str | None) -> Iterator[None]:
    """Every line logged inside has these keys too."""
    token = _keys.set({**_keys.get(), **_present(keys)})
    try:
        yield
    finally:
        _keys.reset(token)


def info(event: str, **keys: Any) -> None:
    """One event, as it should be."""
    logger().info(event, extra={"keys": _present(keys)}, stacklevel=_CALLER)


def warning(event: str, **keys: Any) -> None:
    """One event that somebody may have to look at."""
    logger().warning(event, extra={"keys": _present(keys)}, stacklevel=_CALLER)


def exception(event: str, **keys: Any) -> None:
    """A fault that nobody expected, with its traceback."""
    logger().exception(event, extra={"keys": _present(keys)}, stacklevel=_CALLER)


def error(event: str, **keys: Any) -> None:
    """A fault that an operator must fix, without a traceback."""
    logger().error(event, extra={"keys": _present(keys)}, stacklevel=_CALLER)


def count(name: str, value: int = 1, reason: str | None = None) -> None:
    """Add to a metric of this invocation; with a reason, in all and once more by that reason."""
    if _as_text():
        return
    metrics = _metrics.get()
    if metrics is not None:
        metrics.add(name, value)
    if reason:
        _write_metrics({name: [float(value)]}, {"reason": reason})


def version_fault() -> None:
    """Count a fault of this version of the function: an answer of 5xx, a message that is refused or fails unexpectedly.

    The alarms that roll back a release look at it (`deploy/canary.py`). Lambda counts only what is raised.
    """
    settings = app_settings()
    if settings.function_version.isdigit() and not _as_text():  # neither $LATEST nor a laptop
        version = {"function": settings.function_name, "version": settings.function_version}
        _write_metrics({VERSION_FAULTS: [1.0]}, version)


def correlation_id(header: str | None, otherwise: str | None) -> str:
    """The client's correlation id if it is 1 to 128 visible ASCII characters, else the request's id, else a new one."""
    if header and _CORRELATION_ID.fullmatch(header):
        return header
    return otherwise or str(uuid.uuid4())


def per_invocation(event: Any, get_response: Callable[[Any], Any]) -> Any:
    """Chalice middleware: each invocation, of whatever kind, logs its request id and writes its metrics.

    A missing setting ends the process with one log line (the API answers 500): messages stay on their queue.
    """
    context = getattr(event, "lambda_context", None) or getattr(event, "context", None)
    with invocation(requestId=getattr(context, "aws_request_id", None)):
        try:
            return get_response(event)
        except BadSetting as fault:
            error(f"OrderOnce cannot run: {fault}.")
            sys.exit(1)


def _service() -> str:
    return app_settings().service_name


def _present(keys: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in keys.items() if value is not None}
