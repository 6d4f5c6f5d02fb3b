"""What is accepted comes back: whatever a POST or an event gets through, the service can read, store and show."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chalicelib import exact_json
from chalicelib.adapters.dynamodb.items import order_from_item, order_to_item
from chalicelib.adapters.queues import order_created_event
from chalicelib.domain import changes
from chalicelib.domain.idempotency import agrees, fingerprint
from chalicelib.domain.order import Order, two_decimals
from chalicelib.domain.payment_key import fresh_payment_key
from chalicelib.domain.pricing import IntakeRefusal, Priced, Product, price
from chalicelib.domain.request import Invalid, OrderRequest
from chalicelib.entrypoints.documents import first_answer, order_document
from chalicelib.entrypoints.messages import read_records
from chalicelib.entrypoints.schema import validator
from chalicelib.entrypoints.validation import order_created, order_request
from chalicelib.use_cases.ports import PAYMENT_KEY
from chalicelib.use_cases.saga import Delivery, Never
from tests.support.events import sqs_record
from tests.support.orders import NOW
from tests.support.shop import Shop
from tests.support.template import ROOT

GOLDEN = ROOT / "tests" / "golden"
VISIBLE = st.characters(exclude_categories=["Cc", "Cf", "Co", "Cs", "Zs", "Zl", "Zp"], exclude_characters="/%\x7f\xa0")
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=256)
PRICES = st.integers(0, 10**14 - 1).map(lambda cents: two_decimals(Decimal(cents) / 100))
CATALOGUE = st.dictionaries(
    st.text(VISIBLE, min_size=1, max_size=64),
    st.tuples(TEXT, PRICES | st.just(Decimal("0.01"))),
    min_size=1,
    max_size=3,
).map(lambda rows: {name: Product(name, text, amount) for name, (text, amount) in rows.items()})
QUANTITIES = st.integers(1, 1_000_000) | st.sampled_from([1, 500_000, 500_001, 1_000_000])
ADDRESS = st.fixed_dictionaries({"street": TEXT, "city": TEXT, "country": TEXT}, optional={"state": TEXT, "zip": TEXT})


@st.composite
def asked_for(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Product]]:
    """A body at the catalogue's prices, with several lines of one product now and then."""
    products = draw(CATALOGUE)
    lines = draw(st.lists(st.tuples(st.sampled_from(sorted(products)), QUANTITIES), min_size=1, max_size=6))
    total = sum((products[product].price * units for product, units in lines), Decimal(0))
    body: dict[str, Any] = {
        "customerId": draw(st.text(VISIBLE, min_size=1, max_size=128)),
        "items": [{"productId": product, "quantity": units} for product, units in lines],
        "totalAmount": total,
    }
    if draw(st.booleans()):
        body["shippingAddress"] = draw(ADDRESS)
    return body, products


def stored(request: OrderRequest, products: dict[str, Product], order_id: str) -> Order:
    """The order as it is created, at the catalogue's prices or refused by it."""
    order = request.to_order(
        order_id=order_id,
        items=request.summed_items(),
        created_at=NOW,
        fingerprint=fingerprint(request),
        payment_key=fresh_payment_key(order_id),
        correlation_id="corr-1",
    )
    match price(request, products, "USD"):
        case Priced(items):
            return changes.create(
                Order(**{n: getattr(order, n) for n in order.__slots__} | {"items": items}), NOW
            ).after
        case IntakeRefusal(failure) as refused:
            return changes.create_failed(order, NOW, failure, refused.reason).after


def check_comes_back(order: Order) -> None:
    again = order_created(exact_json.loads(order_created_event(order)), "USD")
    assert again.order_id == order.order_id
    assert agrees(order.fingerprint, again.request)
    assert again.request.quantities == order.quantities
    assert order_from_item(order_to_item(order)) == order
    for answer in (first_answer(order), order_document(order)):
        assert not list(validator("order").iter_errors(exact_json.loads(exact_json.dumps(answer))))


@given(asked_for())
def test_whatever_a_post_accepts_its_own_message_item_and_answer_are_accepted(
    asked: tuple[dict[str, Any], dict[str, Product]],
) -> None:
    body, products = asked
    try:
        request = order_request(exact_json.loads(exact_json.dumps(body)), "USD")
    except Invalid:
        assume(False)
    check_comes_back(stored(request, products, "o1"))


@given(asked_for(), st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True), st.booleans())
def test_whatever_an_event_accepts_its_own_message_item_and_answer_are_accepted(
    asked: tuple[dict[str, Any], dict[str, Product]], order_id: str, is_known: bool
) -> None:
    body, products = asked
    try:
        event = order_created(exact_json.loads(exact_json.dumps({**body, "orderId": order_id})), "USD")
    except Invalid:
        assume(False)
    order = stored(event.request, products if is_known else {}, event.order_id)
    check_comes_back(order)
    if is_known:
        reserved = changes.reserve(order, NOW + timedelta(seconds=1)).after
        check_comes_back(changes.confirm(reserved, NOW + timedelta(seconds=2), "pay-1").after)


def test_a_message_of_the_first_release_is_read_by_this_one_and_sent_as_it_was(small_shop: Shop) -> None:
    golden, item = (json.loads((GOLDEN / name).read_text("utf-8")) for name in ("message_v1.json", "order_v1.json"))
    (read,) = read_records(small_shop.service, [sqs_record(golden["body"], attributes=golden["attributes"])])
    assert isinstance(read.content, Delivery)
    order = order_from_item(item)
    assert (read.content.order.order_id, read.content.payment_key) == (order.order_id, order.payment_key)
    assert agrees(order.fingerprint, read.content.order)
    assert order_created_event(order) == golden["body"]


@pytest.mark.parametrize("customer", ["a\u200bb", "e\u0301", ".."], ids=ascii)
def test_only_a_message_about_a_stored_order_may_have_an_id_that_no_new_order_may_have(
    small_shop: Shop, customer: str
) -> None:
    event = small_shop.event("o1", customerId=customer)
    carried = {PAYMENT_KEY: fresh_payment_key("o1")}
    records = [sqs_record(exact_json.dumps(event), attributes=own) for own in (carried, {})]
    own, foreign = (each.content for each in read_records(small_shop.service, records))
    assert isinstance(own, Delivery)
    assert own.order.customer_id == customer
    assert isinstance(foreign, Never)
    assert foreign.reason.startswith("#/customerId: must be")


@pytest.mark.parametrize("read", [order_request, order_created])
def test_the_lines_of_one_product_are_bounded_together(read: Any) -> None:
    lines = [("B", 1), ("A", 600_000), ("B", 1), ("A", 400_001)]
    items = [{"productId": product, "qty": units} for product, units in lines]
    body = {"orderId": "o1", "customerId": "C", "items": items, "totalAmount": 1}
    if read is order_request:
        del body["orderId"]
    with pytest.raises(Invalid) as invalid:
        read(body, "USD")
    (error,) = invalid.value.errors
    assert error.pointer == "#/items/1/qty"
    assert error.detail == "must be at most 1000000 in all lines of this product together"
    items[3]["qty"] = 400_000
    assert read(body, "USD")
