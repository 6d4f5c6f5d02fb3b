"""No token, address, payment method or body in any log line or event, whichever path a request or a message takes."""

from collections.abc import Callable, Iterator

import pytest

from chalicelib import exact_json
from tests.support import gateway
from tests.support.aws_calls import AwsCalls
from tests.support.callers import ALICE, BOB, OPERATOR, POOL, Claims
from tests.support.customer import Reply
from tests.support.events import Clock
from tests.support.orders import a_body, an_event
from tests.support.payments import TimesOut
from tests.support.shop import Shop, opened
from tests.support.stage import Stage

TOKEN, COOKIE, ADDRESS, NAME, METHOD, OTHER = (
    f"planted-{what}-4f1c" for what in ("token", "cookie", "street", "name", "method", "card")
)
CARD = "4111111111111111"
SECRETS = (TOKEN, COOKIE, ADDRESS, NAME, METHOD, OTHER, CARD)
SHIPPING = {"street": ADDRESS, "city": ADDRESS, "country": ADDRESS, "zip": ADDRESS, "state": ADDRESS}
LINE = {"productId": "p1", "quantity": 1, "productName": NAME}


@pytest.fixture
def shop(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> Iterator[Shop]:
    with opened(aws, aws_calls, clock, settings=POOL) as one:
        yield one


def send(
    caller: Claims | None, method: str, path: str, body: object = None, key: str = "k", kind: str = "json"
) -> Reply:
    headers = [
        ("Content-Type", f"application/{kind}"),
        ("Authorization", f"Bearer {TOKEN}"),
        ("Cookie", f"session={COOKIE}"),
        ("X-Token", TOKEN),
        ("Idempotency-Key", key),
    ]
    sent = body if isinstance(body, bytes) or body is None else exact_json.dumps(body).encode()
    parts = path.partition("?")[0].split("/")
    resource = {"orders": "/orders/{order_id}", "customers": "/customers/{customer_id}/orders"}[parts[1]]
    resource = (
        "/orders" if len(parts) == 2 else resource + ("/" + parts[3] if parts[1] == "orders" and parts[3:] else "")
    )
    return gateway.invoke(gateway.event(method, path, headers, sent, resource=resource, caller=caller))


def body(**fields: object) -> dict[str, object]:
    own = {"shippingAddress": SHIPPING, "paymentMethod": METHOD}
    return a_body(None, items=[LINE], customerId=None, totalAmount=10, **own | fields)


def place(shop: Shop, key: str = "k") -> str:
    reply = send(ALICE, "POST", "/orders", body(), key)
    assert reply.status == 201, reply
    return reply.order_id


def refused(shop: Shop) -> None:
    """Everything that a request can be refused for."""
    for sent in (
        body(cardNumber=OTHER),
        body(currency=OTHER),
        *(body(paymentMethod=method) for method in (CARD, f"pm_{CARD}", int(CARD), [CARD], {CARD: CARD}, f"{METHOD} ")),
        body() | {"totalAmount": OTHER},
        body() | {"items": [LINE | {"quantity": OTHER}]},
        body() | {"items": [LINE | {"productId": OTHER}]},
        body() | {"customerId": [OTHER]},
        {OTHER: OTHER},
        [OTHER],
        OTHER.encode(),
        f'{{"a": "{OTHER}", "a": "{OTHER}"}}'.encode(),
        OTHER.encode() * 5000,
    ):
        for caller in (ALICE, OPERATOR, None):
            assert 400 <= send(caller, "POST", "/orders", sent).status < 500
    assert send(ALICE, "POST", "/orders", body(), kind=OTHER).status == 415
    assert send(ALICE, "POST", "/orders", body(), key=f"{OTHER} {OTHER}").status == 400
    for caller in (ALICE, OPERATOR, None):
        for action in ("cancel", "ship", "deliver"):
            assert send(caller, "POST", "/orders/o1/" + action, {"reason": [OTHER], "carrier": OTHER}).status >= 400
    assert send(BOB, "GET", f"/customers/someone/orders?cursor={OTHER}").status == 403
    assert send(OPERATOR, "GET", f"/customers/someone/orders?limit={OTHER}").status == 400


def placed_and_read(shop: Shop) -> None:
    order_id = place(shop)
    assert send(ALICE, "POST", "/orders", body()).replayed
    other = body() | {"items": [LINE | {"quantity": 2}], "totalAmount": 20}
    assert send(ALICE, "POST", "/orders", other).kind == "idempotency-key-reused"
    assert send(ALICE, "GET", f"/orders/{order_id}").json["shippingAddress"] == SHIPPING
    assert send(ALICE, "GET", "/customers/sub-alice/orders").status == 200
    shop.run_queue()
    assert send(OPERATOR, "POST", f"/orders/{order_id}/ship", {"carrier": "ACME"}).status == 200
    assert send(OPERATOR, "POST", f"/orders/{order_id}/cancel", {"reason": "x"}).kind == "transition-not-possible"
    assert send(ALICE, "POST", f"/orders/{place(shop, 'k2')}/cancel").status == 200
    shop.run_queue()


def faulty(shop: Shop) -> None:
    """AWS throttles, fails, and refuses with an answer that brings an item."""
    item = {"shippingAddress": {"M": {name: {"S": value} for name, value in SHIPPING.items()}}}
    reasons = [{"Code": "Unheard", "Message": "of", "Item": item}]
    for code in ("InternalServerError", "ThrottlingException", "ValidationException", "TransactionCanceledException"):
        shop.calls.refuse(code, times=None, Item=item, CancellationReasons=reasons)
        assert send(ALICE, "POST", "/orders", body(), key=code).status >= 500
        shop.calls.heal()
        place(shop, f"{code}-2")
        shop.calls.refuse(code, "TransactWriteItems", times=None, Item=item, CancellationReasons=reasons)
        shop.run_queue()
        shop.calls.heal()
        shop.come_again()


def consumed(shop: Shop) -> None:
    """Messages that cannot be handled, and payments that fail."""
    place(shop)
    shop.payments.on("charge", TimesOut.BEFORE)
    shop.run_queue()
    event = an_event("o1", {"p1": 1}, shippingAddress=SHIPPING, paymentMethod=METHOD)
    shop.produce(event | {"orderId": "o2", "paymentMethod": CARD}, event | {"orderId": "o3", "totalAmount": 1})
    shop.produce(
        event, event | {"totalAmount": OTHER}, {OTHER: OTHER}, OTHER, event | {"items": [LINE | {"productId": OTHER}]}
    )
    shop.run_queue()
    shop.come_again()
    shop.run_queue()
    letters = shop.dead_letters()
    assert any(ADDRESS in letter["body"] for letter in letters)
    assert not any(CARD in letter["reason"] for letter in letters)


@pytest.mark.parametrize("path", [refused, placed_and_read, faulty, consumed], ids=lambda path: path.__name__)
def test_no_secret_is_logged_or_published(
    shop: Shop, path: Callable[[Shop], None], capfd: pytest.CaptureFixture[str]
) -> None:
    path(shop)
    shop.recover_later()
    shop.run_queue()
    said = "\n".join([*shop.lines, *capfd.readouterr(), exact_json.dumps(shop.published())])
    assert len(shop.lines) > 3 or path is refused
    assert [secret for secret in SECRETS if secret in said] == []
