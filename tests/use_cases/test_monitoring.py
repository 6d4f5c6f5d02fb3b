"""The monitor: the queues as numbers each minute, and one notification where somebody has to look."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from chalice.test import Client

import app as entry
from chalicelib.adapters import clients
from chalicelib.faults import Rejected, Unavailable
from chalicelib.service import compose
from chalicelib.settings import Settings
from chalicelib.use_cases.letters import Kind
from chalicelib.use_cases.monitoring import is_due
from chalicelib.use_cases.ports import LastAlert, Message
from tests.support.bus import take
from tests.support.events import Clock
from tests.support.shop import Shop
from tests.support.stage import REGION
from tests.support.template import ROOT

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
ACCOUNT = "123456789012"


@pytest.fixture
def shop(small_shop: Shop) -> Shop:
    return small_shop


Notifications = Callable[[], list[dict[str, str]]]


@pytest.fixture
def notifications(shop: Shop) -> Notifications:
    """What somebody who has subscribed to the topic was sent since the last time."""
    sqs = shop.stage.sqs
    url = sqs.create_queue(QueueName="subscriber")["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:{shop.stage['ALERTS_TOPIC']}"
    boto3.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    return lambda: [json.loads(body) for body in take(shop.stage, "subscriber")]


def watch(shop: Shop) -> None:
    """The schedule fires."""
    client = Client(entry.app, stage_name=shop.stage.name, project_dir=str(ROOT))
    event = client.events.generate_cw_event("aws.events", "Scheduled Event", {}, [])
    client.lambda_.invoke("dead_letter_monitor", event | {"account": ACCOUNT})


def bury(
    shop: Shop, number: int = 1, reason: str = "not JSON", sent_at: datetime = NOW, kind: Kind = Kind.NEVER
) -> None:
    for n in range(number):
        message = Message(f"m{n}", "", "x", 1, int(sent_at.timestamp() * 1000), {})
        shop.service.dead_letters.keep(message, kind, reason)


def set_dead_letters(shop: Shop, number: int) -> None:
    """There are so many dead letters now."""
    with shop.service.dead_letters.receiving(30) as in_flight:
        letters = list(in_flight.letters(100))
        in_flight.remove(letters[number:])
    bury(shop, number - len(letters))


# --- numbers ---


def test_the_queues_are_numbers_and_messages_in_flight_count(shop: Shop) -> None:
    bury(shop, 2)
    shop.produce("a", "b", "c")
    for queue in ("ORDER_QUEUE", "ORDER_DEAD_LETTERS"):
        shop.stage.receive(queue, limit=1)
    watch(shop)
    numbers = [shop.metrics[name] for name in ("DeadLetters", "MessagesWaiting", "MessagesInFlight")]
    assert numbers == [2, 2, 1]


def test_empty_queues_are_numbers_too_and_notify_nobody(
    shop: Shop, notifications: Notifications, capsys: pytest.CaptureFixture[str]
) -> None:
    watch(shop)
    (line,) = (json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line)
    assert (line["DeadLetters"], line["MessagesWaiting"], line["MessagesInFlight"]) == ([0.0], [0.0], [0.0])
    assert (notifications(), shop.stage.items("IDEMPOTENCY_TABLE")) == ([], [])


# --- the notification ---


def test_the_notification_says_how_many_why_since_when_and_where_to_look(
    shop: Shop, notifications: Notifications
) -> None:
    bury(shop, 2, "not JSON", NOW - timedelta(minutes=5))
    bury(shop, 1, "an order with this id and different contents exists", NOW - timedelta(hours=3), Kind.RETRY)
    watch(shop)
    (notification,) = notifications()
    assert notification["Subject"] == "OrderOnce test: 3 dead letters"
    assert notification["Message"].splitlines() == [
        "3 messages could not be handled in stage test.",
        "",
        "Of a sample of 3, 2 wait for you, and 1 are replayed automatically.",
        "Why:",
        "  2 x not JSON",
        "  1 x an order with this id and different contents exists",
        "",
        "The oldest seen was first sent at 2026-01-15T09:00:00.000Z.",
        "Look at them: python -m ops --stage test dead-letters list",
    ]
    assert len(shop.stage.receive_all("ORDER_DEAD_LETTERS")) == 3, "the sample is visible again at once"


def test_many_reasons_do_not_make_a_long_text(shop: Shop, notifications: Notifications) -> None:
    for n in range(14):
        bury(shop, 1, f"{n}: {'x' * 480}")
    watch(shop)
    (notification,) = notifications()
    assert "  and 4 more reasons" in notification["Message"]
    assert len(notification["Message"]) < 3000


def test_somebody_is_notified_even_if_the_reasons_cannot_be_read(shop: Shop, notifications: Notifications) -> None:
    bury(shop)
    shop.calls.refuse("AccessDenied", "ReceiveMessage")
    watch(shop)
    (notification,) = notifications()
    assert notification["Message"].splitlines() == [
        "1 message could not be handled in stage test.",
        "",
        "None was seen just now.",
        "",
        "Look at them: python -m ops --stage test dead-letters list",
    ]


# --- once, and again ---


@pytest.mark.parametrize(
    ("count", "last", "due"),
    [
        (0, None, False),
        (0, LastAlert(3, NOW - timedelta(days=1)), False),
        (1, None, True),
        (3, LastAlert(3, NOW), False),
        (2, LastAlert(3, NOW), False),
        (4, LastAlert(3, NOW), True),
        (1, LastAlert(0, NOW), True),
        (3, LastAlert(3, NOW - timedelta(hours=1)), True),
        (3, LastAlert(3, NOW - timedelta(minutes=59, seconds=59)), False),
    ],
)
def test_a_notification_is_due_for_the_first_for_more_and_after_an_hour(
    count: int, last: LastAlert | None, due: bool
) -> None:
    assert is_due(count, last, NOW) is due


@pytest.mark.parametrize(
    ("minutes", "counts", "notified"),
    [
        (1, [1, 1, 1], ["1 dead letter"]),
        (0, [1, 2, 2], ["1 dead letter", "2 dead letters"]),
        (0, [3, 1, 2], ["3 dead letters", "2 dead letters"]),
        (0, [1, 0, 1, 0], ["1 dead letter", "1 dead letter"]),
        (20, [3, 1, 1, 1], ["3 dead letters", "1 dead letter"]),
    ],
    ids=["the same", "more", "fewer, then more", "none, then one", "an hour after the last notification"],
)
def test_the_last_notification_and_how_many_there_were_since_are_remembered(
    shop: Shop, notifications: Notifications, clock: Clock, minutes: int, counts: list[int], notified: list[str]
) -> None:
    for count in counts:
        set_dead_letters(shop, count)
        watch(shop)
        clock.advance(minutes=minutes)
    assert [each["Subject"] for each in notifications()] == [f"OrderOnce test: {subject}" for subject in notified]


def test_it_is_remembered_for_good_and_by_every_process(shop: Shop, notifications: Notifications) -> None:
    bury(shop)
    watch(shop)
    (item,) = shop.stage.items("IDEMPOTENCY_TABLE")
    assert "expiresAt" not in item
    aws = clients.dynamodb(), clients.sqs(), clients.events(), clients.sns()
    compose(Settings.from_environment(shop.stage.settings), *aws, clock=shop.clock).monitor.watch(ACCOUNT)
    assert len(notifications()) == 1


@pytest.mark.parametrize(
    ("operation", "code", "status", "fault", "notified"),
    [
        ("Publish", "InternalError", 500, Unavailable, 1),
        ("Publish", "NotFound", 404, Rejected, 1),
        ("PutItem", "InternalServerError", 500, Unavailable, 2),
    ],
)
def test_a_fault_is_raised_and_may_cause_a_second_notification_but_never_none(
    shop: Shop, notifications: Notifications, operation: str, code: str, status: int, fault: type, notified: int
) -> None:
    bury(shop)
    shop.calls.refuse(code, operation, status=status)
    with pytest.raises(fault, match=operation):
        watch(shop)
    watch(shop)
    watch(shop)
    assert len(notifications()) == notified
