"""What comes in: a JSON body or message becomes an order request, or the list of everything that is wrong with it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, cast
from urllib.parse import quote

from jsonschema.protocols import Validator

from chalicelib import times
from chalicelib.domain import fields
from chalicelib.domain.fields import In
from chalicelib.domain.request import FieldError, Invalid, OrderRequest
from chalicelib.entrypoints.schema import validator

_MAX_ERRORS = 200
_MAX_NAME_LENGTH = 64
_FRAGMENT = "!$&'()*+,;=:@?"
"""What a URI fragment may hold as it is (RFC 3986), besides letters and digits; the rest is percent-encoded."""

_ACCEPTED_SPELLINGS = {"userId": "customerId", "qty": "quantity"}


@dataclass(frozen=True, slots=True)
class OrderCreated:
    """A well-formed OrderCreated event: "work on this order"."""

    order_id: str
    request: OrderRequest
    created_at: datetime | None
    correlation_id: str | None


def order_request(document: Any, default_currency: str) -> OrderRequest:
    """The order that a request body asks for. Raises Invalid with all that is wrong, by pointers into the body."""
    normalised = _normalised(document)
    errors = tuple(_errors(validator("order_request"), normalised, document))
    if errors:
        raise Invalid(tuple(dict.fromkeys(errors)))
    return _request(normalised, document, default_currency)


def details(schema: str, document: Any) -> Mapping[str, Any]:
    """The body of a smaller request, by the name of its schema. Raises Invalid."""
    errors = tuple(_errors(validator(schema), document, document))
    if errors:
        raise Invalid(errors)
    known: Mapping[str, Any] = document
    return known


def order_created(document: Any, default_currency: str, *, is_new: bool = True) -> OrderCreated:
    """The order of an event; fields that it does not know are ignored. Raises Invalid.

    Not `is_new`: the order is stored, so its ids are what they are.
    """
    normalised = _normalised(document)
    of_request = validator("order_request", is_new)
    known = _known(cast("Mapping[str, Any]", of_request.schema), normalised)
    errors = (*_errors(validator("order_created"), normalised, document), *_errors(of_request, known, document))
    if errors:
        raise Invalid(tuple(dict.fromkeys(errors)))
    created_at = normalised.get("createdAt")
    return OrderCreated(
        normalised["orderId"],
        _request(known, document, default_currency),
        times.from_text(created_at) if created_at else None,
        normalised.get("correlationId"),
    )


def _request(known: Mapping[str, Any], document: Any, default_currency: str) -> OrderRequest:
    """The request of a document that fits the schema. Raises Invalid where its lines together do not.

    Lines of one product are stored, and sent, as one: what is bounded by line is bounded by product too.
    """
    request = OrderRequest(**{"currency": default_currency} | fields.read(known, In.REQUEST))
    maximum = _max_quantity()
    first_line = {line.product_id: index for index, line in reversed(list(enumerate(request.items)))}
    errors = tuple(
        FieldError(
            pointer(("items", first_line[product_id], "quantity"), document),
            f"must be at most {maximum} in all lines of this product together",
        )
        for product_id, units in request.quantities.items()
        if units > maximum
    )
    if errors:
        raise Invalid(errors)
    return request


def _max_quantity() -> int:
    schema: Any = validator("order_request").schema
    return int(schema["properties"]["items"]["items"]["properties"]["quantity"]["maximum"])


def _normalised(value: Any) -> Any:
    """The document with each accepted spelling renamed, unless the proper one is there too."""
    if isinstance(value, dict):
        return {
            proper if (proper := _ACCEPTED_SPELLINGS.get(name, name)) not in value else name: _normalised(item)
            for name, item in value.items()
        }
    return [_normalised(item) for item in value] if isinstance(value, list) else value


def _known(schema: Mapping[str, Any], value: Any) -> Any:
    """The value without the members that its schema does not name."""
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return {name: _known(properties[name], item) for name, item in value.items() if name in properties}
    return [_known(schema.get("items", {}), item) for item in value] if isinstance(value, list) else value


def _errors(compiled: Validator, normalised: Any, document: Any) -> Iterator[FieldError]:
    for error in islice(compiled.iter_errors(normalised), _MAX_ERRORS):
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
