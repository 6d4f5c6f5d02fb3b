"""Messages of the order queue: what an SQS record says, as an order to work on."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from chalicelib.domain.idempotency import fingerprint
from chalicelib.domain.request import Invalid
from chalicelib.entrypoints.validation import order_created
from chalicelib.exact_json import InvalidJson, loads
from chalicelib.service import Service
from chalicelib.use_cases.letters import order_id_in
from chalicelib.use_cases.ports import STORED, Message
from chalicelib.use_cases.saga import Delivery, Never, ReadMessage, RefusedByOwnSchema

_MAX_CLOCK_SKEW = timedelta(days=1)


def read_records(service: Service, records: Sequence[Mapping[str, Any]]) -> list[ReadMessage]:
    """The records of an SQS event; one that is not JSON, or breaks the schema, can never be handled."""
    settings, now = service.settings, service.clock()
    return [_read(_message(record), settings.currency, settings.max_receives, now) for record in records]


def _message(record: Mapping[str, Any]) -> Message:
    system = record.get("attributes", {})
    own = record.get("messageAttributes", {})
    return Message(
        record["messageId"],
        record["receiptHandle"],
        record["body"],
        int(system.get("ApproximateReceiveCount", 1)),
        int(system.get("SentTimestamp", 0)),
        {name: value["stringValue"] for name, value in own.items() if "stringValue" in value},
    )


def _read(message: Message, currency: str, max_receives: int, now: datetime) -> ReadMessage:
    stored = STORED in message.attributes
    try:
        event = order_created(loads(message.body), currency, is_new=not stored)
    except (InvalidJson, Invalid) as fault:
        order_id = order_id_in(message.body) if stored else ""
        return ReadMessage(message, RefusedByOwnSchema(order_id, str(fault)) if order_id else Never(str(fault)))
    # The order as it was when the message was sent: PENDING, if it was stored at all.
    order = event.request.to_order(
        order_id=event.order_id,
        items=event.request.summed_items(),
        created_at=_created_at(event.created_at, now),
        fingerprint=fingerprint(event.request),
        correlation_id=event.correlation_id,
    )
    last = message.receive_count >= max_receives
    return ReadMessage(message, Delivery(order, event.request, stored=stored, last=last))


def _created_at(producers: datetime | None, now: datetime) -> datetime:
    """What the producer says, unless it is further in the future than clocks may differ."""
    return producers if producers and producers - now <= _MAX_CLOCK_SKEW else now
