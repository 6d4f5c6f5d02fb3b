"""docs/asyncapi.json is not stale, is an AsyncAPI document, and is true: of what is published, sent and received."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from hypothesis import assume, example, given, settings
from jsonschema import Draft7Validator, ValidationError, validators

from chalicelib import exact_json
from chalicelib.domain.events import EVENTS
from chalicelib.domain.request import Invalid
from chalicelib.entrypoints.schema_files import FORMATS, pattern
from chalicelib.entrypoints.validation import order_created
from docs import asyncapi
from tests.docs.test_events import EXAMPLE
from tests.entrypoints.test_acceptance import has_float, spoilt
from tests.support import bus
from tests.support.node import said_by
from tests.support.orders import an_event, sample
from tests.support.shop import Shop
from tests.support.template import ROOT

NODE = ROOT / "tests" / "node"
DOCUMENT = exact_json.loads(asyncapi.DOCUMENT.read_bytes())


def said_by_the_validator(*documents: object) -> list[list[str]]:
    """What AsyncAPI's own parser says about each document: errors, warnings and hints."""
    said = json.loads(said_by(NODE / "validate_asyncapi.cjs", exact_json.dumps(documents)))
    return [[f"{one['code']} at {'/'.join(map(str, one['path']))}" for one in found] for found in said]


def test_the_document_is_not_stale() -> None:
    assert asyncapi.DOCUMENT.read_text("utf-8") == asyncapi.text(), "run `make asyncapi`"


def test_the_validator_finds_nothing_wrong() -> None:
    assert said_by_the_validator(DOCUMENT) == [[]]


def names_no_channel(document: Any) -> None:
    document["operations"]["publishEvents"]["channel"] = {"$ref": "#/channels/nothing"}


def sends_what_its_channel_has_not(document: Any) -> None:
    del document["channels"]["orders"]["messages"]["OwnOrderCreated"]


def has_a_schema_that_is_none(document: Any) -> None:
    document["components"]["schemas"]["OrderEvent"]["type"] = "thing"


def test_the_validator_finds_what_is_wrong() -> None:
    documents = []
    for spoil in (names_no_channel, sends_what_its_channel_has_not, has_a_schema_that_is_none):
        documents.append(exact_json.loads(asyncapi.DOCUMENT.read_bytes()))
        spoil(documents[-1])
    assert [] not in said_by_the_validator(*documents)


def _ecma_pattern(_: Any, expected: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not pattern(expected).search(instance):
        yield ValidationError("does not match")


def _is_integer(_: Any, value: Any) -> bool:
    whole = isinstance(value, Decimal) and value == value.to_integral_value()
    return whole or (isinstance(value, int) and not isinstance(value, bool))


Validator: Any = validators.extend(  # type: ignore[no-untyped-call]
    Draft7Validator,
    {"pattern": _ecma_pattern},
    type_checker=Draft7Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)
FORMAT_CHECKER = Draft7Validator.FORMAT_CHECKER.__class__(formats=())
for _name, _check in FORMATS.items():
    FORMAT_CHECKER.checks(_name)(lambda value, check=_check: not isinstance(value, str) or check(value))


def wrong(message: str, part: str, document: object) -> list[str]:
    """What is wrong with the payload, or the headers, of a message by its name in the document."""
    ref = f"#/components/messages/{message}/{part}"
    checked = Validator({"$ref": ref, "components": DOCUMENT["components"]}, format_checker=FORMAT_CHECKER)
    return [error.message for error in checked.iter_errors(document)]


def test_every_event_that_is_published_is_as_the_document_says(small_shop: Shop) -> None:
    shop = small_shop
    bus.listen(shop.stage)
    delivered, cancelled = (shop.place(shop.order("PROD-001", 1), key).order_id for key in ("k1", "k2"))
    shop.produce(shop.event("failed", "PROD-001", 1_000_000))
    shop.run_queue()
    for verb, order_id in (("ship", delivered), ("deliver", delivered), ("cancel", cancelled)):
        assert shop.ask("POST", f"/orders/{order_id}/{verb}").status == 200
    shop.run_queue()
    events = [*bus.published(shop.stage), EXAMPLE]
    assert {event["detail-type"] for event in events} == set(EVENTS.values()) == set(channel_messages("events"))
    for event in events:
        found = {name: wrong(name, "payload", event) for name in channel_messages("events")}
        assert [name for name in found if not found[name]] == [event["detail-type"]], found


def channel_messages(channel: str) -> list[str]:
    return list(DOCUMENT["channels"][channel]["messages"])


def test_the_services_own_message_is_as_the_document_says(small_shop: Shop) -> None:
    small_shop.place(small_shop.order("PROD-001", 1), "k1")
    (message,) = small_shop.receive()
    headers = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert wrong("OwnOrderCreated", "headers", headers) == []
    assert wrong("OwnOrderCreated", "headers", {}) == ["'paymentKey' is a required property"]
    assert wrong("OwnOrderCreated", "payload", exact_json.loads(message["Body"])) == []


def test_the_sample_of_a_producers_event_and_each_example_fit() -> None:
    assert wrong("OrderCreated", "payload", sample("order_created_event")) == []
    for name, message in DOCUMENT["components"]["messages"].items():
        (example,) = message["examples"]
        assert [wrong(name, part, example[part]) for part in example] == [[]] * len(example)


@given(spoilt())
@example({**an_event("o1"), "shop": 1, "items": [{"productId": "p1", "quantity": 1, "color": "red"}]})
@settings(max_examples=300)
def test_a_message_fits_exactly_if_the_service_reads_it(document: Any) -> None:
    """But for the accepted spellings, which the document has in words, and what no schema says: sums over lines."""
    assume(not has_float(document) and not {"userId", "qty"} & set(exact_json.dumps(document).split('"')))
    assert bool(wrong("OrderCreated", "payload", document)) == bool(refusals(document))


def refusals(document: Any) -> list[str]:
    """Why the service does not read a message, but for units that are too many only in several lines together."""
    try:
        order_created(document, "USD")
    except Invalid as refused:
        return [error.detail for error in refused.errors if "together" not in error.detail]
    return []
