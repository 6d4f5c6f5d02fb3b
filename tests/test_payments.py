"""The contract of any payment provider, and what the simulated one adds to it.

`Contract` says what the port promises and nothing else. A further provider is held to it by a subclass with a fixture
`provider`, whose answers can be lost and whose charges can be late (see `Provider`).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from threading import Barrier
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from chalicelib import clients
from chalicelib.payments import Charged, Declined, NothingToRefund, Payments, PaymentUnknown, Refunded
from chalicelib.service import service
from chalicelib.simulated_payments import SimulatedPayments, TimesOut
from tests.support.aws_calls import AwsCalls
from tests.support.stage import Stage
from tests.support.till import PRICE, Troubles, books_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PAID = Decimal("109.97")


@dataclass
class Provider:
    """A provider under test, and what a test needs beside the port.

    `troubles` makes calls time out before, after or ahead of their effect; `land` lets the late ones take effect;
    `declining` names an order id that it declines; `money` is the net sum taken for an order, from its own books.
    """

    payments: Payments
    troubles: Troubles
    simulated: SimulatedPayments
    stage: Stage
    declining: str

    def land(self) -> None:
        self.simulated.land()

    def money(self, order_id: str = "o1") -> Decimal:
        row = books_of(self.stage).get(order_id, {})
        return Decimal(row["amount"]) if row.get("state") == "CHARGED" else Decimal(0)


class Contract:
    """What every provider must do. Each order id is its own idempotency key, for charge and refund alike."""

    def test_a_charge_takes_exactly_the_amount(self, provider: Provider) -> None:
        for n, amount in enumerate(map(Decimal, ("0.01", "0.10", "109.97", "110.00", "999999999999.99"))):
            assert isinstance(provider.payments.charge(f"o{n}", amount, "USD"), Charged)
            assert provider.money(f"o{n}") == amount

    def test_charging_twice_takes_the_money_once_and_answers_the_same(self, provider: Provider) -> None:
        first = provider.payments.charge("o1", PAID, "USD")
        assert isinstance(first, Charged)
        assert provider.payments.charge("o1", PAID, "USD") == first
        assert provider.money() == PAID

    def test_each_order_has_a_payment_of_its_own(self, provider: Provider) -> None:
        assert provider.payments.charge("o1", PAID, "USD") != provider.payments.charge("o2", PAID, "USD")
        assert isinstance(provider.payments.refund("o1"), Refunded)
        assert provider.money("o1") == 0
        assert provider.money("o2") == PAID

    def test_refunding_twice_gives_back_once_and_answers_the_same(self, provider: Provider) -> None:
        charged = provider.payments.charge("o1", PAID, "USD")
        assert isinstance(charged, Charged)
        assert provider.payments.refund("o1") == provider.payments.refund("o1") == Refunded(charged.payment_id)
        assert provider.money() == 0

    def test_a_refund_before_any_charge_closes_the_payment(self, provider: Provider) -> None:
        assert provider.payments.refund("o1") == NothingToRefund()
        assert isinstance(provider.payments.charge("o1", PAID, "USD"), Declined)
        assert provider.payments.refund("o1") == NothingToRefund()
        assert provider.money() == 0

    def test_a_refunded_payment_is_never_charged_again(self, provider: Provider) -> None:
        provider.payments.charge("o1", PAID, "USD")
        provider.payments.refund("o1")
        assert isinstance(provider.payments.charge("o1", PAID, "USD"), Declined)
        assert isinstance(provider.payments.refund("o1"), Refunded)
        assert provider.money() == 0

    def test_a_charge_that_lands_after_the_refund_takes_nothing(self, provider: Provider) -> None:
        provider.troubles.on("charge", TimesOut.LATER)
        with pytest.raises(PaymentUnknown):
            provider.payments.charge("o1", PAID, "USD")
        assert provider.payments.refund("o1") == NothingToRefund()
        provider.land()
        assert provider.money() == 0
        assert isinstance(provider.payments.charge("o1", PAID, "USD"), Declined)

    @pytest.mark.parametrize("when", [TimesOut.AFTER, TimesOut.BEFORE, TimesOut.LATER])
    def test_an_unknown_charge_asked_again_is_one_charge(self, provider: Provider, when: TimesOut) -> None:
        provider.troubles.on("charge", when)
        with pytest.raises(PaymentUnknown):
            provider.payments.charge("o1", PAID, "USD")
        assert provider.money() == (PAID if when is TimesOut.AFTER else 0)
        found = provider.payments.charge("o1", PAID, "USD")
        assert isinstance(found, Charged)
        provider.land()
        assert provider.payments.charge("o1", PAID, "USD") == found
        assert provider.money() == PAID

    @pytest.mark.parametrize("when", [TimesOut.AFTER, TimesOut.BEFORE, TimesOut.LATER])
    def test_an_unknown_refund_asked_again_is_one_refund(self, provider: Provider, when: TimesOut) -> None:
        provider.payments.charge("o1", PAID, "USD")
        provider.troubles.on("refund", when)
        with pytest.raises(PaymentUnknown):
            provider.payments.refund("o1")
        assert provider.money() == (0 if when is TimesOut.AFTER else PAID)
        assert isinstance(provider.payments.refund("o1"), Refunded)
        provider.land()
        assert provider.money() == 0

    def test_a_refund_that_lands_late_still_closes_the_payment(self, provider: Provider) -> None:
        provider.troubles.on("refund", TimesOut.LATER)
        with pytest.raises(PaymentUnknown):
            provider.payments.refund("o1")
        provider.land()
        assert isinstance(provider.payments.charge("o1", PAID, "USD"), Declined)

    def test_a_decline_stays_a_decline(self, provider: Provider) -> None:
        first = provider.payments.charge(provider.declining, PAID, "USD")
        assert isinstance(first, Declined)
        assert first.reason
        assert provider.payments.charge(provider.declining, PAID, "USD") == first
        assert provider.payments.refund(provider.declining) == NothingToRefund()
        assert isinstance(provider.payments.charge(provider.declining, PAID, "USD"), Declined)
        assert provider.money(provider.declining) == 0

    @pytest.mark.parametrize(("amount", "currency"), [("109.98", "USD"), ("10.99", "USD"), ("109.97", "EUR")])
    def test_another_amount_under_the_same_order_id_is_a_fault(
        self, provider: Provider, amount: str, currency: str
    ) -> None:
        provider.payments.charge("o1", PAID, "USD")
        with pytest.raises(ValueError, match="o1"):
            provider.payments.charge("o1", Decimal(amount), currency)
        assert provider.money() == PAID

    def test_charges_at_once_are_one_charge(self, provider: Provider) -> None:
        with ThreadPoolExecutor(8) as pool:
            together = Barrier(8)

            def charge(_: int) -> Charged | Declined:
                together.wait(10)
                return provider.payments.charge("o1", PAID, "USD")

            answers = set(pool.map(charge, range(8)))
        assert len(answers) == 1
        assert provider.money() == PAID

    def test_charge_and_refund_at_once_end_in_one_truth(self, provider: Provider) -> None:
        """Whoever comes first: what the refund said is what happened, and nothing stays charged."""
        with ThreadPoolExecutor(4) as pool:
            for n in range(25):
                order_id = f"race-{n}"
                together = Barrier(4)

                def charge(order_id: str = order_id, together: Barrier = together) -> Charged | Declined:
                    together.wait(10)
                    return provider.payments.charge(order_id, PAID, "USD")

                def refund(order_id: str = order_id, together: Barrier = together) -> Refunded | NothingToRefund:
                    together.wait(10)
                    return provider.payments.refund(order_id)

                charges = [pool.submit(charge), pool.submit(charge)]
                refunds = {future.result() for future in [pool.submit(refund), pool.submit(refund)]}
                taken = {answer.payment_id for f in charges if isinstance(answer := f.result(), Charged)}
                assert provider.money(order_id) == 0
                # One payment at most, and the refund names the one that a charge was told of.
                (refunded,) = refunds
                assert taken <= ({refunded.payment_id} if isinstance(refunded, Refunded) else set())
                assert isinstance(provider.payments.charge(order_id, PAID, "USD"), Declined)


class TestSimulatedPayments(Contract):
    """The simulated provider passes the contract, on moto and on a real engine."""

    @pytest.fixture
    def provider(self, each_aws: Stage) -> Provider:
        troubles = Troubles()
        # At 1 %, the order ids of the contract are charged; this one is declined.
        simulated = SimulatedPayments(clients.dynamodb(), each_aws["PAYMENTS_TABLE"], 1, troubles)
        return Provider(simulated, troubles, simulated, each_aws, declining="declined-68")

    def test_it_keeps_its_books_to_the_cent_and_says_what_became_of_each(
        self, provider: Provider, each_aws: Stage
    ) -> None:
        charged = provider.payments.charge("kept", PAID, "USD")
        provider.payments.charge("back", PRICE, "USD")
        provider.payments.refund("back")
        provider.payments.refund("never")
        provider.payments.charge(provider.declining, PAID, "USD")

        assert isinstance(charged, Charged)
        books = books_of(each_aws)
        assert books["kept"] == {
            "orderId": "kept",
            "state": "CHARGED",
            "paymentId": charged.payment_id,
            "amount": PAID,
            "currency": "USD",
        }
        states = {order_id: row["state"] for order_id, row in books.items()}
        declined = {provider.declining: "DECLINED"}
        assert states == {"kept": "CHARGED", "back": "REFUNDED", "never": "CLOSED", **declined}
        assert books["back"]["amount"] == PRICE

    def test_a_refund_writes_the_tombstone_before_it_looks(
        self, provider: Provider, each_aws: Stage, aws_calls: AwsCalls
    ) -> None:
        """A charge that falls between the two writes of a refund finds the row taken."""
        aws_calls.watch(provider.simulated.client)
        asked: list[Charged | Declined] = []
        aws_calls.meanwhile(
            lambda: asked.append(provider.payments.charge("o1", PAID, "USD")), "PutItem", after=True, times=1
        )
        assert provider.payments.refund("o1") == NothingToRefund()
        (answer,) = asked
        assert isinstance(answer, Declined)

    @pytest.mark.parametrize("operation", ["charge", "refund"])
    def test_what_its_own_engine_does_not_answer_is_unknown(
        self, provider: Provider, aws_calls: AwsCalls, operation: str
    ) -> None:
        aws_calls.watch(provider.simulated.client)
        aws_calls.drop_request("PutItem", attempts=None)
        with pytest.raises(PaymentUnknown):
            _ask(provider.payments, operation)
        assert provider.money() == 0

    @pytest.mark.parametrize("code", ["ThrottlingException", "ProvisionedThroughputExceededException", "AccessDenied"])
    @pytest.mark.parametrize("operation", ["charge", "refund"])
    def test_what_its_own_engine_refuses_is_unknown(
        self, provider: Provider, aws_calls: AwsCalls, operation: str, code: str
    ) -> None:
        aws_calls.watch(provider.simulated.client)
        aws_calls.refuse(code, "PutItem")
        with pytest.raises(PaymentUnknown):
            _ask(provider.payments, operation)
        assert isinstance(provider.payments.charge("o1", PAID, "USD"), Charged)

    def test_its_own_echo_is_one_charge(self, provider: Provider, aws_calls: AwsCalls) -> None:
        """botocore repeats a write whose answer was lost, and the second finds the first: charged, not declined."""
        aws_calls.watch(provider.simulated.client)
        aws_calls.lose_answer("PutItem")
        charged = provider.payments.charge("o1", PAID, "USD")
        assert isinstance(charged, Charged)
        assert provider.payments.charge("o1", PAID, "USD") == charged


def _ask(payments: Payments, operation: str) -> object:
    return payments.charge("o1", PAID, "USD") if operation == "charge" else payments.refund("o1")


IDS = [f"order-{n}" for n in range(2_000)]


class _NoBooks:
    """A ledger that is always empty: what a provider decides before it looks into its books."""

    class exceptions:  # noqa: N801 - named as boto3 has it
        ConditionalCheckFailedException = ClientError

    def put_item(self, **_: object) -> None:
        """Taken."""


def _declined(percent: int) -> set[str]:
    client: DynamoDBClient = _NoBooks()  # type: ignore[assignment]
    provider = SimulatedPayments(client, "payments", percent)
    return {order_id for order_id in IDS if isinstance(provider.charge(order_id, PRICE, "USD"), Declined)}


@pytest.mark.parametrize("percent", [1, 5, 20, 50, 80])
def test_about_the_set_percentage_of_the_orders_is_declined(percent: int) -> None:
    assert abs(len(_declined(percent)) / len(IDS) * 100 - percent) < 3


def test_no_order_is_declined_at_0_percent_and_each_at_100() -> None:
    assert _declined(0) == set()
    assert _declined(100) == set(IDS)


def test_the_order_id_decides_so_a_retry_meets_the_same_fate() -> None:
    """Also one without books to look into, and another process: the decision is no die and no salted hash."""
    assert _declined(20) == _declined(20)
    assert [order_id for order_id in IDS[:20] if order_id in _declined(20)] == [f"order-{n}" for n in (4, 8, 12, 19)]
    assert _declined(20) <= _declined(50)


def test_the_setting_decides_how_many_are_declined(aws: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIL_PAYMENT_PERCENT", "37")
    payments = service().consumer.fulfilment.cashier.payments
    assert isinstance(payments, SimulatedPayments)
    assert payments.decline_percent == 37


def test_no_order_is_declined_unless_it_is_set(aws: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAIL_PAYMENT_PERCENT", raising=False)
    payments = service().consumer.fulfilment.cashier.payments
    assert isinstance(payments, SimulatedPayments)
    assert payments.decline_percent == 0
