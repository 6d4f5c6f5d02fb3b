"""What counts against a new version: its own faults, neither mistakes of clients nor what is retried."""

import pytest

from chalicelib import telemetry
from chalicelib.use_cases.paying import BatchPayments
from tests.support.orders import a_body
from tests.support.shop import Shop


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each that was counted."""
    found: list[None] = []
    monkeypatch.setattr(telemetry, "version_fault", lambda: found.append(None))
    return found


def broken(*_: object) -> None:
    raise RuntimeError("a mistake in the program")


def test_an_answer_of_5xx_is_one(small_shop: Shop, faults: list[None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(small_shop.service.placing.queue), "try_enqueue", broken)
    assert small_shop.post(a_body({"PROD-001": 1}), "k1").status == 500
    assert len(faults) == 1
    small_shop.calls.drop_request("GetItem", times=None, attempts=None)
    assert small_shop.ask("GET", "/orders/o1").status == 503
    assert len(faults) == 2


def test_any_other_answer_is_none(small_shop: Shop, faults: list[None]) -> None:
    order_id = small_shop.place(key="k1").order_id
    statuses = [
        small_shop.ask("GET", f"/orders/{order_id}").status,
        small_shop.ask("GET", "/orders/another").status,
        small_shop.ask("POST", "/orders", b"not JSON", {"Content-Type": "application/json"}).status,
    ]
    assert (statuses, faults) == ([200, 404, 400], [])


def test_a_message_that_fails_unexpectedly_or_is_refused_for_good_is_one(
    small_shop: Shop, faults: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    small_shop.produce("not JSON", "[]")
    assert small_shop.consume(small_shop.receive())
    assert len(faults) == 1, "for the batch"
    small_shop.place(key="k1")
    with monkeypatch.context() as patch:
        patch.setattr(BatchPayments, "charge", broken)
        assert not small_shop.consume(small_shop.receive())
    assert len(faults) == 2


def test_an_own_message_that_the_schema_refuses_is_one(small_shop: Shop, faults: list[None]) -> None:
    """Its order is worked on, but another release has sent it: one of both is wrong."""
    small_shop.place(key="k1")
    (message,) = small_shop.receive()
    message["Body"] = message["Body"].replace('"quantity": 1', '"quantity": 1000001')
    assert small_shop.consume([message])
    assert len(faults) == 1


def test_what_is_fulfilled_or_retried_is_none(small_shop: Shop, faults: list[None]) -> None:
    small_shop.place(key="k1")
    small_shop.calls.drop_request("TransactWriteItems", times=None, attempts=None)
    assert not small_shop.consume(small_shop.receive()), "Lambda counts this one"
    small_shop.calls.heal()
    small_shop.come_again()
    assert small_shop.consume(small_shop.receive())
    assert faults == []
