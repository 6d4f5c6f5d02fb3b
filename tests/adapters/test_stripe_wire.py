"""Stripe's own program takes every request that the adapter makes, and the adapter can read what it answers."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import stripe

from chalicelib.adapters.stripe_api import API_VERSION, StripeApi
from chalicelib.adapters.stripe_books import StripeBooks
from chalicelib.deadline import NO_DEADLINE
from tests.support.stripe_mock import stripe_mock


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with stripe_mock() as url:
        yield url


def test_every_request_of_the_adapter_is_taken(address: str) -> None:
    api = StripeApi("sk_test_123", address)
    for stripe_customer in (None, "cus_1"):
        assert api.create("o1.6f2b", Decimal("109.97"), "USD", stripe_customer).startswith("pi_")
    # It keeps no state: each intent is as in its examples.
    for status in (api.confirm("pi_1", "pm_1"), api.status("pi_1"), api.end("pi_1")):
        assert status == "requires_payment_method"
    assert api.refund("pi_1").status == "succeeded"
    assert all(refund.amount > 0 for refund in api.refunds("pi_1"))
    since = datetime(2026, 11, 1, tzinfo=UTC)
    for pages in (api.intents_since(since), api.refunds_since(since), api.disputes_since(since)):
        assert next(pages)
    assert list(StripeBooks(api).payments(since, NO_DEADLINE)) == [], "its examples name no payment key"
    assert api.intent("pi_1") is not None
    assert api.disputes("pi_1")[0].amount > 0
    assert api.search("o1.6f2b")
    saver = api.saver("pm_1")
    assert saver is not None
    assert saver.stripe_customer.startswith("cus_")


def test_it_refuses_what_stripe_does_not_know(address: str) -> None:
    """Or the test above would show nothing."""
    client = stripe.StripeClient("sk_test_123", stripe_version=API_VERSION, base_addresses={"api": address})
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.confirm("pi_1", {"payment_methods": "pm_1"})  # type: ignore[arg-type]
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.create({"amount": 500})  # type: ignore[typeddict-item]
