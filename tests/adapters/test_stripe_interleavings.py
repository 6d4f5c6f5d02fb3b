"""Payments by Stripe, whatever comes in between: every order of two workers' calls, and every call that goes wrong."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

import pytest

from chalicelib.adapters.stripe_payments import StripePayments
from chalicelib.domain.outcomes import Charged, Declined, NothingToRefund, Refunded, RefundPending
from chalicelib.faults import PaymentUnknown
from tests.support.aws_calls import Killed
from tests.support.interleaving import Turns, every_schedule
from tests.support.snippets import snippet
from tests.support.stripe_fake import StripeFake
from tests.support.stripe_shop import PAID
from tests.support.stripe_workers import Calls, Strike, Table, worker

KEY = "o1.6f2b"
Answer = Charged | Declined | Refunded | RefundPending | NothingToRefund
Operation = Callable[["World", StripePayments], Answer | None]


@dataclass
class World:
    """One payment, and all that is asked of it."""

    fake: StripeFake = field(default_factory=StripeFake)
    table: Table = field(default_factory=Table)

    def charge(self, payments: StripePayments, does: str | None) -> Charged | Declined:
        """By a card of this call's own, as a double submit brings one."""
        method = self.fake.add_method(does) if does else None
        return payments.charge(KEY, PAID, "USD", method=method, customer_id="CUST-1")

    def process(self, calls: Calls | None = None) -> StripePayments:
        return worker(self.fake, self.table, calls)

    def somebody_pays(self) -> None:
        """At the dashboard: the intent that the ledger names, if it still can be paid."""
        row = self.table.rows.get(KEY, {})
        for intent in self.fake.of_key(KEY):
            if intent["id"] == row.get("paymentId", {}).get("S"):
                with suppress(Exception):
                    self.fake._pay(intent, self.fake.add_method(), {})

    def check(self, answers: list[object]) -> None:
        """What must be true of any answers, and of what is answered from then on."""
        charged = {answer for answer in answers if isinstance(answer, Charged)}
        declined = [answer for answer in answers if isinstance(answer, Declined)]
        back = [answer for answer in answers if isinstance(answer, Refunded | RefundPending | NothingToRefund)]
        assert len(charged) <= 1
        assert back or not (charged and declined), "declined, and charged all the same"
        if declined and not back:
            self.somebody_pays()
            assert self.fake.money(KEY) == 0, "declined, and not closed"
            assert all(isinstance(self.charge(self.process(), "succeeds"), Declined) for _ in range(2))
        if charged and not back:
            assert self.fake.money(KEY) == PAID
            assert {self.charge(self.process(), "declines")} == charged
        if back:
            assert self.fake.money(KEY) == 0
        refunded = self.process().refund(KEY)
        assert not charged or refunded == Refunded(charged.pop().payment_id)
        self.somebody_pays()
        assert isinstance(self.charge(self.process(), "succeeds"), Declined)
        assert self.process().refund(KEY) == refunded
        assert self.fake.money(KEY) == 0
        assert self.fake.paid[KEY] == (1 if isinstance(refunded, Refunded) else 0), "one intent at most is ever paid"
        assert sum(refund["amount"] for refund in self.fake.refunds.values()) == PAID * 100 * self.fake.paid[KEY]


def _charge(does: str | None) -> Operation:
    return lambda world, payments: world.charge(payments, does)


def _refund(_: World, payments: StripePayments) -> Answer:
    return payments.refund(KEY)


def _begin(world: "World", _: StripePayments) -> Answer | None:
    """A charge that died before it confirmed the intent of its row."""
    with suppress(Killed):
        world.charge(world.process(Calls(at=4, strike=Strike.KILLED_BEFORE)), "succeeds")
    assert world.table.rows[KEY]["state"] == {"S": "OPEN"}
    return None


def _begin_refund(world: "World", payments: StripePayments) -> Answer | None:
    """A refund that died before it looked for refunds."""
    world.charge(payments, "succeeds")
    with suppress(Killed):
        world.process(Calls(at=4, strike=Strike.KILLED_BEFORE)).refund(KEY)
    assert world.table.rows[KEY]["state"] == {"S": "REFUNDING"}
    return None


GOOD, DECLINED, ASKS, NONE = _charge("succeeds"), _charge("declines"), _charge("requires_action"), _charge(None)

RACES: dict[str, tuple[list[Operation], Operation, Operation]] = {
    "charge, charge": ([], GOOD, GOOD),
    "begun: charge, charge": ([_begin], GOOD, GOOD),
    "begun: decline, charge": ([_begin], DECLINED, GOOD),
    "begun: decline, decline": ([_begin], DECLINED, DECLINED),
    "begun: asks the customer, charge": ([_begin], ASKS, GOOD),
    "no method, charge": ([], NONE, GOOD),
    "begun: no method, charge": ([_begin], NONE, GOOD),
    "charge, refund": ([], GOOD, _refund),
    "decline, refund": ([], DECLINED, _refund),
    "charge, refund of a charge": ([GOOD], GOOD, _refund),
    "refund, refund of a charge": ([GOOD], _refund, _refund),
    "charge, charge of a decline": ([DECLINED], GOOD, GOOD),
}


@pytest.mark.parametrize(("before", "one", "other"), RACES.values(), ids=RACES)
def test_in_every_order_of_their_calls_two_workers_pay_once_and_conserve_the_money(
    before: list[Operation], one: Operation, other: Operation
) -> None:
    def run(turns: Turns) -> None:
        world = World()
        for operation in before:
            operation(world, world.process())
        workers = [(world.process(Calls(turns.take)), operation) for operation in (one, other)]

        def asked_until_clear(payments: StripePayments, operation: Operation) -> Answer | None:
            while True:
                with suppress(PaymentUnknown):
                    return operation(world, payments)

        answers = turns.run(*(lambda w=w: asked_until_clear(*w) for w in workers))
        row = world.table.rows[KEY].get("paymentId", {}).get("S")
        others = [intent["status"] for intent in world.fake.of_key(KEY) if intent["id"] != row]
        assert set(others) <= {"canceled"}, "whoever comes second cancels the intent of its own"
        world.check(answers)

    assert every_schedule(run) > 1


STORIES: dict[str, list[Operation]] = {
    "charge": [GOOD],
    "decline": [DECLINED],
    "asks the customer": [ASKS],
    "no method": [NONE],
    "charge, charge": [GOOD, GOOD],
    "decline, charge": [DECLINED, GOOD],
    "refund": [_refund],
    "charge, refund": [GOOD, _refund],
    "decline, refund": [DECLINED, _refund],
}


@pytest.mark.parametrize("strike", Strike, ids=lambda strike: strike.name)
@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_whatever_call_goes_wrong_and_however_asking_again_pays_once_and_conserves_the_money(
    story: list[Operation], strike: Strike
) -> None:
    number = 0
    while True:
        world = World()
        calls = Calls(at=number, strike=strike)
        answers: list[object] = []
        for operation in story:
            try:
                answers.append(operation(world, world.process(calls)))
            except (PaymentUnknown, Killed):
                answers.append(operation(world, world.process()))
        world.check(answers)
        if calls.made <= number:
            return
        number += 1


def test_a_refund_that_fails_is_made_again_once_in_whatever_order_two_ask_for_it() -> None:
    def run(turns: Turns) -> None:
        world = World()
        world.fake.refunds_become = iter([("pending", "failed"), ("pending", "succeeded")])
        _begin_refund(world, world.process())
        for answer in (RefundPending(), RefundPending()):
            asking = [world.process(Calls(turns.take)) for _ in range(2)]
            assert turns.run(*(lambda p=p: p.refund(KEY) for p in asking)) == [answer, answer]
            assert isinstance(GOOD(world, world.process()), Declined)
            world.fake.advance(timedelta(days=1))
        assert isinstance(world.process().refund(KEY), Refunded)
        assert [refund["status"] for refund in world.fake.refunds.values()] == ["failed", "succeeded"]
        assert (world.fake.money(KEY), world.fake.paid[KEY]) == (Decimal(0), 1)

    assert every_schedule(run) > 1


def test_the_picture_of_a_charge_and_a_refund_at_once_is_how_it_goes() -> None:
    """Its arrows, from the first to the last, are the schedule; then the calls are those of the arrows."""
    text = snippet("docs/payments.md", "sequenceDiagram").text
    arrows = re.findall(r"(\w+)->>(\w+): (\w+)", text)
    workers = ["Charge", "Refund"]
    world = World()
    turns = Turns([workers.index(who) for who, _, _ in arrows])
    charge, refund = (world.process(Calls(turns.take)) for _ in workers)
    answers = turns.run(lambda: GOOD(world, charge), lambda: refund.refund(KEY))
    assert answers == [Declined("the payment is closed"), NothingToRefund()]
    ledger = {"get_item": "read", "put_item": "write", "update_item": "change"}
    made = [
        (workers[who], "Ledger" if call in ledger else "Stripe", ledger.get(call, call)) for who, call in turns.calls
    ]
    assert made == arrows
