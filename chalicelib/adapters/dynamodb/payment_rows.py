"""The ledger of payments, read as a whole: for whoever compares it with the orders and the providers' books."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib import times
from chalicelib.adapters.aws_faults import faults
from chalicelib.adapters.dynamodb.items import from_item, to_item
from chalicelib.adapters.dynamodb.payment_ledger import PaymentLedger
from chalicelib.adapters.dynamodb.reads import batch_get
from chalicelib.adapters.simulated_payments import CHARGED, REFUNDED
from chalicelib.domain.books import ZERO, Intent, Payment, Row, RowState, Taken
from chalicelib.providers import SIMULATED
from chalicelib.times import Clock

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_OF_SIMULATION = {CHARGED: RowState.OPEN, REFUNDED: RowState.REFUNDING}


@dataclass(frozen=True)
class LedgerRows:
    """The rows of every provider."""

    client: "DynamoDBClient"
    table: str
    clock: Clock

    def all(self) -> Iterator[Payment]:
        """As the port says; consistent."""
        start: dict[str, Any] = {}
        while True:
            with faults():
                page = self.client.scan(TableName=self.table, ConsistentRead=True, **start)
            yield from map(_payment, page["Items"])
            if "LastEvaluatedKey" not in page:
                return
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def get_all(self, payment_keys: Sequence[str]) -> list[Payment]:
        """As the port says; consistent."""
        keys = [to_item({"paymentKey": key}) for key in payment_keys]
        return [_payment(item) for item in batch_get(self.client, self.table, {"Keys": keys, "ConsistentRead": True})]

    def rebuild(self, intent: Intent, provider: str) -> bool:
        """As the port says."""
        values = {"paymentId": intent.payment_id, "amount": intent.amount, "currency": intent.currency}
        ledger = PaymentLedger(self.client, self.table, provider, self.clock)
        return ledger.enter(intent.payment_key, RowState.OPEN, **values) is None


def _payment(item: Mapping[str, Any]) -> Payment:
    values = from_item(item)
    # Rows of the releases before they named it are of the simulation.
    key, state, provider = values["paymentKey"], values["state"], values.get("provider", SIMULATED)
    known = _OF_SIMULATION.get(state, state)
    if known not in set(RowState):  # of a newer release
        return Payment(key, is_seen=False)
    row = Row(RowState(known), provider, values.get("paymentId"))
    if state not in _OF_SIMULATION:
        return Payment(key, row)
    at = times.from_text(values["at"]) if "at" in values else None
    amount = values["amount"]
    refunded = amount if state == REFUNDED else ZERO
    own = Intent(values["paymentId"], key, Taken.YES, amount, values["currency"], at, refunded)
    return Payment(key, row, (own,))
