"""The text and the moment of a notification, on fakes: every number in it at its bounds."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib.use_cases.letters import DeadLetter
from chalicelib.use_cases.monitoring import Monitor
from chalicelib.use_cases.ports import Depth, LastAlert, Message
from tests.support.orders import NOW

LOOK = "Look at them: python -m ops --stage prod dead-letters list"


def letter(reason: str, kind: str = "never", minutes: int = 0) -> DeadLetter:
    sent_at = int(NOW.timestamp() * 1000) + minutes * 60_000
    return DeadLetter.from_message(Message("m", "r", "x", 1, sent_at, {"kind": kind, "reason": reason}))


def watch(letters: list[DeadLetter], last: LastAlert | None = None, in_flight: int = 0) -> list[Any]:
    """What the monitor does, in its order: how it looks, what it sends, what it remembers."""
    done: list[Any] = []

    @contextmanager
    def receiving(seconds: int) -> Iterator[Any]:
        def first(limit: int) -> list[DeadLetter]:
            done.append(("looks at", limit, "for", seconds))
            return letters[:limit]

        yield SimpleNamespace(letters=first)

    depth = Depth(len(letters) - in_flight, in_flight)
    dead_letters: Any = SimpleNamespace(queue=SimpleNamespace(depth=lambda: depth), receiving=receiving)
    orders: Any = SimpleNamespace(depth=lambda: Depth(0, 0))
    memory: Any = SimpleNamespace(get=lambda: last, set=done.append)
    alerts: Any = SimpleNamespace(send=lambda *what: done.append(what))
    Monitor(orders, dead_letters, memory, alerts, lambda: NOW, "prod").watch("account-1")
    return done


def text(letters: list[DeadLetter]) -> list[str]:
    _, (_, sent, _), _ = watch(letters)
    return list(sent.splitlines())


def test_first_it_looks_then_it_sends_then_it_remembers() -> None:
    looks, (subject, _, account), remembered = watch([letter("a"), letter("b")], in_flight=1)
    assert looks == ("looks at", 50, "for", 20)
    assert (subject, account) == ("OrderOnce prod: 2 dead letters", "account-1")
    assert remembered == LastAlert(2, NOW)


def test_one_is_written_as_one() -> None:
    _, (subject, sent, _), _ = watch([letter("why")])
    assert subject == "OrderOnce prod: 1 dead letter"
    assert sent.splitlines() == [
        "1 message could not be handled in stage prod.",
        "",
        "Of a sample of 1, 1 wait for you, and 0 are replayed automatically.",
        "Why:",
        "  1 x why",
        "",
        "The oldest seen was first sent at 2026-01-15T12:00:00.000Z.",
        LOOK,
    ]


def test_the_most_frequent_reason_comes_first_and_the_oldest_time_counts() -> None:
    lines = text([letter("a", minutes=5), letter("b", "retry", -5), letter("b", "retry", 9)])
    assert lines[2:6] == [
        "Of a sample of 3, 1 wait for you, and 2 are replayed automatically.",
        "Why:",
        "  2 x b",
        "  1 x a",
    ]
    assert lines[-2] == "The oldest seen was first sent at 2026-01-15T11:55:00.000Z."


@pytest.mark.parametrize(("number", "more"), [(10, []), (11, ["  and 1 more reasons"]), (12, ["  and 2 more reasons"])])
def test_ten_reasons_are_shown(number: int, more: list[str]) -> None:
    lines = text([letter(f"reason {n}") for n in range(number)])
    assert lines[4:-3] == [*(f"  1 x reason {n}" for n in range(10)), *more]


def test_200_characters_of_a_reason_are_shown() -> None:
    assert f"  1 x {'x' * 200}" in text([letter("x" * 201)])


def test_nobody_is_notified_twice_of_the_same() -> None:
    assert watch([letter("why")], LastAlert(1, NOW)) == []
    assert watch([], None) == []


def test_fewer_are_remembered_with_the_time_of_the_last_notification() -> None:
    then = LastAlert(3, NOW)
    assert watch([letter("why")], then) == [LastAlert(1, NOW)]
    assert watch([letter("why")] * 3, then) == []
    assert watch([], then) == [LastAlert(0, NOW)]
