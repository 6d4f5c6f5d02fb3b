"""The REST API: each function reads a request, calls one use case and shapes its answer."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from chalicelib import exact_json, telemetry
from chalicelib.domain import fields
from chalicelib.domain.caller import Caller
from chalicelib.domain.idempotency import InvalidKey, order_id_from_key, parse_key
from chalicelib.domain.order import Order, verbs_from
from chalicelib.domain.request import Invalid, OrderRequest
from chalicelib.entrypoints import cursors, identity
from chalicelib.entrypoints.documents import cancellation, first_answer, listed_errors, order_document
from chalicelib.entrypoints.exchange import Answer, Request
from chalicelib.entrypoints.problems import Problem
from chalicelib.entrypoints.validation import details, order_request
from chalicelib.service import Service
from chalicelib.use_cases.operations import NoSuchOrder, NotPossible, OperationResult, ShipmentDiffers
from chalicelib.use_cases.placing import KeyReused, Placed
from chalicelib.use_cases.ports import Page

_ACTIONS = ("cancel", "ship", "deliver")

_MAX_PAGE_BYTES = 3_000_000
"""Lambda answers at most 6 MB, in which the body is text of a JSON document: twice as long at worst."""


def place_order(service: Service, request: Request) -> Answer:
    """POST /orders. The first answer, whoever asks and however often. Raises Problem."""
    key = _key(request, service.settings.require_idempotency_key)
    caller = identity.caller(request, service.settings)
    wanted = _order_request(request, caller, service.settings.currency)
    try:
        result = service.placing.place(wanted, key, request.correlation_id, caller.name)
    except Invalid as refused:
        raise _invalid_order(refused) from refused
    order = result.order
    ids = {"orderId": order.order_id, "customerId": order.customer_id, "by": caller.name}
    if isinstance(result, KeyReused):
        telemetry.count("KeysReused")
        telemetry.info("key reused", **ids)
        raise Problem(
            "idempotency-key-reused",
            f"This key was already used for order {order.order_id}, with different contents.",
            {"orderId": order.order_id},
        )
    placed = isinstance(result, Placed)
    telemetry.count("OrdersPlaced" if placed else "OrdersReplayed")
    telemetry.info("order placed" if placed else "order replayed", **ids)
    headers = {"Location": f"{request.base}/orders/{order.order_id}"}
    headers |= {} if placed else {"Idempotent-Replayed": "true"}
    return Answer(201, exact_json.dumps(first_answer(order)), headers)


def get_order(service: Service, request: Request, order_id: str) -> Answer:
    """GET /orders/{orderId}: the order as it is now. One of another customer does not exist. Raises Problem."""
    caller = identity.caller(request, service.settings)
    order = service.orders.get(order_id)
    if order is None or not caller.may_act_for(order.customer_id):
        raise _not_found(order_id)
    return _order_answer(order, caller)


def cancel_order(service: Service, request: Request, order_id: str) -> Answer:
    """POST /orders/{orderId}/cancel: the same answer however often. Raises Problem."""
    caller = identity.caller(request, service.settings)
    reason = _details(request, "cancel_request").get("reason")
    order = _reached(order_id, service.operations.cancel(order_id, reason, caller))
    return Answer(200, exact_json.dumps(cancellation(order)), {})


def ship_order(service: Service, request: Request, order_id: str) -> Answer:
    """POST /orders/{orderId}/ship, for the operator. Raises Problem."""
    caller = identity.staff(request, service.settings)
    shipment = _details(request, "ship_request")
    result = service.operations.ship(order_id, shipment.get("carrier"), shipment.get("trackingNumber"), caller)
    return _order_answer(_reached(order_id, result), caller)


def deliver_order(service: Service, request: Request, order_id: str) -> Answer:
    """POST /orders/{orderId}/deliver, for the operator. Raises Problem."""
    caller = identity.staff(request, service.settings)
    _details(request, "deliver_request")
    return _order_answer(_reached(order_id, service.operations.deliver(order_id, caller)), caller)


def list_orders(service: Service, request: Request, customer_id: str) -> Answer:
    """GET /customers/{customerId}/orders: a page, newest first; or what a key of the customer names. Raises Problem."""
    customer_id, caller = unquote(customer_id), identity.caller(request, service.settings)
    if not caller.may_act_for(customer_id):
        raise identity.forbidden(caller, "You may list your own orders only.")
    limit = cursors.page_limit(request.query)
    start = cursors.read(request.query["cursor"]) if "cursor" in request.query else None
    if "idempotencyKey" in request.query:
        return _explain_key(service, customer_id, request.query["idempotencyKey"])
    page = service.orders.list_by_customer(customer_id, limit, start)
    path = f"{request.base}/customers/{quote(customer_id, safe='')}/orders"
    while len(body := _page(page, path, limit, caller)) > _MAX_PAGE_BYTES and len(page.orders) > 1:
        page = page.first_half()
    return Answer(200, body, {})


def _page(page: Page, path: str, limit: int, caller: Caller) -> str:
    orders = [order_document(order, shows_names=not caller.is_customer) for order in page.orders]
    document: dict[str, Any] = {"orders": orders}
    if page.next_start:
        document["cursor"] = cursors.write(page.next_start)
        document["next"] = f"{path}?limit={limit}&cursor={quote(document['cursor'])}"
    return exact_json.dumps(document)


def _order_answer(order: Order, caller: Caller) -> Answer:
    return Answer(200, exact_json.dumps(order_document(order, shows_names=not caller.is_customer)), {})


def _reached(order_id: str, result: OperationResult) -> Order:
    match result:
        case NoSuchOrder():
            raise _not_found(order_id)
        case NotPossible(order):
            allowed = [verb for verb in verbs_from(order.status) if verb in _ACTIONS]
            detail = f"The order is {order.status}; allowed actions: {', '.join(allowed) or 'none'}."
            extra = {"orderStatus": order.status.value, "possible": allowed}
            raise Problem("transition-not-possible", detail, extra)
        case ShipmentDiffers(order, attributes):
            detail = f"{', '.join(map(fields.name_of, attributes))}: what is there cannot be changed."
            there = fields.write_values({name: getattr(order, name) for name in ("carrier", "tracking_number")})
            members = {"orderStatus": order.status.value} | {n: v for n, v in there.items() if v is not None}
            raise Problem("shipment-differs", detail, members)
        case reached:
            return reached.order


def _not_found(order_id: str) -> Problem:
    return Problem("order-not-found", f"Order {order_id[:64]!r} does not exist.")


def _key(request: Request, required: bool) -> str | None:
    header = request.headers.get("idempotency-key")
    if header is None:
        if required:
            detail = "Send an Idempotency-Key header, with a new value for each order."
            raise Problem("idempotency-key-missing", detail)
        return None
    return _parsed_key(header)


def _parsed_key(text: str) -> str:
    try:
        return parse_key(text)
    except InvalidKey:
        detail = "Send it once: 1 to 255 visible ASCII characters, bare or quoted. One that has a comma must be quoted."
        raise Problem("idempotency-key-invalid", detail) from None


def _order_request(request: Request, caller: Caller, currency: str) -> OrderRequest:
    try:
        return order_request(identity.with_own_id(request.document(), caller), currency)
    except Invalid as refused:
        raise _invalid_order(refused) from refused
    except Problem:
        telemetry.count("OrdersInvalid")
        raise


def _details(request: Request, schema: str) -> Mapping[str, Any]:
    """The body of a smaller request; no body is the same as an empty object."""
    if not request.body:
        return {}
    try:
        return details(schema, request.document())
    except Invalid as refused:
        raise Problem("invalid-request", "See `errors`.", {"errors": listed_errors(refused)}) from refused


def _invalid_order(refused: Invalid) -> Problem:
    telemetry.count("OrdersInvalid")
    detail = "Nothing was stored, and the request did not use up its key. See `errors`."
    return Problem("invalid-order", detail, {"errors": listed_errors(refused)})


def _explain_key(service: Service, customer_id: str, text: str) -> Answer:
    key = _parsed_key(text)
    order = service.orders.get(order_id_from_key(customer_id, key))
    if order and order.customer_id != customer_id:
        order = None  # a producer chose this id for somebody else's order
    document: dict[str, Any] = {"idempotencyKey": key, "used": order is not None}
    if order:
        document |= {"orderId": order.order_id, "status": order.status.value}
    return Answer(200, exact_json.dumps(document), {})
