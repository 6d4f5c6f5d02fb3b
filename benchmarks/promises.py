"""What must be true of each schedule of `benchmarks.reliability` when all is quiet."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from benchmarks.designs import Request
from benchmarks.schedules import STOCK, Run, Shop
from chalicelib import exact_json
from tests.support.orders import PRICE
from tests.support.tables import books_in, stock_in

ENDS = {"CONFIRMED", "FAILED"}


@dataclass(frozen=True)
class Books:
    """What is stored of one schedule when all is quiet. `stored` has each order's item by its id."""

    run: Run
    stored: Mapping[str, Mapping[str, Any]]
    stock: Mapping[str, int]
    taken: Mapping[str, Decimal]
    """What the payment provider took for each order id."""

    lost_messages: int
    """Messages that are nowhere, though their order has not ended."""

    def of(self, request: Request) -> list[Mapping[str, Any]]:
        """The orders stored for a request."""
        return [order for order in self.stored.values() if order["items"][0]["productId"] == request.product]

    @property
    def answered(self) -> set[str]:
        """The order ids of all 2xx."""
        return {exact_json.loads(body)["orderId"] for bodies in self.run.answers.values() for body in bodies}

    def sold(self, request: Request) -> int:
        return sum(order["status"] == "CONFIRMED" for order in self.of(request))

    def stock_before(self, request: Request) -> int:
        return 0 if request.product.startswith("rare") else STOCK


PROMISES: dict[str, Callable[[Books], bool]] = {
    "a client that keeps trying is answered 2xx": lambda books: books.run.gives_up or all(books.run.answers.values()),
    "one request is one order": lambda books: all(len(books.of(request)) <= 1 for request in books.run.requests),
    "an order that was answered 2xx is stored": lambda books: books.answered <= set(books.stored),
    "equal requests get equal answers": lambda books: all(len(set(a)) <= 1 for a in books.run.answers.values()),
    "every order comes to an end": lambda books: all(order["status"] in ENDS for order in books.stored.values()),
    "stock is what there was, less what was sold": lambda books: all(
        books.stock[request.product] == books.stock_before(request) - books.sold(request)
        for request in books.run.requests
    ),
    "money was taken once for each order sold, and for no other": lambda books: (
        books.taken == {order_id: PRICE for order_id, order in books.stored.items() if order["status"] == "CONFIRMED"}
    ),
    "every message is accounted for": lambda books: not books.lost_messages,
}


def books_of(shop: Shop, runs: Sequence[Run]) -> list[Books]:
    """Of each of these schedules."""
    orders = {order["orderId"]: order for order in shop.stage.items("ORDERS_TABLE")}
    sent = [exact_json.loads(message.body) for message in shop.queue.sent]
    customer_of = {order["orderId"]: order["customerId"] for order in (*sent, *orders.values())}
    stored: dict[str, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    taken: dict[str, dict[str, Decimal]] = defaultdict(dict)
    for order_id, order in orders.items():
        stored[order["customerId"]][order_id] = order
    for payment_key, row in books_in(shop.stage).items():
        if row["state"] == "CHARGED":
            order_id = payment_key.partition(".")[0]
            of_customer = taken[customer_of[order_id]]
            of_customer[order_id] = of_customer.get(order_id, Decimal()) + row["amount"]
    ended = {order_id for order_id, order in orders.items() if order["status"] in ENDS}
    lost = Counter(order["customerId"] for order in sent if order["orderId"] not in ended)
    stock = stock_in(shop.stage)
    return [Books(run, stored[run.customer], stock, taken[run.customer], lost[run.customer]) for run in runs]
