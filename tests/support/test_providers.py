"""Each fault does to a request to Stripe what it says, and Stripe's clock is the world's."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib.adapters.stripe_api import StripeApi
from chalicelib.faults import PaymentUnknown
from tests.support.aws_calls import Killed
from tests.support.events import Clock
from tests.support.faults import FAULTS, Life, life
from tests.support.providers import NO_NETWORK, Stripe, StruckClient
from tests.support.stripe_fake import SECRET_KEY
from tests.support.stripe_shop import PAID

SAYS: dict[str, tuple[type[BaseException], bool]] = {
    "dropped": (PaymentUnknown, False),
    "lost": (PaymentUnknown, True),
    "late": (PaymentUnknown, False),
    "throttled": (PaymentUnknown, False),
    "failed": (PaymentUnknown, False),
    "conflict": (PaymentUnknown, False),
    "killed before": (Killed, False),
    "killed after": (Killed, True),
}
"""What is raised, and whether it took effect."""


class Struck:
    """A process that has made an intent."""

    def __init__(self) -> None:
        nothing: Any = None
        self.clock = Clock()
        self.account = Stripe(nothing, self.clock, random.Random(1))
        self.process = SimpleNamespace(life=Life())
        self.api = StripeApi(SECRET_KEY, NO_NETWORK, StruckClient(self.account, self.process))
        self.intent = self.api.create("o1.k1", PAID, "USD", None)

    @property
    def status(self) -> str:
        return str(self.account.fake.intents[self.intent]["status"])

    @contextmanager
    def struck_by(self, fault: str, number: int) -> Iterator[None]:
        self.process.life = life(fault, number)
        for _ in range(number):
            self.api.status(self.intent)
        yield
        assert self.process.life.struck == 1


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("fault", SAYS)
def test_a_fault_strikes_a_request_as_it_says(fault: str, number: int) -> None:
    one = Struck()
    raised, effect = SAYS[fault]
    with one.struck_by(fault, number), pytest.raises(raised):
        one.api.end(one.intent)
    assert (one.status == "canceled") == effect
    one.process.life.land()
    assert (one.status == "canceled") == (effect or fault == "late")


def test_every_fault_can_strike_a_request_but_one_that_needs_a_library_that_repeats() -> None:
    assert FAULTS.keys() - SAYS.keys() == {"lost once"}


def test_time_passes_at_stripe_as_in_the_world() -> None:
    one = Struck()
    one.account.fake.intents[one.intent]["status"] = "processing"
    one.clock.advance(minutes=59)
    assert one.api.status(one.intent) == "processing"
    one.clock.advance(hours=24)
    assert one.api.status(one.intent) == "succeeded"
    assert one.account.fake.now == one.clock()
