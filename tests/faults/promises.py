"""What the people outside know: what they asked for and were answered. In the end, what is stored must agree."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from chalicelib import exact_json
from chalicelib.domain.idempotency import order_id_from_key
from chalicelib.domain.order import Status
from chalicelib.entrypoints.exchange import Answer
from chalicelib.settings import Settings

GIVEN_UP = (Status.FAILED, Status.CANCELLED)
KEY_REUSED = 422


@dataclass
class Keyed:
    """The requests under one key: the contents that were tried, and the one that was answered, with its body."""

    tried: set[int] = field(default_factory=set)
    answered: tuple[int, str] | None = None


@dataclass
class Claimed:
    """The requests of one body without a key, since the first that may have claimed an order id.

    `unanswered_since`: one that had no answer may have claimed another id, or created an order.
    """

    since: datetime
    order_id: str | None = None
    unanswered_since: datetime | None = None


@dataclass
class Clients:
    """What the clients of one customer know."""

    customer_id: str
    settings: Settings
    keys: dict[str, Keyed] = field(default_factory=dict)
    claims: dict[int, Claimed] = field(default_factory=dict)
    bodies: dict[str, str] = field(default_factory=dict)
    """The first answer, by order id."""

    own: dict[str, int] = field(default_factory=dict)
    """The content of each order that was answered to a request without a key."""

    unanswered: list[tuple[str | None, int]] = field(default_factory=list)
    failed_tries: Counter[int] = field(default_factory=Counter)
    """By content: requests without a key that had no answer."""

    late: Counter[int] = field(default_factory=Counter)
    """Of these, those that nobody repeated in time: each may have made an order that the client never hears of."""

    def asks(self, key: str | None, content: int) -> None:
        if key:
            self.keys.setdefault(key, Keyed()).tried.add(content)

    def hears_nothing(self, key: str | None, content: int, now: datetime) -> None:
        if (key, content) not in self.unanswered:
            self.unanswered.append((key, content))
        if not key:
            self.failed_tries[content] += 1
            claim = self.claims.setdefault(content, Claimed(now))
            claim.unanswered_since = claim.unanswered_since or now

    def is_refused(self, key: str | None, content: int, status: int) -> None:
        """Only a key that was used for another order may be refused."""
        assert status == KEY_REUSED, status
        assert key, "refused without a key"
        known = self.keys[key]
        assert known.tried - {content}, "a key is called reused, and was not"
        assert known.answered is None or known.answered[0] != content, "an equal request is refused"
        self._answered(key, content)

    def hears(self, key: str | None, content: int, answer: Answer, now: datetime, status: str | None) -> str:
        """A 201; the order id. `status`: of the order that the claim led to before the request; None: not certain."""
        assert answer.status == 201
        order_id = str(exact_json.loads(answer.body)["orderId"])
        if key:
            known = self.keys[key]
            assert order_id == order_id_from_key(self.customer_id, key)
            known.answered = known.answered or (content, answer.body)
            assert known.answered == (content, answer.body), "a key has two orders, or two answers"
        else:
            self._hears_without_key(content, order_id, now, status)
        assert self.bodies.setdefault(order_id, answer.body) == answer.body, "equal requests, unequal answers"
        self._answered(key, content)
        return order_id

    def _hears_without_key(self, content: int, order_id: str, now: datetime, status: str | None) -> None:
        claim = self.claims.setdefault(content, Claimed(now))
        in_window = now - claim.since < self.settings.idempotency_window
        if claim.order_id and claim.unanswered_since is None and in_window and status:
            assert (order_id == claim.order_id) == (status not in GIVEN_UP), "a body has two orders, or an old one"
        if order_id != claim.order_id:
            assert order_id not in self.own, "the body brings back an order of an earlier window"
            since = claim.unanswered_since or now
            if now - since >= self.settings.idempotency_window or not in_window:
                self.late[content] += claim.unanswered_since is not None
            self.claims[content] = Claimed(since, order_id)
            self.own[order_id] = content
        claim.unanswered_since = None

    def _answered(self, key: str | None, content: int) -> None:
        if (key, content) in self.unanswered:
            self.unanswered.remove((key, content))

    def windows_end(self) -> None:
        """An hour or more has passed: the same body is a new order."""
        self.late.update(content for content, claim in self.claims.items() if claim.unanswered_since)
        self.claims.clear()

    def forget(self, order_ids: set[str]) -> None:
        """These orders were deleted long after their end: their keys name new ones."""
        for order_id in order_ids:
            self.bodies.pop(order_id, None)
            self.own.pop(order_id, None)
        for key in [key for key in self.keys if order_id_from_key(self.customer_id, key) in order_ids]:
            del self.keys[key]
            self.unanswered = [one for one in self.unanswered if one[0] != key]

    def of_keys(self) -> set[str]:
        """The ids of the orders that there may be, by key."""
        return {order_id_from_key(self.customer_id, key) for key in self.keys}

    def check_unknown(self, unknown: Mapping[str, Mapping[str, Any]], contents: Mapping[int, Any]) -> None:
        """Orders that no answer named: each comes from a request without a key that had no answer in its window."""
        for content, quantities in contents.items():
            mine = [order for order in unknown.values() if quantities_of(order) == quantities]
            standing = [order for order in mine if order["status"] not in GIVEN_UP]
            assert len(mine) <= self.failed_tries[content], "an order that nobody asked for"
            assert len(standing) <= self.late[content], "one request is two orders"


def quantities_of(document: Mapping[str, Any]) -> dict[str, int]:
    """Units by product of an order, stored or sent."""
    return {str(item["productId"]): int(item["quantity"]) for item in document["items"]}
