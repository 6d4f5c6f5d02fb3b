"""Many items at once, on a client that leaves keys unprocessed as often as a test says."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.adapters.dynamodb.reads import batch_get
from chalicelib.faults import Unavailable

KEYS = [{"orderId": {"S": f"o{n}"}} for n in range(3)]


class Client:
    """Each call answers one key, and leaves the others."""

    def __init__(self, answer: Callable[[Any], dict[str, Any]]) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    def batch_get_item(self, RequestItems: Any) -> dict[str, Any]:  # noqa: N803 - as boto3 has it
        self.asked.append(RequestItems)
        return self.answer(RequestItems["orders"]["Keys"])


def one_of(keys: Any) -> dict[str, Any]:
    left = {"orders": {"Keys": keys[1:]}} if keys[1:] else {}
    return {"Responses": {"orders": [keys[0]]}, "UnprocessedKeys": left}


def read(client: Any, keys: list[Any], pauses: list[float]) -> list[Any]:
    return batch_get(client, "orders", {"Keys": keys, "ConsistentRead": True}, pauses.append)


def test_what_is_left_is_asked_for_again_until_nothing_is() -> None:
    client, pauses = Client(one_of), list[float]()
    assert read(client, KEYS, pauses) == KEYS
    assert client.asked == [
        {"orders": {"Keys": KEYS, "ConsistentRead": True}},
        {"orders": {"Keys": KEYS[1:]}},
        {"orders": {"Keys": KEYS[2:]}},
    ]
    assert len(pauses) == 3


def test_no_keys_are_no_call() -> None:
    client = Client(one_of)
    assert (read(client, [], []), client.asked) == ([], [])


def test_an_answer_without_items_of_the_table_has_none() -> None:
    assert read(Client(lambda _: {"Responses": {}}), KEYS, []) == []


def test_the_sixth_time_is_the_last_and_the_pauses_double_with_full_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "random", lambda: 0.5)
    client = Client(lambda keys: {"Responses": {"orders": []}, "UnprocessedKeys": {"orders": {"Keys": keys}}})
    pauses: list[float] = []
    with pytest.raises(Unavailable, match=r"^BatchGetItem: keys are left unprocessed$"):
        read(client, KEYS, pauses)
    assert pauses == [0, 0.05, 0.1, 0.2, 0.4, 0.8]
    assert len(client.asked) == 6


def test_keys_that_the_last_try_brings_are_found() -> None:
    client = Client(one_of)
    keys = [{"orderId": {"S": f"o{n}"}} for n in range(6)]
    assert read(client, keys, []) == keys


def test_the_first_call_comes_without_a_pause() -> None:
    client: Any = Client(one_of)
    assert batch_get(client, "orders", {"Keys": KEYS[:1]}) == KEYS[:1]
