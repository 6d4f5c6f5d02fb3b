"""Which dead letters a command selects, and how one is shown."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from chalicelib import times
from chalicelib.domain.order import Order
from chalicelib.use_cases.in_flight import InFlight
from chalicelib.use_cases.letters import DeadLetter, Kind
from chalicelib.use_cases.ports import Orders
from ops import output
from ops.durations import Duration

MAX_RECEIVED = 10_000
"""Dead letters that a command receives at most in search of those that are wanted."""

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Wanted:
    """A selection of dead letters; a field that is None or empty does not narrow it."""

    kind: Kind | None = None
    reason: str | None = None
    order: str | None = None
    older_than: timedelta | None = None
    ids: tuple[str, ...] = ()

    def matches(self, letter: DeadLetter, now: datetime) -> bool:
        """Whether the dead letter is selected."""
        return (
            self.kind in (None, letter.kind)
            and (self.reason is None or self.reason.lower() in letter.reason.lower())
            and self.order in (None, letter.order_id)
            and (self.older_than is None or now - letter.first_sent_at > self.older_than)
            and (not self.ids or self.named_by(letter) is not None)
        )

    def named_by(self, letter: DeadLetter) -> str | None:
        """Which of the ids means it: the whole message id or its beginning."""
        return next((given for given in self.ids if letter.message_id.startswith(given)), None)


def options(command: F) -> F:
    """The options that select dead letters, passed to the command as `wanted`."""

    @functools.wraps(command)
    def with_selection(
        *args: Any,
        kind: str | None,
        reason: str | None,
        order: str | None,
        older_than: timedelta | None,
        ids: tuple[str, ...] = (),
        **rest: Any,
    ) -> Any:
        return command(*args, wanted=Wanted(Kind(kind) if kind else None, reason, order, older_than, ids), **rest)

    with_selection = click.option("--older-than", type=Duration(), help="First sent longer ago: 30m, 2h, 3d.")(
        with_selection
    )
    with_selection = click.option("--order", metavar="ID", help="About this order.")(with_selection)
    with_selection = click.option("--reason", metavar="TEXT", help="The reason contains this.")(with_selection)
    kinds = click.Choice([kind.value for kind in Kind])
    return click.option("--kind", type=kinds, help="Of this kind; never: they wait for people.")(with_selection)  # type: ignore[return-value]


def matching(in_flight: InFlight, wanted: Wanted, now: datetime, limit: int = MAX_RECEIVED) -> Iterator[DeadLetter]:
    """Those among the first `limit` that are wanted; ends as soon as all that are named are found."""
    left = set(wanted.ids)
    for letter in in_flight.letters(limit):
        if wanted.matches(letter, now):
            yield letter
            left.discard(wanted.named_by(letter) or "")
            if wanted.ids and not left:
                return


def show(letters: Iterable[DeadLetter], orders: Orders, now: datetime) -> None:
    """Each with its fields and its order's status."""
    known = list(letters)
    existing = orders_of(known, orders)
    for letter in known:
        output.entry(letter.message_id, _fields(letter, existing.get(letter.order_id), now))


def document(letter: DeadLetter, order: Order | None) -> dict[str, Any]:
    """A dead letter for programs, without its body."""
    return {
        "messageId": letter.message_id,
        "orderId": letter.order_id or None,
        "orderStatus": order.status.value if order else None,
        "kind": letter.kind.value,
        "reason": letter.reason,
        "replays": letter.replays,
        "nextReplayAt": times.to_text(letter.next_replay_at) if letter.next_replay_at else None,
        "firstSentAt": times.to_text(letter.first_sent_at),
        "receives": letter.receive_count,
    }


def orders_of(letters: Sequence[DeadLetter], orders: Orders) -> Mapping[str, Order]:
    """The orders that exist, by id. Raises Unavailable."""
    ids = sorted({letter.order_id for letter in letters if letter.order_id})
    found: dict[str, Order] = {}
    for start in range(0, len(ids), 100):
        found |= {order.order_id: order for order in orders.get_all(ids[start : start + 100])}
    return found


def _fields(letter: DeadLetter, order: Order | None, now: datetime) -> dict[str, str]:
    named = f"{letter.order_id} ({order.status if order else 'does not exist'})"
    age = output.ago(now - letter.first_sent_at)
    return {
        "order": named if letter.order_id else "unknown",
        "kind": f"{letter.kind}: {_handling(letter)}",
        "reason": letter.reason,
        "sent": f"{output.moment(letter.first_sent_at)}, {age} ago; {output.counted(letter.receive_count, 'receive')}",
    }


def _handling(letter: DeadLetter) -> str:
    replayed = f"replayed {output.counted(letter.replays, 'time')}; " if letter.replays else ""
    if letter.next_replay_at is None:
        return f"{replayed}waits for you"
    return f"{replayed}replayed automatically after {output.moment(letter.next_replay_at)}"
