"""The monitor: the queues as numbers each minute, and one notification where somebody has to look."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from chalice.test import Client

import app as entry
from chalicelib.faults import Rejected, Unavailable
from chalicelib.monitoring import is_due
from chalicelib.repository import Notice
from chalicelib.service import compose
from chalicelib.settings import settings_of
from tests.support.aws_calls import AwsCalls
from tests.support.events import Clock
from tests.support.shop import Shop, opened
from tests.support.stage import REGION, Stage
from tests.support.template import ROOT

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


@pytest.fixture
def shop(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> Iterator[Shop]:
    with opened(aws, aws_calls, clock) as shop:
        yield shop


class Pager:
    """Somebody who has subscribed to the topic."""

    def __init__(self, stage: Stage) -> None:
        self._sqs = stage.sqs
        self._url = stage.sqs.create_queue(QueueName="pager")["QueueUrl"]
        answer = stage.sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        topic = f"arn:aws:sns:{REGION}:123456789012:{stage['ALERTS_TOPIC']}"
        boto3.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=answer["Attributes"]["QueueArn"])

    def told(self) -> list[dict[str, Any]]:
        """The notifications since the last time."""
        found: list[dict[str, Any]] = []
        while messages := self._sqs.receive_message(QueueUrl=self._url, WaitTimeSeconds=0).get("Messages"):
            for message in messages:
                found.append(json.loads(message["Body"]))
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])
        return found


@pytest.fixture
def pager(shop: Shop) -> Pager:
    return Pager(shop.stage)


def watch(shop: Shop) -> None:
    """The schedule fires."""
    client = Client(entry.app, stage_name=shop.stage.name, project_dir=str(ROOT))
    event = client.events.generate_cw_event("aws.events", "Scheduled Event", {}, [])
    client.lambda_.invoke("dead_letter_monitor", event | {"account": "123456789012"})


def bury(shop: Shop, number: int = 1, reason: str = "not JSON", sent_at: datetime = NOW) -> None:
    for n in range(number):
        stamp = str(int(sent_at.timestamp() * 1000))
        shop.service.dead_letters.keep("x", f"m{n}", 1, stamp, reason)


def dig_up(shop: Shop, number: int) -> None:
    with shop.service.dead_letters.holding(30) as held:
        held.remove(list(held.letters(number)))


# --- numbers ---


def test_the_queues_are_numbers(shop: Shop) -> None:
    bury(shop, 2)
    shop.produce("a", "b", "c")
    shop.stage.receive("ORDER_QUEUE", limit=1)
    watch(shop)
    named = ("DeadLetters", "MessagesWaiting", "MessagesInFlight")
    assert {name: shop.metrics[name] for name in named} == dict(zip(named, (2, 2, 1), strict=True))


def test_the_numbers_are_told_of_empty_queues_too(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    watch(shop)
    (line,) = (json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line)
    assert (line["DeadLetters"], line["MessagesWaiting"], line["MessagesInFlight"]) == ([0.0], [0.0], [0.0])


def test_a_dead_letter_that_somebody_looks_at_counts(shop: Shop) -> None:
    bury(shop)
    shop.stage.receive("ORDER_DEAD_LETTERS")
    watch(shop)
    assert shop.metrics["DeadLetters"] == 1


# --- the notification ---


def test_no_dead_letter_no_notification(shop: Shop, pager: Pager) -> None:
    watch(shop)
    assert pager.told() == []
    assert shop.stage.items("IDEMPOTENCY_TABLE") == []


def test_the_notification_says_how_many_why_since_when_and_where_to_look(shop: Shop, pager: Pager) -> None:
    bury(shop, 2, "not JSON", NOW - timedelta(minutes=5))
    bury(shop, 1, "another order of this id stands", NOW - timedelta(hours=3))
    watch(shop)
    (told,) = pager.told()
    assert told["Subject"] == "OrderOnce test: 3 dead letters"
    assert told["Message"].splitlines() == [
        "3 messages could not be handled in stage test.",
        "",
        "Why, of a sample of 3:",
        "  2 x not JSON",
        "  1 x another order of this id stands",
        "",
        "The oldest seen was first sent at 2026-01-15T09:00:00.000Z.",
        "Look at them: python -m ops --stage test dead-letters list",
    ]


def test_the_sample_is_there_to_be_seen_at_once(shop: Shop) -> None:
    bury(shop, 3)
    watch(shop)
    assert len(shop.stage.receive_all("ORDER_DEAD_LETTERS")) == 3


def test_many_reasons_make_no_long_text(shop: Shop, pager: Pager) -> None:
    for n in range(14):
        bury(shop, 1, f"{n}: {'x' * 480}")
    watch(shop)
    (told,) = pager.told()
    assert "  and 4 reasons more" in told["Message"]
    assert len(told["Message"]) < 3000


def test_somebody_is_woken_even_if_nobody_can_say_why(shop: Shop, pager: Pager) -> None:
    bury(shop)
    shop.calls.refuse("AccessDenied", "ReceiveMessage")
    watch(shop)
    (told,) = pager.told()
    assert told["Message"].startswith("1 message could not be handled in stage test.\n\nNone was seen just now.")


# --- once, and again ---


def test_it_is_told_once_not_every_minute(shop: Shop, pager: Pager, clock: Clock) -> None:
    bury(shop)
    for _ in range(5):
        watch(shop)
        clock.advance(minutes=1)
    assert len(pager.told()) == 1


def test_it_is_told_again_when_there_are_more(shop: Shop, pager: Pager) -> None:
    for number in (1, 2, 2):
        bury(shop, number - shop.metrics["MessagesQuarantined"])
        watch(shop)
    assert [told["Subject"] for told in pager.told()] == [
        "OrderOnce test: 1 dead letter",
        "OrderOnce test: 2 dead letters",
    ]


def test_it_is_told_again_when_an_hour_has_passed(shop: Shop, pager: Pager, clock: Clock) -> None:
    bury(shop)
    watch(shop)
    clock.advance(minutes=59, seconds=59)
    watch(shop)
    assert len(pager.told()) == 1
    clock.advance(seconds=1)
    watch(shop)
    watch(shop)
    assert len(pager.told()) == 1


def test_fewer_are_no_news_but_one_more_than_that_is(shop: Shop, pager: Pager) -> None:
    bury(shop, 3)
    watch(shop)
    dig_up(shop, 2)
    watch(shop)
    assert len(pager.told()) == 1
    bury(shop, 1)
    watch(shop)
    assert [told["Subject"] for told in pager.told()] == ["OrderOnce test: 2 dead letters"]


def test_the_first_after_all_were_gone_is_news(shop: Shop, pager: Pager) -> None:
    for _ in range(2):
        bury(shop)
        watch(shop)
        dig_up(shop, 1)
        watch(shop)
    assert len(pager.told()) == 2


def test_what_was_told_survives_a_cold_start(shop: Shop, pager: Pager, monkeypatch: pytest.MonkeyPatch) -> None:
    bury(shop)
    watch(shop)
    fresh = boto3.client("dynamodb"), boto3.client("sqs"), boto3.client("events"), boto3.client("sns")
    service = compose(settings_of(shop.stage.settings), *fresh, clock=shop.clock)
    monkeypatch.setattr(entry, "service", lambda: service)
    watch(shop)
    assert len(pager.told()) == 1


def test_a_notification_that_could_not_be_sent_is_sent_the_next_minute(shop: Shop, pager: Pager) -> None:
    bury(shop)
    shop.calls.refuse("InternalError", "Publish", status=500)
    with pytest.raises(Unavailable):
        watch(shop)
    watch(shop)
    assert len(pager.told()) == 1


def test_one_told_twice_is_better_than_one_never_told(shop: Shop, pager: Pager) -> None:
    bury(shop)
    shop.calls.refuse("InternalServerError", "PutItem", status=500)
    with pytest.raises(Unavailable):
        watch(shop)
    watch(shop)
    watch(shop)
    assert len(pager.told()) == 2


def test_what_is_remembered_never_expires(shop: Shop) -> None:
    bury(shop)
    watch(shop)
    (item,) = shop.stage.items("IDEMPOTENCY_TABLE")
    assert "expiresAt" not in item


@pytest.mark.parametrize(
    ("count", "last", "due"),
    [
        (0, None, False),
        (0, Notice(3, NOW - timedelta(days=1)), False),
        (1, None, True),
        (3, Notice(3, NOW), False),
        (2, Notice(3, NOW), False),
        (4, Notice(3, NOW), True),
        (1, Notice(0, NOW), True),
        (3, Notice(3, NOW - timedelta(hours=1)), True),
        (3, Notice(3, NOW - timedelta(minutes=59)), False),
    ],
)
def test_when_it_is_due(count: int, last: Notice | None, due: bool) -> None:
    assert is_due(count, last, NOW) is due


def test_a_topic_that_is_gone_is_no_silence(shop: Shop) -> None:
    bury(shop)
    shop.calls.refuse("NotFound", "Publish", status=404)
    with pytest.raises(Rejected, match="Publish"):
        watch(shop)
