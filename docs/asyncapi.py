"""Writes `docs/asyncapi.json`: what goes over the event bus and the order queue, as an AsyncAPI 3 document.

`make asyncapi` makes it from the JSON Schemas, the names of the template and the service's own codec, so that
nothing is described twice; tests/docs/test_asyncapi.py fails when it is stale.
"""

import json
from pathlib import Path
from typing import Any

from chalicelib.adapters.event_bus import SOURCE
from chalicelib.domain import fields
from chalicelib.domain.events import EVENTS, events_so_far
from chalicelib.domain.fields import In
from chalicelib.domain.order import Status
from chalicelib.domain.payment_key import KEY
from chalicelib.entrypoints.schema_files import schema
from chalicelib.use_cases.ports import PAYMENT_KEY
from docs.asyncapi_examples import delivered, example_order
from docs.openapi.document import ROOT, version

DOCUMENT = Path(__file__).with_suffix(".json")
_RESOURCES = ROOT / ".chalice" / "resources.json"


def document() -> dict[str, Any]:
    """The document as it should be; its amounts are Decimals."""
    queued = _queued()
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "OrderOnce: events and messages",
            "version": version(),
            "description": "What the service publishes about its orders, and the queue that producers place orders by. "
            "docs/events.md has what a consumer must expect, docs/api.md what a producer must know.",
        },
        "defaultContentType": "application/json",
        "servers": {"eventbridge": _server("events", "eventbridge"), "sqs": _server("sqs", "sqs")},
        "channels": {
            "events": _channel("eventbridge", "EventBus", "Name", "The event bus of a stage", list(EVENTS.values())),
            "orders": _channel("sqs", "OrderQueue", "QueueName", "The order queue of a stage", list(queued)),
        },
        "operations": {
            "publishEvents": {
                "action": "send",
                "channel": {"$ref": "#/channels/events"},
                "summary": "Publish what an order has come to",
                "description": schema("order_event")["description"],
            },
            "receiveOrders": {
                "action": "receive",
                "channel": {"$ref": "#/channels/orders"},
                "summary": "Work on an order: create it, if there is none of this id, reserve, charge, confirm",
            },
            "sendOwnOrders": {
                "action": "send",
                "channel": {"$ref": "#/channels/orders"},
                "messages": [{"$ref": "#/channels/orders/messages/OwnOrderCreated"}],
                "summary": "Have an order that is stored worked on",
            },
        },
        "components": {
            "messages": {name: _event_message(status, name) for status, name in EVENTS.items()} | queued,
            "schemas": {
                "EventBridgeEvent": _EVENTBRIDGE_EVENT,
                # As a part of this document it has neither a name of its own nor a dialect.
                "OrderEvent": {k: v for k, v in schema("order_event").items() if k not in ("$schema", "$id")},
                "OrderCreated": _order_created(),
            },
        },
    }


def _server(service: str, protocol: str) -> dict[str, Any]:
    return {
        "host": f"{service}.{{region}}.amazonaws.com",
        "protocol": protocol,
        "description": "AWS's, with requests signed by an IAM identity",
        "variables": {"region": {"description": "where the stage is deployed"}},
    }


def _channel(server: str, resource: str, property_name: str, title: str, messages: list[str]) -> dict[str, Any]:
    """A channel at the address that the template gives the resource."""
    resources = json.loads(_RESOURCES.read_text("utf-8"))["Resources"]
    return {
        "address": resources[resource]["Properties"][property_name]["Fn::Sub"].replace("${Stage}", "{stage}"),
        "title": title,
        "servers": [{"$ref": f"#/servers/{server}"}],
        "parameters": {"stage": {"description": "the stage's name, such as dev or prod"}},
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }


def _event_message(status: Status, name: str) -> dict[str, Any]:
    only = {"detail-type": {"const": name}, "detail": {"properties": {"status": {"const": status.value}}}}
    return {
        "name": name,
        "title": f"An order is {status}",
        "correlationId": {"location": "$message.payload#/detail/correlationId"},
        "payload": {"allOf": [{"$ref": "#/components/schemas/EventBridgeEvent"}, {"properties": only}]},
        "examples": [{"payload": delivered(events_so_far(example_order(status))[-1])}],
    }


_EVENTBRIDGE_EVENT = {
    "description": "An event as EventBridge hands it to the targets of a rule",
    "type": "object",
    "required": ["version", "id", "detail-type", "source", "time", "region", "resources", "detail"],
    "properties": {
        "version": {"const": "0"},
        "id": {"description": "new each time that the same event is published: take eventId", "type": "string"},
        "detail-type": {"description": "the name of the event", "type": "string"},
        "source": {"const": SOURCE},
        "account": {"type": "string", "pattern": "^[0-9]{12}$"},
        "time": {"type": "string", "format": "date-time"},
        "region": {"type": "string"},
        "resources": {"type": "array", "items": {"type": "string"}},
        "detail": {"$ref": "#/components/schemas/OrderEvent"},
    },
}


def _order_created() -> dict[str, Any]:
    """The fields of the event and those of an order request; what is not known is ignored at every level."""
    event, request = schema("order_created"), _open(schema("order_request"))
    return {
        "title": "An OrderCreated event",
        "description": "Fields that are not known are ignored. `userId` and `qty` are accepted spellings of "
        "`customerId` and `quantity`.",
        "type": "object",
        "required": [*event["required"], *request["required"]],
        "properties": event["properties"] | request["properties"],
    }


def _open(node: Any) -> Any:
    """A schema that allows more than it names."""
    if isinstance(node, list):
        return [_open(item) for item in node]
    if isinstance(node, dict):
        return {name: _open(item) for name, item in node.items() if (name, item) != ("additionalProperties", False)}
    return node


def _queued() -> dict[str, Any]:
    """The two messages of the order queue: a producer's, and the service's own."""
    payload, example = {"$ref": "#/components/schemas/OrderCreated"}, example_order(Status.PENDING)
    body = fields.write(example, In.MESSAGE)
    of_producer = {
        "name": "OrderCreated",
        "title": "A producer places an order",
        "summary": "Bare JSON, without an envelope of EventBridge or SNS; orderId is the idempotency key",
        "payload": payload,
        "examples": [{"payload": body}],
    }
    own = {
        "name": "OrderCreated",
        "title": "The service has an order worked on",
        "summary": "Only the service sends it: a producer sends no paymentKey",
        "headers": {
            "type": "object",
            "required": [PAYMENT_KEY],
            "properties": {
                PAYMENT_KEY: {
                    "description": "message attribute of type String: the name of the order's payment",
                    "type": "string",
                    "pattern": f"^{KEY.pattern}$",
                }
            },
        },
        "payload": payload,
        "examples": [{"headers": {PAYMENT_KEY: example.payment_key}, "payload": body}],
    }
    return {"OrderCreated": of_producer, "OwnOrderCreated": own}


def text() -> str:
    """The document as its file has it."""
    return json.dumps(document(), indent=2, default=float, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(text(), encoding="utf-8")
