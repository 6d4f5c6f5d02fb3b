"""Stripe's own books: what was paid, given back and disputed, whoever did it. Only lists, which are never behind."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from chalicelib.adapters.stripe_api import GIVEN_BACK, LOST, UNDER_WAY, Refused, StripeApi, cents
from chalicelib.deadline import Deadline
from chalicelib.domain.books import Intent, Taken
from chalicelib.faults import PaymentUnknown
from chalicelib.use_cases.ports import OutOfTime

if TYPE_CHECKING:
    import stripe

REFUNDS_FAIL_WITHIN = timedelta(days=35)
"""A refund that has succeeded may still come back, within about 30 days (Stripe documentation, "Failed refunds")."""

DISPUTES_LAST = timedelta(days=120)
"""From the beginning of a dispute to its end (Stripe documentation, "How disputes work": 2 to 3 months)."""

EXPLAINED = "reconciled"
"""Metadata that people give an intent at the dashboard: they know what differs, and why."""

_TAKEN = {"succeeded": Taken.YES, "canceled": Taken.NEVER, "processing": Taken.UNDER_WAY}


@dataclass(frozen=True)
class StripeBooks:
    """Intents that name no payment key are none of this service's, and left out."""

    api: StripeApi

    def payments(self, since: datetime, deadline: Deadline) -> Iterator[Intent]:
        """As the port says. Refunds and disputes are looked for further back: that is how long they may change."""
        refunds: dict[str, list[stripe.Refund]] = defaultdict(list)
        disputes: dict[str, list[stripe.Dispute]] = defaultdict(list)
        others: dict[str, Any] = {}
        for made, pages in (
            (refunds, self.api.refunds_since(since - REFUNDS_FAIL_WITHIN)),
            (disputes, self.api.disputes_since(since - DISPUTES_LAST)),
        ):
            for each in _in_time(pages, deadline):
                if each.payment_intent:  # or it is of a charge without an intent
                    made[each.payment_intent.id].append(each)
                    others[each.payment_intent.id] = each.payment_intent
        for intent in _in_time(self.api.intents_since(since), deadline):
            others.pop(intent.id, None)
            yield from _intent(intent, refunds[intent.id], disputes[intent.id])
        for intent in others.values():
            yield from _intent(intent, refunds[intent.id], disputes[intent.id])

    def of(self, payment_id: str) -> Intent | None:
        """As the port says."""
        intent = self.api.intent(payment_id)
        if intent is None:
            return None
        return next(_intent(intent, self.api.refunds(payment_id), self.api.disputes(payment_id)), None)

    def search(self, payment_key: str) -> list[str]:
        """As the port says. Merchants of some countries have no search: nothing is found there."""
        try:
            return [intent.id for intent in self.api.search(payment_key)]
        except Refused:
            return []

    def end(self, payment_id: str) -> None:
        """As the port says."""
        self.api.end(payment_id)

    def give_back(self, payment_id: str) -> None:
        """As the port says. Stripe gives back what is left, and never more than was paid."""
        intent = self.of(payment_id)
        if intent is None or intent.kept <= 0:
            return
        try:
            self.api.refund(payment_id)
        except Refused as refused:
            again = self.of(payment_id)
            if again and again.kept > 0:
                raise PaymentUnknown(f"Stripe does not refund the payment intent {payment_id}") from refused


def _in_time(pages: Iterator[list[Any]], deadline: Deadline) -> Iterator[Any]:
    for page in pages:
        yield from page
        if deadline.has_passed:
            raise OutOfTime


def _intent(
    intent: "stripe.PaymentIntent", refunds: "Sequence[stripe.Refund]", disputes: "Sequence[stripe.Dispute]"
) -> Iterator[Intent]:
    """The intent, if it names a payment key."""
    metadata = intent.metadata.to_dict()
    if not (key := metadata.get("paymentKey")):
        return
    yield Intent(
        intent.id,
        key,
        _TAKEN.get(intent.status, Taken.NOT_YET),
        _decimal(intent.amount),
        intent.currency.upper(),
        datetime.fromtimestamp(intent.created, UTC),
        refunded=_decimal(cents(refunds, *GIVEN_BACK)),
        withdrawn=_decimal(cents(disputes, LOST)),
        disputed=_decimal(cents(disputes, *UNDER_WAY)),
        is_explained=bool(metadata.get(EXPLAINED)),
    )


def _decimal(amount: int) -> Decimal:
    return Decimal(amount).scaleb(-2)
