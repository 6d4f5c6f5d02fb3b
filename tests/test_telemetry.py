"""What the service says of itself is said of the right order, by the right invocation, and once."""

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib import telemetry
from tests.support.events import FakeLambdaContext

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _a_logger_of_its_own(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> Iterator[None]:
    """A logger keeps the stream that it was made with, so each test makes one anew, under a name of its own."""
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", f"test-{uuid.uuid4()}")
    monkeypatch.setenv("LOG_LEVEL", "INFO")
    telemetry.logger.cache_clear()
    yield
    telemetry.logger.cache_clear()


@pytest.fixture
def as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_FORMAT", "text")


def lines(capsys: Capture) -> list[dict[str, Any]]:
    """The log lines written so far."""
    return [line for line in _documents(capsys) if "_aws" not in line]


def _documents(capsys: Capture) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def metrics(capsys: Capture) -> list[tuple[str, float, str | None]]:
    """Name, sum and reason of each metric written so far."""
    found = []
    for document in _documents(capsys):
        for directive in document.get("_aws", {}).get("CloudWatchMetrics", ()):
            assert directive["Namespace"] == "OrderOnce"
            (dimensions,) = directive["Dimensions"]
            reason = document["reason"] if "reason" in dimensions else None
            found += [(m["Name"], sum(document[m["Name"]]), reason) for m in directive["Metrics"]]
    return found


# --- keys ---


def test_all_that_is_logged_inside_bears_the_keys_and_what_is_outside_does_not(capsys: Capture) -> None:
    with telemetry.invocation(requestId="r1"):
        with telemetry.bound(orderId="o1", correlationId=None):
            telemetry.info("inner")
        telemetry.warning("outer")
    telemetry.info("outside")
    inner, outer, outside = lines(capsys)
    assert (inner["requestId"], inner["orderId"], inner["level"]) == ("r1", "o1", "INFO")
    assert "correlationId" not in inner
    assert (outer["requestId"], outer["level"]) == ("r1", "WARNING")
    assert "orderId" not in outer
    assert "requestId" not in outside


def test_keys_do_not_leak_into_the_next_invocation_even_after_a_fault(capsys: Capture) -> None:
    with pytest.raises(ZeroDivisionError), telemetry.invocation(requestId="r1"), telemetry.bound(orderId="o1"):
        raise ZeroDivisionError
    with telemetry.invocation():
        telemetry.info("next")
    (line,) = lines(capsys)
    assert not {"requestId", "orderId"} & set(line)


def test_keys_do_not_leak_between_threads(capsys: Capture) -> None:
    together = threading.Barrier(8)

    def work(n: int) -> None:
        with telemetry.invocation(requestId=f"r{n}"):
            for step in range(20):
                with telemetry.bound(orderId=f"o{n}-{step}", **{f"own{n}": "x"}):
                    if step == 0:
                        together.wait()
                    telemetry.info("at work", worker=n, step=step)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    found = lines(capsys)
    assert len(found) == 160
    for line in found:
        assert line["requestId"] == f"r{line['worker']}"
        assert line["orderId"] == f"o{line['worker']}-{line['step']}"
        assert [name for name in line if name.startswith("own")] == [f"own{line['worker']}"]


def test_the_keys_of_one_event_are_its_own(capsys: Capture) -> None:
    telemetry.info("first", orderId="o1", reason=None)
    telemetry.info("second")
    first, second = lines(capsys)
    assert first["orderId"] == "o1"
    assert "reason" not in first
    assert "orderId" not in second


def test_an_unexpected_fault_is_logged_with_its_traceback(capsys: Capture) -> None:
    try:
        raise ZeroDivisionError("nothing to divide by")
    except ZeroDivisionError:
        telemetry.exception("unexpected", orderId="o1")
    (line,) = lines(capsys)
    assert (line["level"], line["message"], line["orderId"]) == ("ERROR", "unexpected", "o1")
    assert "nothing to divide by" in line["exception"]


# --- metrics ---


def test_what_is_counted_is_written_when_the_invocation_ends_in_one_line(capsys: Capture) -> None:
    with telemetry.invocation():
        telemetry.count("OrdersPlaced")
        telemetry.count("OrdersPlaced")
        telemetry.count("OrdersReserved", 10)
        assert capsys.readouterr().out == ""
    assert sorted(metrics(capsys)) == [("OrdersPlaced", 2, None), ("OrdersReserved", 10, None)]


def test_metrics_are_written_also_when_the_handler_raises(capsys: Capture) -> None:
    def handler(_: Any) -> None:
        telemetry.count("MessagesRetried")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        telemetry.per_invocation(SimpleNamespace(context=None), handler)
    assert metrics(capsys) == [("MessagesRetried", 1, None)]


def test_an_invocation_that_counts_nothing_writes_nothing(capsys: Capture) -> None:
    with telemetry.invocation():
        pass
    assert capsys.readouterr().out == ""


def test_metrics_do_not_leak_into_the_next_invocation(capsys: Capture) -> None:
    for name in ("OrdersPlaced", "OrdersReplayed"):
        with telemetry.invocation():
            telemetry.count(name)
        assert metrics(capsys) == [(name, 1, None)]


def test_an_invocation_inside_another_leaves_it_its_own_metrics(capsys: Capture) -> None:
    with telemetry.invocation():
        with telemetry.invocation():
            telemetry.count("OrdersReplayed")
        assert metrics(capsys) == [("OrdersReplayed", 1, None)]
        telemetry.count("OrdersPlaced")
    assert metrics(capsys) == [("OrdersPlaced", 1, None)]


def test_metrics_do_not_leak_between_threads(capsys: Capture) -> None:
    together = threading.Barrier(8)

    def work(n: int) -> None:
        with telemetry.invocation():
            together.wait()
            for _ in range(50):
                telemetry.count(f"Metric{n}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert sorted(metrics(capsys)) == [(f"Metric{n}", 50, None) for n in range(8)]


def test_a_failed_order_counts_in_all_and_by_reason(capsys: Capture) -> None:
    with telemetry.invocation():
        for reason in ("OUT_OF_STOCK", "OUT_OF_STOCK", "UNKNOWN_PRODUCT"):
            telemetry.count("OrdersFailed", reason=reason)
    assert sorted(metrics(capsys), key=str) == [
        ("OrdersFailed", 1, "OUT_OF_STOCK"),
        ("OrdersFailed", 1, "OUT_OF_STOCK"),
        ("OrdersFailed", 1, "UNKNOWN_PRODUCT"),
        ("OrdersFailed", 3, None),
    ]


def test_a_batch_that_counts_more_than_a_line_can_hold_loses_nothing(capsys: Capture) -> None:
    with telemetry.invocation():
        for _ in range(250):
            telemetry.count("OrdersRecovered")
    assert sum(value for _, value, _ in metrics(capsys)) == 250


def test_counting_outside_an_invocation_does_no_harm(capsys: Capture) -> None:
    telemetry.count("OrdersPlaced")
    assert capsys.readouterr().out == ""


# --- text, for a person ---


@pytest.mark.usefixtures("as_text")
def test_as_text_an_event_is_one_line(capsys: Capture) -> None:
    with telemetry.invocation(requestId="r1"):
        telemetry.info("order confirmed", orderId="o1", count=3)
        telemetry.count("OrdersConfirmed")
        telemetry.count("OrdersFailed", reason="OUT_OF_STOCK")
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d\S* INFO +order confirmed +requestId=r1 orderId=o1 count=3", line)


@pytest.mark.usefixtures("as_text")
def test_as_text_no_value_can_begin_a_line_of_its_own(capsys: Capture) -> None:
    telemetry.warning("message quarantined", reason="#/a\n12:00:00 INFO order confirmed: is not a known field")
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.usefixtures("as_text")
def test_as_text_a_fault_brings_its_traceback(capsys: Capture) -> None:
    try:
        raise ZeroDivisionError("nothing to divide by")
    except ZeroDivisionError:
        telemetry.exception("unexpected")
    first, *trace = capsys.readouterr().out.splitlines()
    assert "unexpected" in first
    assert trace[0].startswith("Traceback")
    assert "nothing to divide by" in trace[-1]


@pytest.mark.usefixtures("as_text")
def test_as_text_there_is_never_a_line_for_machines(capsys: Capture) -> None:
    with telemetry.invocation():
        for _ in range(250):
            telemetry.count("OrdersRecovered")
    assert capsys.readouterr().out == ""


# --- correlation ids ---


@pytest.mark.parametrize("header", ["c", "c" * 128, "9b2f-1c3e/x=1,y"])
def test_a_visible_correlation_id_is_the_clients(header: str) -> None:
    assert telemetry.correlation_id_of(header, "r1") == header


@pytest.mark.parametrize("header", [None, "", "c" * 129, "a b", "a\n", "é", "\ud800", "a\x00"])
def test_any_other_gives_way_to_the_requests_or_a_new_one(header: str | None) -> None:
    assert telemetry.correlation_id_of(header, "r1") == "r1"
    made = telemetry.correlation_id_of(header, None)
    assert str(uuid.UUID(made)) == made
    assert telemetry.correlation_id_of(header, None) != made


# --- the middleware ---


@pytest.mark.parametrize("name", ["lambda_context", "context"])
def test_every_kind_of_invocation_logs_its_request_id_and_writes_its_metrics(name: str, capsys: Capture) -> None:
    context = FakeLambdaContext(aws_request_id="r1")

    def handler(_: Any) -> str:
        telemetry.info("inside")
        telemetry.count("OrdersPlaced")
        return "answer"

    assert telemetry.per_invocation(SimpleNamespace(**{name: context}), handler) == "answer"
    inside, emf = _documents(capsys)
    assert inside["requestId"] == "r1"
    assert emf["OrdersPlaced"] == [1.0]


def test_without_a_context_there_is_no_request_id_and_no_fault(capsys: Capture) -> None:
    handler: Callable[[Any], None] = lambda _: telemetry.info("inside")  # noqa: E731
    telemetry.per_invocation(SimpleNamespace(context=None), handler)
    (line,) = lines(capsys)
    assert "requestId" not in line
