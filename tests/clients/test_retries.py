"""When the clients try again, how long they wait, and what they say when they do not."""

import json
from datetime import timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import exact_json
from orderonce import FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS, OrderOnce
from tests.clients.callers import NOW, Caller, Client, Outcome
from tests.support.lossy_proxy import Instead, Step, Trouble, lossy_proxy
from tests.support.network import free_port

NOWHERE = "http://127.0.0.1:9"
DONE = Instead(201, {"Idempotent-Replayed": "true"}, b'{"orderId": "o1", "totalAmount": 30.00}')
ORDER = {"customerId": "CUST-1", "items": [], "totalAmount": 29.99}


def placed(client: Client, *steps: Step, key: str | None = None, **options: float) -> tuple[Outcome, int]:
    """What becomes of an order when these are the answers, and how many requests were made."""
    with lossy_proxy(NOWHERE, [*steps, DONE]) as proxy:
        outcome = client.call(proxy.url, "place", ORDER, key, options=options)
    return outcome, len(proxy.received)


def problem(status: int, **members: Any) -> Instead:
    document = {"status": status, **members}
    return Instead(status, {"Content-Type": "application/problem+json"}, json.dumps(document).encode())


def backoff(tried: int) -> float:
    """The longest wait of its own after so many tries."""
    return float(min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2 ** (tried - 1)))


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        (format_datetime(NOW + timedelta(seconds=30), usegmt=True), 30),
        (format_datetime(NOW - timedelta(days=1), usegmt=True), 0),
        ("soon", 0),
        ("-5", 0),
        ("", 0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(client: Client, status: int, retry_after: str, seconds: float) -> None:
    outcome, tries = placed(client, Instead(status, {"Retry-After": retry_after}))
    assert tries == 2
    assert outcome.result["replayed"]
    assert seconds <= outcome.waits[0] <= seconds + backoff(1) + 0.001


def test_waits_grow_up_to_a_limit_and_are_random(client: Client) -> None:
    outcome, tries = placed(client, *[Trouble.DROPPED] * 12, tries=13, seconds=1000)
    assert tries == 13
    longest = [backoff(tried) for tried in range(1, 13)]
    assert all(0 <= wait <= most for wait, most in zip(outcome.waits, longest, strict=True))
    assert longest[-1] == LONGEST_BACKOFF_SECONDS
    assert len({round(wait / most, 3) for wait, most in zip(outcome.waits, longest, strict=True)}) > 6


def test_tries_are_bounded_and_the_failure_carries_the_key(client: Client) -> None:
    outcome, tries = placed(client, *[Trouble.DROPPED] * 20, key="mine", tries=3)
    assert tries == 3
    assert outcome.failed
    assert (outcome.failed["class"], outcome.failed["key"], outcome.failed["retryable"]) == ("NoAnswer", "mine", True)


def test_no_try_is_later_than_the_time_for_all(client: Client) -> None:
    outcome, tries = placed(client, *[Instead(503, {"Retry-After": "20"})] * 20, tries=20, seconds=50)
    assert tries == 3
    assert 40 <= sum(outcome.waits) <= 50
    assert outcome.failed
    assert (outcome.failed["status"], outcome.failed["retry_after"]) == (503, 20)
    assert outcome.failed["key"]


def test_a_service_that_is_not_there_is_tried_again(client: Client) -> None:
    outcome = client.call(f"http://127.0.0.1:{free_port()}", "place", ORDER, options={"tries": 4})
    assert len(outcome.waits) == 3
    assert outcome.failed
    assert (outcome.failed["class"], len(outcome.failed["key"])) == ("NoAnswer", 36)


@pytest.mark.parametrize(
    ("answer", "again"),
    [
        (Instead(500), True),
        (Instead(504, body=b"<html>"), True),
        (problem(409, retryable=True), True),
        (problem(408, retryable=True), True),
        (Instead(201, body=b"<html>"), True),
        (Instead(201, body=b"[1]"), True),
        (problem(503, retryable=False), False),
        (problem(400, retryable=False), False),
        (Instead(408), False),
        (Instead(403), False),
        (Instead(404, {"Retry-After": "1"}), False),
        (Instead(302, {"Location": "/elsewhere"}), False),
        (Instead(307, {"Location": "/elsewhere"}), False),
    ],
)
def test_what_a_repetition_cannot_help_is_not_repeated(client: Client, answer: Instead, again: bool) -> None:
    outcome, tries = placed(client, answer)
    assert tries == (2 if again else 1)
    assert (outcome.failed is None) is again
    if outcome.failed:
        assert (outcome.failed["status"], outcome.failed["retryable"]) == (answer.status, False)


def test_a_problem_says_what_the_service_says(client: Client) -> None:
    members: dict[str, Any] = {
        "type": "https://orderonce.example/problems/invalid-order",
        "title": "The order is invalid",
        "status": 400,
        "detail": "See `errors`.",
        "instance": "urn:correlation-id:c1",
        "retryable": False,
        "errors": [{"pointer": "/items", "detail": "too few"}],
    }
    failed = placed(client, problem(**members), key="mine")[0].failed
    assert failed
    assert failed["document"] == members
    assert failed["kind"] == "invalid-order"
    assert failed["text"] == "400 invalid-order: See `errors`."
    assert failed["key"] == "mine"
    assert all(failed[name] == members[name] for name in members if name != "title")


def test_an_answer_of_the_gateways_own_is_a_problem_too(client: Client) -> None:
    failed = placed(client, Instead(403, body=b'{"message": "Forbidden"}'))[0].failed
    assert failed
    assert (failed["kind"], failed["detail"]) == ("about:blank", "Forbidden")
    assert (failed["instance"], failed["errors"]) == (None, [])


def test_each_try_asks_for_a_token(client: Client) -> None:
    with lossy_proxy(NOWHERE, [Trouble.DROPPED, DONE]) as proxy:
        client.call(proxy.url, "place", ORDER, caller=Caller(tokens=["a.b.c", "d.e.f"]))
    assert [request.headers["Authorization"] for request in proxy.received] == ["Bearer a.b.c", "Bearer d.e.f"]


def test_a_token_that_cannot_be_had_ends_the_call_with_its_key(client: Client) -> None:
    with lossy_proxy(NOWHERE, [Trouble.DROPPED, DONE]) as proxy:
        outcome = client.call(proxy.url, "place", ORDER, "mine", caller=Caller(tokens=["the only one"]))
    assert len(proxy.received) == 1
    assert outcome.failed
    assert (outcome.failed["class"], outcome.failed["key"], outcome.failed["retryable"]) == ("NoAnswer", "mine", False)


AMOUNTS = st.decimals(0, 999_999_999_999, places=2)


@given(amount=AMOUNTS)
def test_an_amount_is_exact_in_both_directions(amount: Decimal) -> None:
    answer = Instead(201, body=exact_json.dumps({"totalAmount": amount}).encode())
    with lossy_proxy(NOWHERE, [answer]) as proxy:
        order = OrderOnce(proxy.url).place({"totalAmount": amount}).order
    assert exact_json.loads(proxy.received[0].body) == {"totalAmount": amount}
    assert (order["totalAmount"], type(order["totalAmount"])) == (amount, Decimal)


@pytest.mark.parametrize("amount", [Decimal("0.1234567890123456789"), Decimal("NaN"), object()])
def test_what_json_cannot_say_exactly_is_refused_and_not_sent(amount: object) -> None:
    with lossy_proxy(NOWHERE) as proxy, pytest.raises(TypeError, match="without loss"):
        OrderOnce(proxy.url).place({"totalAmount": amount})
    assert not proxy.received


def test_a_link_to_the_next_page_is_taken_as_it_is(client: Client) -> None:
    links = ["/dev/customers/CUST-1/orders?limit=1&cursor=c%3D", "/v1/customers/CUST-1/orders?limit=1&cursor=d"]
    pages = [
        Instead(200, body=json.dumps({"orders": [{"orderId": "o2"}], "next": links[0]}).encode()),
        Instead(200, body=json.dumps({"orders": [], "next": links[1]}).encode()),
        Instead(200, body=b'{"orders": [{"orderId": "o1"}]}'),
    ]
    with lossy_proxy(NOWHERE, pages) as proxy:
        listed = client.call(f"{proxy.url}/dev/", "orders", "CUST-1", 1).result
    assert listed == [{"orderId": "o2"}, {"orderId": "o1"}]
    assert [request.target for request in proxy.received] == ["/dev/customers/CUST-1/orders?limit=1", *links]
