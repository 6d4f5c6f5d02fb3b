"""What a stage's payment provider asks for is asked at the door, and never of an order that was taken in before."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import app as entry
from chalicelib.adapters import clients
from chalicelib.domain.pricing import IntakeRefusal, Priced
from chalicelib.domain.request import FieldError, OrderRequest
from chalicelib.providers import PROVIDERS
from chalicelib.settings import Settings
from chalicelib.use_cases.intake import Intake
from tests.support.payments import TimesOut
from tests.support.shop import Shop
from tests.support.stripe_fake import SECRET_KEY, StripeFake
from tests.support.stripe_server import serving
from tests.support.tables import forget_order

MISMATCH = IntakeRefusal("TOTAL_MISMATCH", (FieldError("#/totalAmount", "is not the sum of the lines"),))


class Answering:
    """A catalogue that says the same of every request."""

    def __init__(self, answer: Priced | IntakeRefusal) -> None:
        self.answer = answer

    def price(self, _: OrderRequest) -> Priced | IntakeRefusal:
        return self.answer


AMOUNTS = st.sampled_from(["0.01", "0.49", "0.50", "0.51", "10.00", "999999.99", "1000000.00", "999999999999.99"])


@given(
    name=st.sampled_from([*PROVIDERS]),
    amount=AMOUNTS.map(Decimal),
    method=st.none() | st.just("pm_1"),
    priced=st.sampled_from([Priced(()), MISMATCH]),
)
def test_an_order_is_taken_in_if_neither_the_catalogue_nor_the_provider_is_against_it(
    name: str, amount: Decimal, method: str | None, priced: Priced | IntakeRefusal
) -> None:
    """All that is against it comes at once. What was taken in before, the catalogue alone decides."""
    request = OrderRequest("c1", (), amount, "USD", payment_method=method)
    intake = Intake(Answering(priced), PROVIDERS[name])
    expected = ["#/totalAmount"] if priced is MISMATCH else []
    if name == "stripe":
        expected += ["#/totalAmount"] * (not Decimal("0.50") <= amount <= Decimal("999999.99"))
        expected += ["#/paymentMethod"] * (method is None)
    answer = intake.price(request)
    assert [e.pointer for e in answer.errors] == expected if isinstance(answer, IntakeRefusal) else not expected
    assert intake.price(request, is_new=False) is priced


# --- a stage whose provider is switched ---


@pytest.fixture
def fake() -> StripeFake:
    return StripeFake()


@pytest.fixture
def to_stripe(small_shop: Shop, fake: StripeFake, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """From its call on, the shop's stage pays by Stripe."""
    with serving(fake) as url:

        def switch() -> None:
            clients.ssm().put_parameter(Name="/stripe", Value=SECRET_KEY, Type="SecureString")
            small_shop.stage.settings["STRIPE_KEY"] = "ssm:/stripe"
            settings = Settings.from_environment(small_shop.stage.settings | {"PAYMENTS": "stripe", "STRIPE_URL": url})
            service = replace(small_shop.service, settings=settings, given_payments=None)
            monkeypatch.setattr(entry, "service", lambda: service)

        yield switch


MISSING = {"pointer": "#/paymentMethod", "detail": "is required"}
TOO_MUCH = {"pointer": "#/totalAmount", "detail": "must be at most 999999.99 to be paid"}


def test_what_the_provider_cannot_be_paid_for_is_refused_and_uses_up_no_key(
    small_shop: Shop, to_stripe: Callable[[], None], fake: StripeFake
) -> None:
    shop = small_shop
    to_stripe()
    shop.set_product("p1", stock=10**6)
    for body, errors in (
        (shop.order("p1"), [MISSING]),
        (shop.order("p1", 100_000, paymentMethod="pm_1"), [TOO_MUCH]),
        (shop.order("p1", 100_000), [MISSING, TOO_MUCH]),
    ):
        reply = shop.post(body, "k1")
        assert (reply.status, reply.kind) == (400, "invalid-order")
        assert sorted(reply.json["errors"], key=lambda e: str(e["pointer"])) == errors
    assert (shop.orders(), shop.messages()) == ([], [])
    order_id = shop.place(shop.order("p1", paymentMethod=fake.add_method()), "k1").order_id
    shop.drain()
    assert shop.status(order_id) == "CONFIRMED"
    assert list(fake.paid.values()) == [1]


def test_a_producers_order_that_cannot_be_paid_for_fails_with_the_reason(
    small_shop: Shop, to_stripe: Callable[[], None], fake: StripeFake
) -> None:
    shop = small_shop
    to_stripe()
    shop.set_product("p1", stock=10**6)
    good = shop.event("o3", "p1", paymentMethod=fake.add_method())
    shop.produce(shop.event("o1", "p1"), shop.event("o2", "p1", 100_000, paymentMethod="pm_1"), good)
    shop.drain()
    found = {name: shop.document(name) for name in ("o1", "o2", "o3")}
    assert {name: order.get("failureReason") for name, order in found.items()} == {
        "o1": "PAYMENT_METHOD_MISSING",
        "o2": "AMOUNT_NOT_PAYABLE",
        "o3": None,
    }
    assert found["o1"]["history"][-1]["reason"] == "#/paymentMethod: is required"
    assert found["o2"]["history"][-1]["reason"] == "#/totalAmount: must be at most 999999.99 to be paid"
    assert not fake.of_key(shop.stored("o2")["paymentKey"])


@pytest.mark.parametrize("key", ["k1", None])
def test_a_replay_gets_its_first_answer_though_the_provider_would_refuse_it_now(
    small_shop: Shop, to_stripe: Callable[[], None], key: str | None
) -> None:
    shop = small_shop
    first = shop.place(shop.order("p1"), key)
    to_stripe()
    again = shop.post(shop.order("p1"), key)
    assert (again.status, again.replayed, again.body) == (201, True, first.body)
    other = shop.post(shop.order("p1", 2), key)
    assert other.kind == ("idempotency-key-reused" if key else "invalid-order")


@pytest.mark.parametrize("before", ["PENDING", "RESERVED", "charged", "lost", "charged and lost"])
def test_an_order_that_was_under_way_when_the_provider_was_switched_is_decided_by_its_payment(
    small_shop: Shop, to_stripe: Callable[[], None], before: str
) -> None:
    """One that was charged is confirmed, and only once charged; one without a method is declined by Stripe."""
    shop = small_shop
    order_id = shop.place(shop.order("p1"), "k1").order_id
    if before != "PENDING":
        shop.payments.on("charge", TimesOut.AFTER if before.startswith("charged") else TimesOut.BEFORE)
        shop.run_queue()
        shop.come_again()
    if before.endswith("lost"):
        forget_order(shop.stage, order_id)
    to_stripe()
    shop.drain()
    order = shop.document(order_id)
    if before.startswith("charged"):
        assert order["status"] == "CONFIRMED"
    else:
        assert (order["status"], order["failureReason"]) == ("FAILED", "PAYMENT_DECLINED")
        assert order["history"][-1]["reason"] == "the order has no payment method"
