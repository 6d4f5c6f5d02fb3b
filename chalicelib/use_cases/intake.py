"""Taking an order in: at the catalogue's prices, and only if the payment provider can be paid for it."""

from collections.abc import Iterator
from dataclasses import dataclass

from chalicelib.domain.pricing import IntakeRefusal, Priced
from chalicelib.domain.request import FieldError, OrderRequest
from chalicelib.providers import Provider
from chalicelib.use_cases.ports import Catalogue


@dataclass(frozen=True)
class Intake:
    """What orders must fit: the catalogue, and what the stage's payment provider asks for."""

    catalogue: Catalogue
    provider: Provider

    def price(self, request: OrderRequest, is_new: bool = True) -> Priced | IntakeRefusal:
        """The request at the catalogue's prices, or all that is against it. Raises Unavailable, Rejected.

        Not `is_new`: it was taken in before, perhaps under another provider, and may be paid already.
        """
        priced = self.catalogue.price(request)
        found = list(_not_payable(request, self.provider)) if is_new else []
        if not found:
            return priced
        failure, errors = (priced.failure, priced.errors) if isinstance(priced, IntakeRefusal) else (found[0][0], ())
        return IntakeRefusal(failure, (*errors, *(error for _, error in found)))


def _not_payable(request: OrderRequest, provider: Provider) -> Iterator[tuple[str, FieldError]]:
    if request.total_amount < provider.least:
        yield "AMOUNT_NOT_PAYABLE", FieldError("#/totalAmount", f"must be at least {provider.least} to be paid")
    if request.total_amount > provider.most:
        yield "AMOUNT_NOT_PAYABLE", FieldError("#/totalAmount", f"must be at most {provider.most} to be paid")
    if provider.needs_method and request.payment_method is None:
        yield "PAYMENT_METHOD_MISSING", FieldError("#/paymentMethod", "is required")
