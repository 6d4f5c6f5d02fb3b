"""What the payment providers ask of an order, and how long they are waited for."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Provider:
    """`least` and `most` bound the total of an order. `patience`: the seconds that a batch waits for its payments.

    `consumer_timeout`: the seconds of the consumer's function: patience, and time to write before and after it.
    """

    name: str
    needs_method: bool
    least: Decimal
    most: Decimal
    patience: float
    consumer_timeout: int


SIMULATED, STRIPE = "simulated", "stripe"
"""Their names, in the setting PAYMENTS and in the rows of the ledger. The simulation's books are the ledger itself."""

PROVIDERS: Mapping[str, Provider] = {
    SIMULATED: Provider(SIMULATED, False, Decimal("0.01"), Decimal("999999999999.99"), 3, 10),
    # In US dollars (Stripe documentation, "Minimum and maximum charge amounts"). Five requests of ten seconds at most.
    STRIPE: Provider(STRIPE, True, Decimal("0.50"), Decimal("999999.99"), 20, 30),
}
"""By the value of the setting PAYMENTS; the first is the default."""
