"""Who asks, and for whom they may ask. Pure: `entrypoints/identity.py` reads it from what the gateway has verified."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a caller is. docs/security.md has the table of what each may do."""

    CUSTOMER = "customer"
    OPERATOR = "operator"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller. `name` is the `sub` of a token or the ARN of an IAM identity; None: nobody has verified who it is.

    `customer_id` is the one customer that a CUSTOMER is; the others are nobody's.
    """

    role: Role
    name: str | None = None
    customer_id: str | None = None

    @property
    def is_customer(self) -> bool:
        return self.role is Role.CUSTOMER

    def may_act_for(self, customer_id: str) -> bool:
        """Whether this caller may place, see and change the orders of that customer."""
        return not self.is_customer or self.customer_id == customer_id
