"""The contract of any payment provider, and what the simulated one adds to it.

`Contract` says what the port promises and nothing else. A further provider is held to it by a subclass with a fixture
`provider`, as Stripe is in tests/adapters/test_stripe_payments.py.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import product
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib import times
from chalicelib.adapters import clients
from chalicelib.adapters.payment_router import PaymentRouter
from chalicelib.adapters.simulated_payments import SimulatedPayments
from chalicelib.domain.outcomes import Charged, Declined, NothingToRefund, Refunded, RefundPending
from chalicelib.faults import PaymentUnknown
from chalicelib.service import service
from chalicelib.use_cases.ports import Payments
from tests.support.aws_calls import AwsCalls
from tests.support.orders import PRICE
from tests.support.stage import Stage
from tests.support.tables import books_in

PAID = Decimal("109.97")
A_MONTH = timedelta(days=31)
Refund = Refunded | RefundPending | NothingToRefund
Answer = Charged | Declined | Refund


@dataclass
class Provider:
    """A provider under test, and what a test needs beside the port.

    `money` is the net sum taken under a payment key, from its own books; `declining` is a key that it declines. `wait`
    lets time pass for it; `confirm_late` is all that a customer can still do about a payment that was declined.
    `amounts` are within its limits.
    """

    payments: Payments
    money: Callable[[str], Decimal]
    declining: str
    wait: Callable[[timedelta], object]
    confirm_late: Callable[[str], object]
    amounts: tuple[str, ...] = ("0.01", "0.10", "109.97", "110.00", "999999999999.99")

    def charge(self, key: str = "o1") -> Charged | Declined:
        return self.payments.charge(key, PAID, "USD")

    def refund(self, key: str = "o1") -> Refunded | NothingToRefund:
        """Asked for again, as the service does it, as long as it is pending."""
        while isinstance(answer := self.payments.refund(key), RefundPending):
            assert isinstance(self.charge(key), Declined), "pending, and not closed"
            self.wait(timedelta(hours=6))
        return answer

    def at_once(self, key: str, *operations: str) -> list[Answer]:
        """What each operation on the payment answers, made by a thread of its own when all are ready."""
        together = Barrier(len(operations))

        def make(operation: str) -> Answer:
            together.wait(10)
            return self.charge(key) if operation == "charge" else self.refund(key)

        with ThreadPoolExecutor(len(operations)) as pool:
            return list(pool.map(make, operations))


class Contract:
    """What every provider must do. The payment key is the idempotency key, for charge and refund alike."""

    def test_a_charge_takes_exactly_the_amount(self, provider: Provider) -> None:
        for n, amount in enumerate(map(Decimal, provider.amounts)):
            assert isinstance(provider.payments.charge(f"o{n}", amount, "USD"), Charged)
            assert provider.money(f"o{n}") == amount

    def test_each_key_has_a_payment_of_its_own(self, provider: Provider) -> None:
        assert provider.charge("o1") != provider.charge("o2")
        assert isinstance(provider.refund("o1"), Refunded)
        assert (provider.money("o1"), provider.money("o2")) == (Decimal(0), PAID)

    @pytest.mark.parametrize("operations", [*product(("charge", "refund"), repeat=4)], ids=" ".join)
    def test_money_is_taken_once_and_given_back_once_and_a_refund_closes_the_payment(
        self, provider: Provider, operations: tuple[str, ...]
    ) -> None:
        """Whatever came before. A call that comes late, or whose answer was lost, is one more call to the provider."""
        payment: Charged | None = None
        closed = False
        for operation in operations:
            if operation == "refund":
                closed = True
                assert provider.refund() == (Refunded(payment.payment_id) if payment else NothingToRefund())
            elif closed:
                assert isinstance(provider.charge(), Declined)
            else:
                answer = provider.charge()
                assert isinstance(answer, Charged)
                assert payment in (None, answer)
                payment = answer
            assert provider.money("o1") == (0 if closed else PAID)

    def test_a_month_later_the_same_answers_are_given_and_no_money_moves_again(self, provider: Provider) -> None:
        charged, declined = provider.charge(), provider.charge(provider.declining)
        for _ in range(2):
            provider.wait(A_MONTH)
            assert (provider.charge(), provider.money("o1")) == (charged, PAID)
            assert isinstance(provider.charge(provider.declining), type(declined))
        refunded = provider.refund()
        closed = provider.refund("closed")
        for _ in range(2):
            provider.wait(A_MONTH)
            assert (provider.refund(), provider.refund("closed")) == (refunded, closed)
            assert isinstance(provider.charge("closed"), Declined)
            assert isinstance(provider.charge(), Declined)
            assert provider.money("o1") == provider.money("closed") == 0

    @pytest.mark.parametrize("confirmed", [False, True], ids=["only after", "before and after"])
    def test_a_decline_is_for_good_once_the_payment_is_closed(self, provider: Provider, confirmed: bool) -> None:
        """Whatever the customer did between the two, nothing is left charged; and nothing can be charged after."""
        provider.charge(provider.declining)
        if confirmed:
            provider.confirm_late(provider.declining)
        provider.refund(provider.declining)
        assert provider.money(provider.declining) == 0
        provider.confirm_late(provider.declining)
        assert isinstance(provider.charge(provider.declining), Declined)
        assert provider.money(provider.declining) == 0

    def test_a_decline_stays_a_decline(self, provider: Provider) -> None:
        first = provider.charge(provider.declining)
        assert isinstance(first, Declined)
        assert first.reason
        assert provider.charge(provider.declining) == first
        assert provider.refund(provider.declining) == NothingToRefund()
        assert isinstance(provider.charge(provider.declining), Declined)
        assert provider.money(provider.declining) == 0

    @pytest.mark.parametrize(("amount", "currency"), [("109.98", "USD"), ("10.99", "USD"), ("109.97", "EUR")])
    def test_another_amount_under_the_same_key_is_a_conflict_and_unknown(
        self, provider: Provider, amount: str, currency: str
    ) -> None:
        provider.charge("o1")
        with pytest.raises(PaymentUnknown):
            provider.payments.charge("o1", Decimal(amount), currency)
        assert provider.money("o1") == PAID
        assert isinstance(provider.charge(), Charged)

    def test_charges_at_once_are_one_charge(self, provider: Provider) -> None:
        assert len(set(provider.at_once("o1", *["charge"] * 8))) == 1
        assert provider.money("o1") == PAID

    def test_charges_and_refunds_at_once_leave_nothing_charged(self, provider: Provider) -> None:
        """One payment at most, and the refunds name the one that the charges were answered with."""
        for key in (f"race-{n}" for n in range(25)):
            *charges, refund, again = provider.at_once(key, "charge", "charge", "refund", "refund")
            taken = {answer.payment_id for answer in charges if isinstance(answer, Charged)}
            assert refund == again
            assert taken <= ({refund.payment_id} if isinstance(refund, Refunded) else set())
            assert isinstance(provider.charge(key), Declined)
            assert provider.money(key) == 0


class TestSimulatedPayments(Contract):
    """The simulated provider passes the contract, on moto and on a real engine."""

    @pytest.fixture
    def provider(self, each_aws: Stage, aws_calls: AwsCalls) -> Provider:
        def money(key: str) -> Decimal:
            row = books_in(each_aws).get(key, {})
            return Decimal(row["amount"]) if row.get("state") == "CHARGED" else Decimal(0)

        aws_calls.watch(clients.dynamodb())
        # At 1 %, the keys of the contract are charged; this one is declined.
        payments = SimulatedPayments(clients.dynamodb(), each_aws["PAYMENTS_TABLE"], 1)
        # Its customers confirm nothing, but may be charged by another process, which declines nobody.
        willing = SimulatedPayments(clients.dynamodb(), each_aws["PAYMENTS_TABLE"])

        def confirm_late(key: str) -> None:
            willing.charge(key, PAID, "USD")

        def wait(_: timedelta) -> None:
            """Nothing to do: its books have no clock, and no time to live."""
            table = each_aws["PAYMENTS_TABLE"]
            ttl = each_aws.dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
            assert ttl["TimeToLiveStatus"] == "DISABLED"

        return Provider(payments, money, "declined-68", wait, confirm_late)

    def test_its_books_have_the_amount_and_the_state_of_each_payment(self, provider: Provider, each_aws: Stage) -> None:
        charged = provider.charge("kept")
        for order_id in ("back", provider.declining):
            provider.payments.charge(order_id, PRICE, "USD")
        for order_id in ("back", "never"):
            provider.refund(order_id)

        assert isinstance(charged, Charged)
        books = books_in(each_aws)
        assert times.from_text(books["kept"].pop("at")).tzinfo
        assert books["kept"] == {
            "paymentKey": "kept",
            "provider": "simulated",
            "state": "CHARGED",
            "paymentId": charged.payment_id,
            "amount": PAID,
            "currency": "USD",
        }
        states = {order_id: row["state"] for order_id, row in books.items()}
        declined = {provider.declining: "DECLINED"}
        assert states == {"kept": "CHARGED", "back": "REFUNDED", "never": "CLOSED", **declined}
        assert books["back"]["amount"] == PRICE

    def test_a_charge_between_the_two_writes_of_a_refund_finds_the_row_taken(
        self, provider: Provider, aws_calls: AwsCalls
    ) -> None:
        charges: list[Charged | Declined] = []
        aws_calls.meanwhile(lambda: charges.append(provider.charge()), "PutItem", after=True)
        assert provider.refund() == NothingToRefund()
        assert isinstance(charges[0], Declined)

    @pytest.mark.parametrize(
        "code", [None, "ThrottlingException", "ProvisionedThroughputExceededException", "AccessDenied"]
    )
    @pytest.mark.parametrize("operation", ["charge", "refund"])
    def test_what_its_own_engine_refuses_or_does_not_answer_is_unknown(
        self, provider: Provider, aws_calls: AwsCalls, operation: str, code: str | None
    ) -> None:
        if code:
            aws_calls.refuse(code, "PutItem")
        else:
            aws_calls.drop_request("PutItem", attempts=None)
        with pytest.raises(PaymentUnknown):
            getattr(provider, operation)()
        assert provider.money("o1") == 0
        assert isinstance(provider.charge(), Charged)

    def test_its_own_echo_is_one_charge(self, provider: Provider, aws_calls: AwsCalls) -> None:
        """botocore repeats a write whose answer was lost, and the second finds the first: charged, not declined."""
        aws_calls.lose_answer("PutItem")
        charged = provider.charge()
        assert isinstance(charged, Charged)
        assert provider.charge() == charged


IDS = [f"order-{n}" for n in range(1_000)]


def _declined(percent: int) -> list[str]:
    always_empty: Any = SimpleNamespace(put_item=lambda **_: None)
    provider = SimulatedPayments(always_empty, "payments", percent)
    return [order_id for order_id in IDS if isinstance(provider.charge(order_id, PRICE, "USD"), Declined)]


@pytest.mark.parametrize(("percent", "off_by"), [(0, 0), (1, 4), (20, 4), (50, 4), (80, 4), (100, 0)])
def test_about_the_set_percentage_of_the_orders_is_declined(percent: int, off_by: int) -> None:
    assert abs(len(_declined(percent)) / len(IDS) * 100 - percent) <= off_by


def test_the_order_id_decides_so_a_retry_is_declined_too() -> None:
    """Also one without books to look into, and in another process: the decision is not random."""
    assert _declined(20)[:4] == ["order-4", "order-8", "order-12", "order-19"]
    assert set(_declined(20)) <= set(_declined(50))


@pytest.mark.parametrize(("setting", "percent"), [("37", 37), (None, 0)])
def test_the_setting_decides_how_many_are_declined(
    aws: Stage, monkeypatch: pytest.MonkeyPatch, setting: str | None, percent: int
) -> None:
    monkeypatch.delenv("FAIL_PAYMENT_PERCENT", raising=False)
    if setting:
        monkeypatch.setenv("FAIL_PAYMENT_PERCENT", setting)
    payments = service().fulfilment.payments.payments
    assert isinstance(payments, PaymentRouter)
    assert isinstance(payments.provider, SimulatedPayments)
    assert payments.provider.decline_percent == percent
