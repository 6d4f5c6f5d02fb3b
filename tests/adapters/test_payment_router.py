"""A payment stays with the provider that its row names, whatever the stage uses now: a switch charges once."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.adapters import clients
from chalicelib.adapters.dynamodb.payment_ledger import PaymentLedger
from chalicelib.adapters.payment_router import PaymentRouter
from chalicelib.adapters.simulated_payments import SimulatedPayments
from chalicelib.domain.outcomes import Charged, Declined, NothingToRefund, Refunded
from chalicelib.faults import PaymentUnknown
from chalicelib.service import Service, compose
from chalicelib.settings import Settings
from chalicelib.use_cases.ports import Payments
from tests.support.aws_calls import AwsCalls
from tests.support.stage import Stage
from tests.support.stripe_fake import SECRET_KEY, StripeFake, Trouble
from tests.support.stripe_server import serving
from tests.support.stripe_shop import PAID, StripeShop
from tests.support.tables import books_in

KEY = "o1.6f2b"
PLACE = "ssm:/orderonce/test/stripe"
ON_STRIPE = {"PAYMENTS": "stripe", "STRIPE_KEY": PLACE}


@dataclass
class Switching:
    """A stage that pays now by this provider, now by that one: `by("stripe")`."""

    stage: Stage
    fake: StripeFake
    url: str
    keys: Iterator[int] = field(default_factory=count)

    def service(self, **given: str) -> Service:
        settings = Settings.from_environment(self.stage.settings | {"STRIPE_URL": self.url} | given)
        return compose(settings, clients.dynamodb(), clients.sqs(), clients.events(), clients.sns())

    def by(self, provider: str, place: str = PLACE) -> StripeShop:
        payments = self.service(PAYMENTS=provider, STRIPE_KEY=place).payments
        return StripeShop(payments, self.fake)


@pytest.fixture
def switching(aws: Stage) -> Iterator[Switching]:
    clients.ssm().put_parameter(Name=PLACE.removeprefix("ssm:"), Value=SECRET_KEY, Type="SecureString")
    fake = StripeFake()
    with serving(fake) as url:
        yield Switching(aws, fake, url)


def attempt(call: Callable[[str], object], key: str) -> object:
    try:
        return call(key)
    except PaymentUnknown:
        return None


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["simulated", "stripe"]),
        st.sampled_from(["charge", "charge", "refund"]),
        st.sampled_from([None, None, Trouble.LOST, Trouble.DROPPED, Trouble.FAILED_AFTER]),
    ),
    min_size=2,
    max_size=8,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whichever_providers_a_stage_goes_through_a_payment_is_made_once_and_given_back_once(
    switching: Switching, steps: list[tuple[str, str, Trouble | None]]
) -> None:
    """And every clear answer names the same payment."""
    key, fake = f"o{next(switching.keys)}.1", switching.fake
    shops = {name: switching.by(name) for name in ("simulated", "stripe")}
    answers: list[object] = []
    for provider, operation, trouble in steps:
        if trouble:
            fake.spoil(None, trouble)
        answers.append(attempt(getattr(shops[provider], operation), key))
        fake._steps.clear()
    taken = {answer.payment_id for answer in answers if isinstance(answer, Charged | Refunded)}
    assert len(taken) <= 1
    row = books_in(switching.stage).get(key)
    simulated = row is not None and row["state"] == "CHARGED"
    assert fake.paid[key] + simulated <= 1
    if row is not None and "paymentId" in row:
        assert taken <= {row["paymentId"]}
    for shop in shops.values():
        assert isinstance(shop.refund(key), Refunded | NothingToRefund)
        assert isinstance(shop.charge(key), Declined)
    assert fake.money(key) == 0
    assert books_in(switching.stage)[key]["state"] in ("REFUNDED", "REFUNDING", "CLOSED", "DECLINED")


@pytest.mark.parametrize(("before", "now"), [("simulated", "stripe"), ("stripe", "simulated")])
def test_an_order_under_way_while_the_provider_is_switched_is_charged_once_and_refunded_there(
    switching: Switching, before: str, now: str
) -> None:
    charged = switching.by(before).charge(KEY)
    assert isinstance(charged, Charged)
    after = switching.by(now)
    assert after.charge(KEY) == charged
    assert switching.fake.paid[KEY] == (before == "stripe")
    assert after.refund(KEY) == Refunded(charged.payment_id)
    assert switching.fake.money(KEY) == 0


def test_the_stages_own_payments_are_read_no_oftener_than_without_a_router(
    switching: Switching, aws_calls: AwsCalls
) -> None:
    alone: Payments = SimulatedPayments(clients.dynamodb(), switching.stage["PAYMENTS_TABLE"])
    router = switching.by("simulated").payments
    assert isinstance(router, PaymentRouter)
    aws_calls.watch(clients.dynamodb())
    asked: list[list[str]] = []
    for payments, key in ((alone, "o1.1"), (router, "o2.1")):
        aws_calls.forget()
        payments.charge(key, PAID, "USD")
        payments.refund(key)
        asked.append(aws_calls.operations())
    assert asked[0] == asked[1] == ["PutItem", "PutItem", "UpdateItem"]


def test_payments_with_stripe_wait_on_a_stage_that_has_no_key_for_it_any_more(switching: Switching) -> None:
    switching.by("stripe").charge(KEY)
    without = switching.by("simulated", place="")
    for call in (without.charge, without.refund):
        with pytest.raises(PaymentUnknown, match="STRIPE_KEY"):
            call(KEY)
    assert isinstance(switching.by("simulated").refund(KEY), Refunded)


def test_a_payment_of_a_provider_that_this_release_does_not_know_waits(switching: Switching) -> None:
    PaymentLedger(clients.dynamodb(), switching.stage["PAYMENTS_TABLE"], "another").enter(KEY, "OPEN")
    for name in ("simulated", "stripe"):
        for call in (switching.by(name).charge, switching.by(name).refund):
            with pytest.raises(PaymentUnknown, match="another"):
                call(KEY)


def test_stripes_library_is_imported_by_the_first_payment_and_by_nothing_else(aws: Stage) -> None:
    """It takes a tenth of a second of a cold start."""
    program = """
import sys
import app
from chalicelib.service import service
service().placing, service().consumer, service().recovery, service().payments, service().stripe
assert not {"stripe", "requests"} & set(sys.modules)
service().payments.by_name("simulated")
import chalicelib.adapters.stripe_api, chalicelib.adapters.stripe_payments
assert not {"stripe", "requests"} & set(sys.modules)
chalicelib.adapters.stripe_api.StripeApi("sk_test_x")
assert {"stripe", "requests"} <= set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, env=os.environ | ON_STRIPE)
