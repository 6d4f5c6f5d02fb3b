"""What comes in: a JSON body or message becomes an order request, or the list of everything that is wrong with it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import chain, islice
from typing import Any
from urllib.parse import quote

from chalicelib import times
from chalicelib.domain import fields
from chalicelib.domain.fields import In
from chalicelib.domain.request import FieldError, Invalid, OrderRequest
from chalicelib.entrypoints.acceptance import acceptance
from chalicelib.entrypoints.schema_files import schema

_MAX_ERRORS = 200
_MAX_NAME_LENGTH = 64
_FRAGMENT = "!$&'()*+,;=:@?"
"""What a URI fragment may hold as it is (RFC 3986), besides letters and digits; the rest is percent-encoded."""

_CUSTOMER = "customerId"
_ACCEPTED_SPELLINGS = {"userId": _CUSTOMER, "qty": "quantity"}


@dataclass(frozen=True, slots=True)
class OrderCreated:
    """A well-formed OrderCreated event: "work on this order"."""

    order_id: str
    request: OrderRequest
    created_at: datetime | None
    correlation_id: str | None


def order_request(document: Any, default_currency: str) -> OrderRequest:
    """The order that a request body asks for. Raises Invalid with all that is wrong, by pointers into the body."""
    known = document
    if not acceptance("order_request")(known):
        known = _normalised(document)
        if not acceptance("order_request")(known):
            _explain(_errors("order_request", known, document))
    return _request(known, document, default_currency)


def customers_named(document: Mapping[str, Any]) -> list[Any]:
    """What a request body says of its customer, whatever that is, under each accepted spelling."""
    spellings = (name for name, proper in _ACCEPTED_SPELLINGS.items() if proper == _CUSTOMER)
    return [document[name] for name in (_CUSTOMER, *spellings) if name in document]


def details(name: str, document: Any) -> Mapping[str, Any]:
    """The body of a smaller request, by the name of its schema. Raises Invalid."""
    if not acceptance(name)(document):
        _explain(_errors(name, document, document))
    known: Mapping[str, Any] = document
    return known


def order_created(document: Any, default_currency: str, *, is_new: bool = True) -> OrderCreated:
    """The order of an event; fields that it does not know are ignored. Raises Invalid.

    Not `is_new`: the order is stored, so its ids are what they are.
    """
    normalised, known = _event(document, is_new)
    created_at = normalised.get("createdAt")
    return OrderCreated(
        normalised["orderId"],
        _request(known, document, default_currency),
        times.from_text(created_at) if created_at else None,
        normalised.get("correlationId"),
    )


def _event(document: Any, is_new: bool) -> tuple[Any, Any]:
    """The members of an event under their proper names, and those of them that are its order's. Raises Invalid."""
    is_event, is_order = acceptance("order_created"), acceptance("order_request", is_new)
    if is_event(document):
        of_event = schema("order_created")["properties"]
        order = {name: value for name, value in document.items() if name not in of_event}
        if is_order(order):
            return document, order
    normalised = _normalised(document)
    order = _known(schema("order_request"), normalised)
    if not (is_event(normalised) and is_order(order)):
        errors = _errors("order_created", normalised, document)
        _explain(chain(errors, _errors("order_request", order, document, is_new)))
    return normalised, order


def _explain(errors: Iterable[FieldError]) -> None:
    """Raises Invalid with the errors, each once. Without any, the document fits: jsonschema has the last word."""
    if found := tuple(dict.fromkeys(errors)):
        raise Invalid(found)


def _request(known: Mapping[str, Any], document: Any, default_currency: str) -> OrderRequest:
    """The request of a document that fits the schema. Raises Invalid where its lines together do not.

    Lines of one product are stored, and sent, as one: what is bounded by line is bounded by product too.
    """
    request = OrderRequest(**{"currency": default_currency} | fields.read(known, In.REQUEST))
    maximum = _max_quantity()
    errors = tuple(
        FieldError(
            pointer(("items", _first_line(request, product_id), "quantity"), document),
            f"must be at most {maximum} in all lines of this product together",
        )
        for product_id, units in request.quantities.items()
        if units > maximum
    )
    if errors:
        raise Invalid(errors)
    return request


def _first_line(request: OrderRequest, product_id: str) -> int:
    return next(index for index, line in enumerate(request.items) if line.product_id == product_id)


@cache
def _max_quantity() -> int:
    return int(schema("order_request")["properties"]["items"]["items"]["properties"]["quantity"]["maximum"])


def _normalised(value: Any) -> Any:
    """The document with each accepted spelling renamed, unless the proper one is there too."""
    if isinstance(value, dict):
        return {
            proper if (proper := _ACCEPTED_SPELLINGS.get(name, name)) not in value else name: _normalised(item)
            for name, item in value.items()
        }
    return [_normalised(item) for item in value] if isinstance(value, list) else value


def _known(node: Mapping[str, Any], value: Any) -> Any:
    """The value without the members that its schema does not name."""
    if isinstance(value, dict):
        properties = node.get("properties", {})
        return {name: _known(properties[name], item) for name, item in value.items() if name in properties}
    return [_known(node.get("items", {}), item) for item in value] if isinstance(value, list) else value


def _errors(name: str, normalised: Any, document: Any, is_new: bool = True) -> Iterator[FieldError]:
    from chalicelib.entrypoints.schema import validator  # and jsonschema with it, at the first refusal

    for error in islice(validator(name, is_new).iter_errors(normalised), _MAX_ERRORS):
        yield FieldError(pointer(error.absolute_path, document), error.message)


def pointer(path: Any, document: Any) -> str:
    """The pointer of a path, in the spelling that the document itself uses."""
    parts: list[str] = []
    for step in path:
        name = step
        if isinstance(document, dict) and step not in document:
            name = next((s for s, p in _ACCEPTED_SPELLINGS.items() if p == step and s in document), step)
        inside = isinstance(document, list) or (isinstance(document, dict) and name in document)
        document = document[name] if inside else None
        parts.append(_part(str(name)))
    return "#" + "".join(f"/{part}" for part in parts)


def _part(name: str) -> str:
    shown = name if len(name) <= _MAX_NAME_LENGTH else f"{name[:_MAX_NAME_LENGTH]}…"
    return quote(shown.replace("~", "~0").replace("/", "~1"), safe=_FRAGMENT, errors="replace")
