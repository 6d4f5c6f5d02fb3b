"""What the service says of itself is said of the right order, by the right invocation, and once."""

import json
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib import settings, telemetry
from tests.support.events import FakeLambdaContext

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _a_logger_of_its_own(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Iterator[None]:
    """A logger keeps the stream that it was made with, so each test makes a new one, under a name of its own."""
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", f"test-{uuid.uuid4()}")
    monkeypatch.setenv("LOG_LEVEL", "INFO")
    forget()
    yield
    forget()


def forget() -> None:
    settings.app_settings.cache_clear()
    telemetry.logger.cache_clear()


@pytest.fixture
def as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_FORMAT", "text")
    forget()


def said(capsys: Capture) -> tuple[list[dict[str, Any]], list[tuple[str, float, str | None]]]:
    """The log lines written since it was asked last; and name, sum and reason of each metric."""
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = []
    for document in documents:
        for directive in document.get("_aws", {}).get("CloudWatchMetrics", ()):
            assert directive["Namespace"] == "OrderOnce"
            (dimensions,) = directive["Dimensions"]
            reason = document["reason"] if "reason" in dimensions else None
            found += [(m["Name"], sum(document[m["Name"]]), reason) for m in directive["Metrics"]]
    return [document for document in documents if "_aws" not in document], sorted(found, key=str)


# --- keys ---


def test_all_that_is_logged_inside_has_the_keys_and_nothing_else_has_even_after_a_fault(capsys: Capture) -> None:
    with telemetry.invocation(requestId="r1"):
        with telemetry.bound(orderId="o1", correlationId=None):
            telemetry.info("inner", count=1, reason=None)
        telemetry.warning("outer")
    with pytest.raises(ZeroDivisionError), telemetry.invocation(requestId="r2"), telemetry.bound(orderId="o2"):
        raise ZeroDivisionError
    telemetry.info("outside")
    with telemetry.invocation():
        telemetry.info("next")
    own = {"level", "message", "requestId", "orderId", "correlationId", "count", "reason"}
    assert [{name: line[name] for name in own & set(line)} for line in said(capsys)[0]] == [
        {"level": "INFO", "message": "inner", "requestId": "r1", "orderId": "o1", "count": 1},
        {"level": "WARNING", "message": "outer", "requestId": "r1"},
        {"level": "INFO", "message": "outside"},
        {"level": "INFO", "message": "next"},
    ]


def test_neither_keys_nor_metrics_leak_between_threads(capsys: Capture) -> None:
    together = threading.Barrier(8)

    def work(n: int) -> None:
        with telemetry.invocation(requestId=f"r{n}"):
            for step in range(20):
                with telemetry.bound(orderId=f"o{n}-{step}", **{f"own{n}": "x"}):
                    if step == 0:
                        together.wait()
                    telemetry.info("at work", worker=n, step=step)
                    telemetry.count(f"Metric{n}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    found, metrics = said(capsys)
    assert metrics == [(f"Metric{n}", 20, None) for n in range(8)]
    assert len(found) == 160
    for line in found:
        assert line["requestId"] == f"r{line['worker']}"
        assert line["orderId"] == f"o{line['worker']}-{line['step']}"
        assert [name for name in line if name.startswith("own")] == [f"own{line['worker']}"]


def test_an_unexpected_fault_is_logged_with_its_traceback(capsys: Capture) -> None:
    log_a_fault()
    ((line,), _) = said(capsys)
    assert (line["level"], line["message"], line["orderId"]) == ("ERROR", "unexpected", "o1")
    assert "nothing to divide by" in line["exception"]


def log_a_fault() -> None:
    try:
        raise ZeroDivisionError("nothing to divide by")
    except ZeroDivisionError:
        telemetry.exception("unexpected", orderId="o1")


def test_a_line_has_its_members_in_one_order_and_text_as_it_is(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "shop")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-5e6f8a0b-1c2d3e4f5a6b7c8d9e0f1a2b;Parent=53995c3f42cd8ad8;Sampled=1")
    forget()
    with telemetry.invocation(requestId="r1"), telemetry.bound(correlationId="é"):
        telemetry.info("order placed", orderId="o1", amount=Decimal("1.50"))
    line = capsys.readouterr().out
    moment = json.loads(line)["timestamp"]
    assert datetime.strptime(moment, "%Y-%m-%d %H:%M:%S,%f%z").tzinfo
    assert abs(time.time() - datetime.strptime(moment, "%Y-%m-%d %H:%M:%S,%f%z").timestamp()) < 60
    assert line == (
        f'{{"level":"INFO","location":"{json.loads(line)["location"]}","message":"order placed","timestamp":"{moment}",'
        '"service":"shop","requestId":"r1","correlationId":"é","orderId":"o1","amount":"1.50",'
        '"xray_trace_id":"1-5e6f8a0b-1c2d3e4f5a6b7c8d9e0f1a2b"}\n'
    )


def test_a_fault_has_its_stack_and_a_line_without_one_has_no_place_for_it(capsys: Capture) -> None:
    log_a_fault()
    telemetry.exception("nothing was raised")
    (line, bare), _ = said(capsys)
    assert line["exception_name"] == line["stack_trace"]["type"] == "ZeroDivisionError"
    assert (line["stack_trace"]["module"], line["stack_trace"]["value"]) == ("builtins", "nothing to divide by")
    (frame,) = line["stack_trace"]["frames"]
    assert (frame["function"], frame["statement"]) == ("log_a_fault", 'raise ZeroDivisionError("nothing to divide by")')
    assert (frame["file"], type(frame["line"])) == (__file__, int)
    assert not {"exception", "exception_name", "stack_trace", "xray_trace_id"} & set(bare)


def test_no_line_is_written_twice_however_often_the_logger_is_made(capsys: Capture) -> None:
    written: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        # As in Lambda, which has a handler of its own at the root.
        patch.setattr(logging.getLogger(), "handlers", [SimpleNamespace(level=0, handle=written.append)])
        telemetry.info("first")
        telemetry.logger.cache_clear()
        telemetry.info("second")
    assert [line["message"] for line in said(capsys)[0]] == ["first", "second"]
    assert not written


# --- metrics ---


def test_what_is_counted_is_written_when_the_invocation_ends_in_one_line(capsys: Capture) -> None:
    with telemetry.invocation():
        telemetry.count("OrdersPlaced")
        telemetry.count("OrdersPlaced")
        telemetry.count("OrdersReserved", 10)
        assert capsys.readouterr().out == ""
    written = capsys.readouterr().out
    assert written.count("\n") == 1
    assert (json.loads(written)["OrdersPlaced"], json.loads(written)["OrdersReserved"]) == ([1, 1], [10])


def test_an_invocation_that_counts_nothing_writes_nothing(capsys: Capture) -> None:
    telemetry.count("OrdersPlaced")  # outside: no harm
    with telemetry.invocation():
        pass
    assert capsys.readouterr().out == ""


def test_an_invocation_inside_another_or_after_it_has_its_own_metrics(capsys: Capture) -> None:
    with telemetry.invocation():
        with telemetry.invocation():
            telemetry.count("OrdersReplayed")
        assert said(capsys)[1] == [("OrdersReplayed", 1, None)]
        telemetry.count("OrdersPlaced")
    assert said(capsys)[1] == [("OrdersPlaced", 1, None)]


def test_a_failed_order_counts_in_all_and_by_reason(capsys: Capture) -> None:
    with telemetry.invocation():
        for reason in ("OUT_OF_STOCK", "OUT_OF_STOCK", "UNKNOWN_PRODUCT"):
            telemetry.count("OrdersFailed", reason=reason)
    assert said(capsys)[1] == [
        ("OrdersFailed", 1, "OUT_OF_STOCK"),
        ("OrdersFailed", 1, "OUT_OF_STOCK"),
        ("OrdersFailed", 1, "UNKNOWN_PRODUCT"),
        ("OrdersFailed", 3, None),
    ]


def test_a_batch_that_counts_more_than_a_line_can_hold_loses_nothing(capsys: Capture) -> None:
    with telemetry.invocation():
        for _ in range(250):
            telemetry.count("OrdersRecovered")
    assert [value for _, value, _ in said(capsys)[1]] == [100, 100, 50]


def test_a_line_of_metrics_is_in_cloudwatchs_format(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "shop")
    forget()
    with telemetry.invocation():
        telemetry.count("OrdersFailed", reason="OUT_OF_STOCK")
        telemetry.count("OrdersReserved", 10)
    by_reason, in_all = capsys.readouterr().out.splitlines()
    at = [json.loads(line)["_aws"]["Timestamp"] for line in (by_reason, in_all)]
    assert all(abs(time.time() * 1000 - moment) < 60_000 for moment in at)
    assert by_reason == (
        f'{{"_aws":{{"Timestamp":{at[0]},"CloudWatchMetrics":[{{"Namespace":"OrderOnce","Dimensions":[["service","reason"]],'
        '"Metrics":[{"Name":"OrdersFailed","Unit":"Count"}]}]},"service":"shop","reason":"OUT_OF_STOCK","OrdersFailed":[1.0]}'
    )
    assert in_all == (
        f'{{"_aws":{{"Timestamp":{at[1]},"CloudWatchMetrics":[{{"Namespace":"OrderOnce","Dimensions":[["service"]],'
        '"Metrics":[{"Name":"OrdersFailed","Unit":"Count"},{"Name":"OrdersReserved","Unit":"Count"}]}]},'
        '"service":"shop","OrdersFailed":[1.0],"OrdersReserved":[10.0]}'
    )


# --- text, for a person ---


@pytest.mark.usefixtures("as_text")
def test_as_text_an_event_is_one_line_whatever_its_values_and_there_is_none_for_machines(capsys: Capture) -> None:
    with telemetry.invocation(requestId="r1"):
        telemetry.info("order confirmed", orderId="o1", count=3, reason="a\n12:00:00 INFO a line of its own")
        telemetry.count("OrdersFailed", reason="OUT_OF_STOCK")
        for _ in range(250):
            telemetry.count("OrdersConfirmed")
    (line,) = capsys.readouterr().out.splitlines()
    keys = r"requestId=r1 orderId=o1 count=3 reason='a\\n12:00:00 INFO a line of its own'"
    assert re.fullmatch(r"\d\d:\d\d:\d\d\S* INFO +order confirmed +" + keys, line)


@pytest.mark.usefixtures("as_text")
def test_as_text_a_fault_brings_its_traceback(capsys: Capture) -> None:
    log_a_fault()
    first, *trace = capsys.readouterr().out.splitlines()
    assert "unexpected" in first
    assert trace[0].startswith("Traceback")
    assert "nothing to divide by" in trace[-1]


# --- correlation ids ---


@pytest.mark.parametrize("header", ["c", "c" * 128, "9b2f-1c3e/x=1,y"])
def test_a_visible_correlation_id_is_the_clients(header: str) -> None:
    assert telemetry.correlation_id(header, "r1") == header


@pytest.mark.parametrize("header", [None, "", "c" * 129, "a b", "a\n", "é", "\ud800", "a\x00"])
def test_any_other_gives_way_to_the_requests_or_a_new_one(header: str | None) -> None:
    assert telemetry.correlation_id(header, "r1") == "r1"
    made = telemetry.correlation_id(header, None)
    assert str(uuid.UUID(made)) == made
    assert telemetry.correlation_id(header, None) != made


# --- the middleware ---

CONTEXT = FakeLambdaContext(aws_request_id="r1")


@pytest.mark.parametrize(
    ("event", "request_id"),
    [
        (SimpleNamespace(lambda_context=CONTEXT), "r1"),
        (SimpleNamespace(context=CONTEXT), "r1"),
        (SimpleNamespace(context=None), None),
    ],
    ids=["HTTP", "any other", "none"],
)
@pytest.mark.parametrize("raises", [False, True])
def test_every_kind_of_invocation_logs_its_request_id_and_writes_its_metrics(
    event: Any, request_id: str | None, capsys: Capture, *, raises: bool
) -> None:
    def handler(given: Any) -> str:
        assert given is event
        telemetry.info("inside")
        telemetry.count("OrdersPlaced")
        if raises:
            raise ZeroDivisionError
        return "answer"

    with pytest.raises(ZeroDivisionError) if raises else nullcontext():
        assert telemetry.per_invocation(event, handler) == "answer"
    ((inside,), metrics) = said(capsys)
    assert inside.get("requestId") == request_id
    assert metrics == [("OrdersPlaced", 1, None)]


@pytest.mark.parametrize("log", [telemetry.info, telemetry.warning, telemetry.error, telemetry.exception])
def test_a_line_says_where_it_was_logged(log: Callable[[str], None], capsys: Capture) -> None:
    def somebody() -> None:
        log("here")

    somebody()
    assert re.fullmatch(r"somebody:\d+", said(capsys)[0][0]["location"])
