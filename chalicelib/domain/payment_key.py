"""The payment key: the name of an order's payment, to the provider and in the service's own messages.

Each creation of an order has a key of its own. So an order that was deleted and is placed again is charged again; one
that a restored table has lost is created again under the key of its message, and is not. The key begins with the order
id: no message can name the payment of another order.
"""

import re
import uuid

_NAMESPACE = uuid.UUID("0d3d9a35-93b5-5b0e-8f5c-3a1f6f2f4c11")
KEY = re.compile(r"([A-Za-z0-9_-]{1,64})\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
"""At most 101 characters."""


def fresh_payment_key(order_id: str) -> str:
    """A key that no other creation has."""
    return f"{order_id}.{uuid.uuid4()}"


def payment_key_of_message(order_id: str, message_id: str) -> str:
    """The key for the order of a message without one: the same each time that the message is received."""
    return f"{order_id}.{uuid.uuid5(_NAMESPACE, message_id)}"


def order_id_of(payment_key: str) -> str:
    """The order whose payment it names."""
    return payment_key.partition(".")[0]


def names_payment_of(payment_key: str, order_id: str) -> bool:
    """Whether this can be a payment key of this order."""
    match = KEY.fullmatch(payment_key)
    return match is not None and match[1] == order_id
