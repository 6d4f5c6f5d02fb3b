"""What is ordered from a laptop stack, and what the stack then says, without the clients."""

import json
import uuid
from typing import Any
from urllib.request import urlopen

from tests.support.laptop import Laptop

PATIENT = {"tries": 50, "seconds": 3600, "timeout": 0.25}
"""An answer that is held back is given up soon, and so may be another on a slow machine: there are tries enough."""


def an_order() -> dict[str, Any]:
    """An order of a customer who has no other."""
    return {
        "customerId": f"CUST-{uuid.uuid4()}",
        "items": [{"productId": "PROD-001", "quantity": 1}],
        "totalAmount": 29.99,
    }


def stored(laptop: Laptop, customer: str) -> list[Any]:
    """The customer's orders, as the service has them."""
    with urlopen(f"{laptop.api}/customers/{customer}/orders?limit=100", timeout=30) as answer:
        return list(json.load(answer)["orders"])
