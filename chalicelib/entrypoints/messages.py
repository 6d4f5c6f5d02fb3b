"""Messages of the order queue: what an SQS record says, as an order to work on."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from chalicelib.domain.idempotency import fingerprint
from chalicelib.domain.payment_key import names_payment_of, payment_key_of_message
from chalicelib.domain.request import Invalid
from chalicelib.entrypoints.validation import order_created
from chalicelib.exact_json import InvalidJson, loads
from chalicelib.service import Service
from chalicelib.settings import MESSAGE_LIFE, Settings
from chalicelib.use_cases.letters import order_id_of
from chalicelib.use_cases.ports import Message
from chalicelib.use_cases.saga import Delivery, Never, ReadMessage, RefusedByOwnSchema

_MAX_CLOCK_SKEW = timedelta(days=1)


def read_records(service: Service, records: Sequence[Mapping[str, Any]]) -> list[ReadMessage]:
    """The records of an SQS event; one that is not JSON, or breaks the schema, can never be handled."""
    now = service.clock()
    return [_read(_message(record), service.settings, now) for record in records]


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


def _read(message: Message, settings: Settings, now: datetime) -> ReadMessage:
    try:
        document = loads(message.body)
    except InvalidJson as fault:
        return ReadMessage(message, Never(str(fault)))
    order_id = order_id_of(document)
    carried, age = _carried_key(message, order_id), _age(message, now)
    try:
        event = order_created(document, settings.currency, is_new=carried is None)
    except Invalid as fault:
        return ReadMessage(message, RefusedByOwnSchema(order_id, str(fault)) if carried else Never(str(fault)))
    if carried is None and age > MESSAGE_LIFE:
        # Its order may have ended and been deleted since: created again, it would be charged again.
        return ReadMessage(message, Never(f"older than {MESSAGE_LIFE.days} days, and without a payment key"))
    # The order as it was when the message was sent: PENDING, if it was stored at all.
    order = event.request.to_order(
        order_id=event.order_id,
        items=event.request.summed_items(),
        created_at=_created_at(event.created_at, now),
        fingerprint=fingerprint(event.request),
        payment_key=carried or payment_key_of_message(event.order_id, message.original_id),
        correlation_id=event.correlation_id,
    )
    last = message.receive_count >= settings.max_receives
    outdated = bool(settings.order_ttl) and age > settings.order_ttl
    return ReadMessage(message, Delivery(order, event.request, carried, last, outdated, message.message_id))


def _carried_key(message: Message, order_id: str) -> str | None:
    """The payment key of one of the service's own messages. A key that is another order's counts as none."""
    key = message.payment_key
    return key if key and names_payment_of(key, order_id) else None


def _age(message: Message, now: datetime) -> timedelta:
    """Since it was sent first; none if that is not known."""
    sent = message.first_sent_at
    return now - datetime.fromtimestamp(sent / 1000, UTC) if sent else timedelta()


def _created_at(producers: datetime | None, now: datetime) -> datetime:
    """What the producer says, unless it is further in the future than clocks may differ."""
    return producers if producers and producers - now <= _MAX_CLOCK_SKEW else now
