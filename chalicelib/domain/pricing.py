"""What an order costs: the catalogue decides, never the client. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from chalicelib.domain.order import LineItem
from chalicelib.domain.request import FieldError, OrderRequest


@dataclass(frozen=True, slots=True)
class Product:
    """A product as the catalogue has it."""

    product_id: str
    name: str
    price: Decimal


@dataclass(frozen=True, slots=True)
class Priced:
    """The lines to store: one for each product, at the catalogue's price and name."""

    items: tuple[LineItem, ...]


@dataclass(frozen=True, slots=True)
class IntakeRefusal:
    """The order cannot be taken in; `failure` is the reason in a word, `errors` has the right figures."""

    failure: str
    errors: tuple[FieldError, ...]

    @property
    def reason(self) -> str:
        """All that is wrong, in one text."""
        return "; ".join(
            f"{e.pointer}: {e.detail}" + (f" ({e.expected})" if e.expected is not None else "") for e in self.errors
        )


def price(request: OrderRequest, products: Mapping[str, Product], currency: str) -> Priced | IntakeRefusal:
    """The request at the catalogue's prices, or all in which they disagree. `currency` is the catalogue's one."""
    quantities = request.quantities
    found = list(_disagreements(request, quantities, products, currency))
    if found:
        return IntakeRefusal(found[0][0], tuple(error for _, error in found))
    return Priced(
        tuple(
            LineItem(product_id, quantity, products[product_id].price, products[product_id].name)
            for product_id, quantity in quantities.items()
        )
    )


def _disagreements(
    request: OrderRequest, quantities: Mapping[str, int], products: Mapping[str, Product], currency: str
) -> Iterator[tuple[str, FieldError]]:
    for index, line in enumerate(request.items):
        at = f"#/items/{index}"
        product = products.get(line.product_id)
        if product is None:
            yield "UNKNOWN_PRODUCT", FieldError(f"{at}/productId", f"product {line.product_id} is not in the catalogue")
        elif line.unit_price not in (None, product.price):
            yield "PRICE_MISMATCH", FieldError(f"{at}/unitPrice", "is not the catalogue's price", product.price)
    if request.currency != currency:
        yield "CURRENCY_MISMATCH", FieldError("#/currency", "is not the catalogue's currency", currency)
    if quantities.keys() <= products.keys():
        total = sum((products[p].price * n for p, n in quantities.items()), Decimal("0.00"))
        if total != request.total_amount:
            yield "TOTAL_MISMATCH", FieldError("#/totalAmount", "is not the sum of the lines", total)
