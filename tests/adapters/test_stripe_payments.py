"""Stripe passes the contract of payments, over HTTP against a fake that remembers; and what Stripe adds to it."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import stripe

from chalicelib import telemetry, times
from chalicelib.adapters import clients, stripe_api
from chalicelib.adapters.simulated_payments import SimulatedPayments
from chalicelib.adapters.stripe_api import StripeApi
from chalicelib.domain.outcomes import Charged, Declined, NothingToRefund, Refunded, RefundPending
from chalicelib.faults import PaymentUnknown
from tests.support.aws_calls import AwsCalls
from tests.support.stage import Stage
from tests.support.stripe_fake import LOCKED, Refused, StripeFake, Trouble
from tests.support.stripe_server import serving, silent_server
from tests.support.stripe_shop import DECLINING, PAID, StripeShop, stripe_payments
from tests.support.tables import books_in
from tests.use_cases.test_payments import Contract, Provider

KEY = "o1.6f2b"
LIMITS = ("0.50", "0.51", "109.97", "999999.99")


@pytest.fixture
def fake() -> StripeFake:
    return StripeFake()


class TestStripePayments(Contract):
    """Stripe passes the contract, over HTTP and on a real engine; what follows runs on moto."""

    @pytest.fixture
    def provider(self, real_aws: Stage, fake: StripeFake) -> Iterator[Provider]:
        with serving(fake) as url:
            shop = StripeShop(stripe_payments(real_aws, url), fake)
            yield Provider(shop, fake.money, DECLINING, fake.advance, fake.confirm_elsewhere, LIMITS)
        assert not [key for key, times_paid in fake.paid.items() if times_paid > 1]


@pytest.fixture
def shop(aws: Stage, fake: StripeFake) -> Iterator[StripeShop]:
    with serving(fake) as url:
        yield StripeShop(stripe_payments(aws, url), fake)


def test_a_charge_makes_an_intent_without_a_method_then_the_row_and_then_pays(
    shop: StripeShop, fake: StripeFake, aws: Stage
) -> None:
    charged = shop.charge(KEY)
    assert isinstance(charged, Charged)
    assert fake.operations() == ["method", "create", "confirm"]
    assert fake.requests[1].params == {
        "amount": "10997",
        "currency": "usd",
        "allowed_payment_method_types[0]": "card",
        "metadata[orderId]": "o1",
        "metadata[paymentKey]": KEY,
    }
    assert fake.requests[2].params == {"payment_method": shop.cards[KEY], "off_session": "true"}
    row = books_in(aws)[KEY]
    assert times.from_text(row.pop("at")).tzinfo
    assert row == {
        "paymentKey": KEY,
        "provider": "stripe",
        "state": "OPEN",
        "paymentId": charged.payment_id,
        "amount": PAID,
        "currency": "USD",
    }


def test_each_post_has_an_idempotency_key_that_no_other_has_and_the_pinned_version(
    shop: StripeShop, fake: StripeFake
) -> None:
    """Also the same call asked again: Stripe would repeat a 500 for a day."""
    for key, trouble in ((trouble.name, trouble) for trouble in Trouble):
        for operation in ("create", "confirm"):
            fake.spoil(operation, trouble)
            with pytest.raises(PaymentUnknown):
                shop.charge(key)
        shop.charge(key)
        for operation in ("cancel", "refund"):
            fake.spoil(operation, trouble)
            with pytest.raises(PaymentUnknown):
                shop.refund(key)
        shop.refund(key)
    posts = [request.headers.get("Idempotency-Key") for request in fake.requests if request.method == "POST"]
    assert len(posts) == len(set(posts)) > 20
    assert None not in posts
    assert {request.headers["Stripe-Version"] for request in fake.requests} == {stripe_api.API_VERSION}
    assert stripe.api_version == stripe_api.API_VERSION, "the library's types are those of another version"


# --- declined ---


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("declines", "Your card was declined."),
        ("authentication", "Your card was declined."),
        ("requires_action", "the bank asks the customer to confirm the payment, which is not possible here"),
    ],
)
def test_a_charge_is_declined_once_its_intent_is_cancelled(
    shop: StripeShop, fake: StripeFake, aws: Stage, does: str, reason: str
) -> None:
    shop.pays_with(KEY, does)
    assert shop.charge(KEY) == Declined(reason)
    assert [intent["status"] for intent in fake.of_key(KEY)] == ["canceled"]
    assert (books_in(aws)[KEY]["state"], books_in(aws)[KEY]["reason"]) == ("DECLINED", reason)
    asked = len(fake.requests)
    assert shop.charge(KEY) == Declined(reason)
    assert shop.refund(KEY) == NothingToRefund()
    assert len(fake.requests) == asked, "a closed row needs no provider"


@pytest.mark.parametrize("step", [LOCKED, Trouble.FAILED, Trouble.FAILED_AFTER, Trouble.LOST, Trouble.DROPPED])
def test_a_decline_whose_cancel_has_no_clear_answer_is_unknown_and_declined_later(
    shop: StripeShop, fake: StripeFake, step: Trouble | Refused
) -> None:
    shop.pays_with(KEY, "declines")
    fake.spoil("cancel", step)
    with pytest.raises(PaymentUnknown):
        shop.charge(KEY)
    assert isinstance(shop.charge(KEY), Declined)
    assert [intent["status"] for intent in fake.of_key(KEY)] == ["canceled"]


def test_the_answer_of_the_cancel_decides_a_decline(shop: StripeShop, fake: StripeFake) -> None:
    """Another call, with another card, paid between the decline and the cancel."""
    shop.pays_with(KEY, "declines")
    fake.spoil("cancel", lambda: fake.confirm_elsewhere(KEY))
    charged = shop.charge(KEY)
    assert charged == Charged(fake.of_key(KEY)[0]["id"])
    assert fake.money(KEY) == PAID


def test_a_payment_in_processing_is_unknown_until_it_has_ended(shop: StripeShop, fake: StripeFake) -> None:
    shop.pays_with(KEY, "processing")
    for call in (shop.charge, shop.charge, shop.refund):
        with pytest.raises(PaymentUnknown):
            call(KEY)
    (intent,) = fake.of_key(KEY)
    intent["status"] = "succeeded"
    assert isinstance(shop.charge(KEY), Charged)
    assert isinstance(shop.refund(KEY), Refunded)


@pytest.mark.parametrize("begun", [False, True], ids=["first", "begun"])
def test_a_method_that_cannot_be_used_is_declined_with_nothing_left_open(
    shop: StripeShop, fake: StripeFake, begun: bool
) -> None:
    methods = [None, "pm_unknown", "", "4242 4242", "pm_1/../../charges", "pm_1?x=y", "ü"]
    for key, method in ((f"o{n}", method) for n, method in enumerate(methods)):
        if begun:
            fake.spoil("confirm", Trouble.DROPPED)
            with pytest.raises(PaymentUnknown):
                shop.charge(key)
        shop.cards[key] = method
        declined = shop.charge(key)
        assert declined == Declined("the payment method cannot be used" if method is not None else NO_METHOD)
        assert [intent["status"] for intent in fake.of_key(key)] == ["canceled"] * begun
        shop.pays_with(key, "succeeds")
        assert shop.charge(key) == declined


NO_METHOD = "the order has no payment method"


def test_a_method_that_was_used_before_is_declined(shop: StripeShop, fake: StripeFake) -> None:
    assert isinstance(shop.charge("first"), Charged)
    shop.cards["second"] = shop.cards["first"]
    assert isinstance(shop.charge("second"), Declined)
    assert fake.money("second") == 0


@pytest.mark.parametrize("method", [None, "pm_gone", "pm_other"])
def test_a_payment_that_was_taken_stays_so_whatever_method_comes_later(
    shop: StripeShop, fake: StripeFake, method: str | None
) -> None:
    """A double submit makes another single-use method; the first one wins."""
    fake.add_method(method="pm_other")
    charged = shop.charge(KEY)
    shop.cards[KEY] = method
    assert shop.charge(KEY) == charged
    assert (fake.money(KEY), fake.paid[KEY]) == (PAID, 1)


@pytest.mark.parametrize(
    ("metadata", "asked_by", "pays"),
    [
        ({"customerId": "CUST-1"}, "CUST-1", True),
        ({"customerId": "CUST-2"}, "CUST-1", False),
        ({}, "CUST-1", False),
        ({}, None, False),
        ({"customerId": "CUST-1"}, None, False),
    ],
)
def test_a_saved_method_pays_for_the_customer_only_whom_it_is_saved_for(
    shop: StripeShop, fake: StripeFake, metadata: dict[str, str], asked_by: str | None, pays: bool
) -> None:
    shop.pays_with(KEY, "succeeds", saved_for=metadata)
    answer = shop.charge(KEY, customer_id=asked_by)
    assert answer == (Charged(fake.of_key(KEY)[0]["id"]) if pays else Declined(NOT_THEIRS))
    assert fake.money(KEY) == (PAID if pays else 0)
    shop.pays_with(KEY, "succeeds")
    assert isinstance(shop.charge(KEY), Charged if pays else Declined)


NOT_THEIRS = "the payment method is another customer's"


@pytest.mark.parametrize(("amount", "currency"), [("0.49", "USD"), ("1000000.00", "USD"), ("5.00", "U$D")])
def test_an_amount_that_stripe_does_not_take_is_declined_for_good(
    shop: StripeShop, fake: StripeFake, aws: Stage, amount: str, currency: str
) -> None:
    declined = shop.charge(KEY, Decimal(amount), currency)
    assert declined == Declined("this amount cannot be paid by card")
    assert books_in(aws)[KEY]["state"] == "DECLINED"
    assert shop.charge(KEY) == declined
    assert not fake.intents


# --- not clear ---


@pytest.mark.parametrize("operation", ["method", "create", "confirm"])
def test_what_may_pass_is_unknown_and_charged_later(shop: StripeShop, fake: StripeFake, operation: str) -> None:
    for status in (401, 403, 409, 429, 500, 502, 503):
        fake.spoil(operation, Refused(status, None, "pm_secret"))
        with pytest.raises(PaymentUnknown) as unknown:
            shop.charge(f"o{status}")
        assert str(status) in str(unknown.value)
        assert "pm_" not in str(unknown.value)
        assert isinstance(shop.charge(f"o{status}"), Charged)
        assert fake.money(f"o{status}") == PAID


@pytest.mark.parametrize("operation", ["method", "create", "confirm"])
def test_whatever_becomes_of_a_call_the_money_is_taken_once(shop: StripeShop, fake: StripeFake, operation: str) -> None:
    """Asked again a month later too, when Stripe has forgotten its idempotency keys."""
    for key, trouble in ((trouble.name, trouble) for trouble in Trouble):
        fake.spoil(operation, trouble, times=2)
        for _ in range(2):
            with pytest.raises(PaymentUnknown):
                shop.charge(key)
            fake.advance(timedelta(days=31))
        assert isinstance(shop.charge(key), Charged)
        assert (fake.money(key), fake.paid[key]) == (PAID, 1)


def test_an_intent_that_somebody_else_confirmed_is_charged_and_one_they_cancelled_declined(
    shop: StripeShop, fake: StripeFake
) -> None:
    for key in ("paid", "cancelled"):
        fake.spoil("confirm", Trouble.DROPPED)
        with pytest.raises(PaymentUnknown):
            shop.charge(key)
    fake.confirm_elsewhere("paid")
    fake.of_key("cancelled")[0]["status"] = "canceled"
    assert isinstance(shop.charge("paid"), Charged)
    declined = shop.charge("cancelled")
    assert declined == Declined("the payment was cancelled")
    assert shop.charge("cancelled") == declined
    assert (fake.paid["paid"], fake.paid["cancelled"]) == (1, 0)


def test_a_payment_of_another_account_or_another_provider_is_unknown(
    shop: StripeShop, fake: StripeFake, aws: Stage
) -> None:
    shop.charge(KEY)
    fake.intents.clear()
    simulated = SimulatedPayments(clients.dynamodb(), aws["PAYMENTS_TABLE"])
    simulated.charge("theirs", PAID, "USD")
    for key in (KEY, "theirs"):
        for call in (shop.charge, shop.refund):
            with pytest.raises(PaymentUnknown):
                call(key)
    with pytest.raises(PaymentUnknown):
        simulated.charge(KEY, PAID, "USD")
    with pytest.raises(PaymentUnknown):
        simulated.refund(KEY)


def test_what_another_provider_closed_is_closed(shop: StripeShop, fake: StripeFake, aws: Stage) -> None:
    SimulatedPayments(clients.dynamodb(), aws["PAYMENTS_TABLE"]).refund(KEY)
    assert isinstance(shop.charge(KEY), Declined)
    assert shop.refund(KEY) == NothingToRefund()
    assert not fake.requests


@pytest.mark.parametrize("operation", ["PutItem", "UpdateItem"])
def test_an_echo_of_botocores_own_is_one_write(
    shop: StripeShop, fake: StripeFake, aws_calls: AwsCalls, operation: str
) -> None:
    aws_calls.watch(clients.dynamodb())
    aws_calls.lose_answer(operation)
    charged = shop.charge(KEY)
    assert isinstance(charged, Charged)
    aws_calls.lose_answer(operation)
    assert shop.refund(KEY) == Refunded(charged.payment_id)
    assert (fake.paid[KEY], fake.money(KEY)) == (1, Decimal(0))


@pytest.mark.parametrize("method", [None, "pm_unknown", "pm_declined"])
def test_another_amount_is_unknown_whatever_the_card_and_leaves_the_payment_as_it_is(
    shop: StripeShop, fake: StripeFake, method: str | None
) -> None:
    fake.add_method("declines", "pm_declined")
    fake.spoil("confirm", Trouble.DROPPED)
    with pytest.raises(PaymentUnknown):
        shop.charge(KEY)
    good, shop.cards[KEY] = shop.cards[KEY], method
    for amount, currency in ((PAID + 1, "USD"), (PAID, "EUR")):
        with pytest.raises(PaymentUnknown):
            shop.charge(KEY, amount, currency)
    shop.cards[KEY] = good
    assert isinstance(shop.charge(KEY), Charged)


def test_a_row_is_changed_only_while_it_is_as_it_was_seen(shop: StripeShop, fake: StripeFake) -> None:
    """A refund that closes the payment between a decline and its row: the row says who was first."""
    shop.pays_with(KEY, "declines")
    fake.spoil("cancel", lambda: shop.refund(KEY))
    closed = shop.charge(KEY)
    assert closed == Declined("the payment is closed")
    assert shop.charge(KEY) == closed


# --- refunds ---


def test_a_refund_may_be_pending_and_a_failed_one_is_made_again(shop: StripeShop, fake: StripeFake) -> None:
    fake.refunds_become = iter([("pending", "pending", "failed"), ("failed",), ("pending", "succeeded")])
    charged = shop.charge(KEY)
    answers = []
    for _ in range(7):
        answers.append(shop.refund(KEY))
        assert isinstance(shop.charge(KEY), Declined), "a payment whose refund has begun is closed"
        fake.advance(timedelta(days=1))
    assert isinstance(charged, Charged)
    pending, refunded = RefundPending(), Refunded(charged.payment_id)
    # pending, still pending, failed and made again (failed at once), made again, done.
    assert answers == [pending, pending, pending, pending, refunded, refunded, refunded]
    assert fake.operations().count("refund") == 3
    assert fake.money(KEY) == 0


@pytest.mark.parametrize("operation", ["cancel", "retrieve", "refunds", "refund"])
def test_whatever_becomes_of_a_call_the_money_is_given_back_once(
    shop: StripeShop, fake: StripeFake, operation: str
) -> None:
    for key, step in ((str(step), step) for step in (*Trouble, LOCKED)):
        charged = shop.charge(key)
        fake.spoil(operation, step)
        with pytest.raises(PaymentUnknown):
            shop.refund(key)
        fake.advance(timedelta(days=31))
        assert isinstance(charged, Charged)
        assert shop.refund(key) == Refunded(charged.payment_id)
        assert fake.money(key) == 0
        assert [refund["amount"] for refund in fake.refunds_of(charged.payment_id)] == [10997]


def test_what_was_refunded_at_the_dashboard_is_not_refunded_again(shop: StripeShop, fake: StripeFake) -> None:
    for key, part in (("part", 1), ("all", 10997)):
        charged = shop.charge(key)
        fake.refund_by_hand(fake.of_key(key)[0]["id"], part)
        assert isinstance(charged, Charged)
        assert shop.refund(key) == Refunded(charged.payment_id)
        assert fake.money(key) == 0


@pytest.mark.parametrize("by_hand", [0, 1000])
@pytest.mark.parametrize("end", ["lost", "won", "warning_closed"])
def test_an_order_given_up_while_its_payment_is_disputed_ends_with_the_dispute_and_the_money_goes_back_once(
    shop: StripeShop, fake: StripeFake, end: str, by_hand: int
) -> None:
    charged = shop.charge(KEY)
    assert isinstance(charged, Charged)
    if by_hand:
        fake.refund_by_hand(charged.payment_id, by_hand)
    dispute = fake.dispute(charged.payment_id, amount=10997 - by_hand)
    for status in ("needs_response", "under_review"):
        dispute["status"] = status
        assert shop.refund(KEY) == RefundPending()
    dispute["status"] = end
    assert shop.refund(KEY) == shop.refund(KEY) == Refunded(charged.payment_id)
    refunded = sum(refund["amount"] for refund in fake.refunds_of(charged.payment_id))
    assert refunded + (dispute["amount"] if end == "lost" else 0) == 10997


def test_a_payment_that_stripe_does_not_refund_is_unknown(shop: StripeShop, fake: StripeFake) -> None:
    shop.charge(KEY)
    fake.spoil("refund", Refused(400, "charge_disputed", "The charge is disputed"))
    with pytest.raises(PaymentUnknown):
        shop.refund(KEY)
    assert isinstance(shop.refund(KEY), Refunded)


# --- the library ---


def test_a_server_that_never_answers_is_given_up(aws: Stage, fake: StripeFake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripe_api, "READ_TIMEOUT", 0.1)
    with silent_server() as url:
        shop = StripeShop(stripe_payments(aws, url), fake)
        with pytest.raises(PaymentUnknown):
            shop.charge(KEY)


def test_one_session_with_both_timeouts_is_kept(shop: StripeShop) -> None:
    client = stripe_api._kept_connections()
    assert isinstance(client, stripe.RequestsClient)
    assert client._timeout == (stripe_api.CONNECT_TIMEOUT, stripe_api.READ_TIMEOUT)
    assert client._session is not None


def test_no_log_names_the_payment_method(
    shop: StripeShop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the library's nor this service's own; which names the kind of error."""
    monkeypatch.setattr(telemetry.logger(), "handlers", [caplog.handler])
    logging.getLogger("stripe").setLevel(logging.NOTSET)
    StripeApi("sk_test_fake")
    with caplog.at_level(logging.INFO):
        shop.charge(KEY)
        shop.cards["unknown"] = "pm_secret"
        shop.charge("unknown")
    # moto sees each request of this process, and writes that it lets it pass.
    logged = str([vars(record) for record in caplog.records if record.name != "responses"])
    assert "resource_missing" in logged
    assert "pm_" not in logged


def test_the_library_is_imported_when_an_adapter_is_made_and_not_before() -> None:
    code = """
import sys
from chalicelib.adapters import stripe_payments
from chalicelib.adapters.stripe_api import StripeApi
assert not {"stripe", "requests"} & set(sys.modules)
StripeApi("sk_test_1")
assert {"stripe", "requests"} <= set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


UNKNOWN = Refused(400, "parameter_unknown", "Received unknown parameter: amounts")
NO_SUCH = Refused(400, "resource_missing", "No such PaymentMethod", param="payment_method")


@pytest.mark.parametrize(
    ("operation", "answer", "times"),
    [
        ("create", UNKNOWN, 1),
        ("create", Refused(400, "amount_too_small", "Amount must be at least 10.00 mxn"), 1),
        ("confirm", UNKNOWN, 1),
        ("method", NO_SUCH, 0),
        ("confirm", NO_SUCH, 0),
        ("confirm", Refused(400, None, "The provided PaymentMethod was previously used"), 0),
        ("confirm", Refused(402, "card_declined", "Your card was declined."), 0),
    ],
)
def test_what_stripe_refuses_and_no_payment_method_is_to_blame_for_is_counted(
    shop: StripeShop, fake: StripeFake, monkeypatch: pytest.MonkeyPatch, operation: str, answer: Refused, times: int
) -> None:
    counted: list[str] = []
    monkeypatch.setattr(telemetry, "count", counted.append)
    fake.spoil(operation, answer)
    assert isinstance(shop.charge(KEY), Declined)
    assert counted == ["PaymentRequestsRefused"] * times
