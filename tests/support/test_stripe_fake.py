"""The fake of Stripe behaves as Stripe's documentation says, seen with Stripe's own library over HTTP."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import pytest
import stripe

from tests.support.stripe_fake import LOCKED, SECRET_KEY, StripeFake, Trouble
from tests.support.stripe_server import serving


@pytest.fixture
def fake() -> StripeFake:
    return StripeFake()


@pytest.fixture
def client(fake: StripeFake) -> Iterator[stripe.StripeClient]:
    requests = stripe.RequestsClient(timeout=10)
    with serving(fake) as url:
        yield stripe.StripeClient(SECRET_KEY, base_addresses={"api": url}, http_client=requests, max_network_retries=0)
        requests.close()  # type: ignore[no-untyped-call]


def _create(client: stripe.StripeClient, key: str = "k", amount: int = 500) -> stripe.PaymentIntent:
    return client.v1.payment_intents.create(
        {
            "amount": amount,
            "currency": "usd",
            "allowed_payment_method_types": ["card"],
            "metadata": {"paymentKey": "p"},
        },
        {"idempotency_key": key},
    )


def test_an_idempotency_key_repeats_its_answer_for_a_day_and_is_forgotten_then(
    fake: StripeFake, client: stripe.StripeClient
) -> None:
    first = _create(client)
    assert _create(client).id == first.id
    fake.advance(timedelta(hours=24))
    assert _create(client).id != first.id


def test_a_stored_500_is_repeated_though_the_call_took_effect(fake: StripeFake, client: stripe.StripeClient) -> None:
    fake.spoil("create", Trouble.FAILED_AFTER)
    for _ in range(2):
        with pytest.raises(stripe.APIError) as error:
            _create(client)
        assert error.value.http_status == 500
    assert len(fake.intents) == 1


def test_an_idempotency_key_is_refused_for_other_parameters_and_while_it_is_in_use(
    fake: StripeFake, client: stripe.StripeClient
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        go_on.wait(10)

    fake.spoil("create", hold)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(_create, client)
        assert reached.wait(10)
        with pytest.raises(stripe.APIError) as in_use:
            _create(client)
        go_on.set()
        assert in_use.value.http_status == 409
        assert first.result(10).id
    with pytest.raises(stripe.IdempotencyError):
        _create(client, amount=501)


def test_an_answer_is_lost_or_the_call_never_handled(fake: StripeFake, client: stripe.StripeClient) -> None:
    for trouble, intents in ((Trouble.DROPPED, 0), (Trouble.LOST, 1)):
        fake.spoil("create", trouble)
        with pytest.raises(stripe.APIConnectionError):
            _create(client, trouble.name)
        assert len(fake.intents) == intents
    assert _create(client, Trouble.LOST.name).id in fake.intents
    assert len(fake.intents) == 1, "the key keeps the answer that was lost"


def test_a_declined_card_leaves_the_intent_open_and_a_cancelled_one_is_closed(
    fake: StripeFake, client: stripe.StripeClient
) -> None:
    intent = _create(client).id
    with pytest.raises(stripe.CardError):
        client.v1.payment_intents.confirm(intent, {"payment_method": fake.add_method("declines"), "off_session": True})
    assert client.v1.payment_intents.retrieve(intent).status == "requires_payment_method"
    assert client.v1.payment_intents.cancel(intent).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError) as error:
        client.v1.payment_intents.confirm(intent, {"payment_method": fake.add_method(), "off_session": True})
    assert error.value.code == "payment_intent_unexpected_state"


def test_a_card_pays_once_and_no_more_than_was_paid_is_refunded(fake: StripeFake, client: stripe.StripeClient) -> None:
    first, second, card = _create(client, "a").id, _create(client, "b").id, fake.add_method()
    client.v1.payment_intents.confirm(first, {"payment_method": card, "off_session": True})
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.confirm(second, {"payment_method": card, "off_session": True})
    assert (fake.money("p"), fake.paid["p"]) == (Decimal(5), 1)
    assert client.v1.refunds.create({"payment_intent": first}).amount == 500
    with pytest.raises(stripe.InvalidRequestError) as error:
        client.v1.refunds.create({"payment_intent": first})
    assert error.value.code == "charge_already_refunded"
    assert fake.money("p") == 0


def test_a_locked_intent_is_a_429_and_a_wrong_key_a_401(fake: StripeFake, client: stripe.StripeClient) -> None:
    fake.spoil("cancel", LOCKED)
    with pytest.raises(stripe.RateLimitError):
        client.v1.payment_intents.cancel(_create(client).id)
    with pytest.raises(stripe.AuthenticationError):
        client.v1.payment_intents.create({"amount": 500, "currency": "usd"}, {"api_key": "sk_test_other"})


def test_what_is_listed_comes_in_pages_the_newest_first_and_what_is_disputed_is_not_refunded(
    fake: StripeFake, client: stripe.StripeClient
) -> None:
    names = [_create(client, str(n)).id for n in range(3)]
    fake.advance(timedelta(seconds=1))
    names.append(_create(client, "later").id)
    page = client.v1.payment_intents.list({"limit": 3})
    assert [each.id for each in page.data] == names[:0:-1]
    assert [each.id for each in page.auto_paging_iter()] == names[::-1]
    later = client.v1.payment_intents.list({"created": {"gte": int(fake.now.timestamp())}})
    assert [each.id for each in later.data] == names[3:]
    client.v1.payment_intents.confirm(names[0], {"payment_method": fake.add_method(), "off_session": True})
    dispute = fake.dispute(names[0])
    (listed,) = client.v1.disputes.list({"expand": ["data.payment_intent"]}).data
    assert isinstance(listed.payment_intent, stripe.PaymentIntent)
    with pytest.raises(stripe.InvalidRequestError) as error:
        client.v1.refunds.create({"payment_intent": names[0]})
    assert error.value.code == "charge_disputed"
    dispute["status"] = "won"
    assert client.v1.refunds.create({"payment_intent": names[0]}).status == "succeeded"
