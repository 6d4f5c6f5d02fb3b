"""Dead letters: kept with the reason, looked at without being lost, and replayed without a loss or a second order."""

import json
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from chalice.test import Client
from hypothesis import given
from hypothesis import strategies as st

import app as entry
from chalicelib import times
from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.entrypoints.replays import replay_dead_letters
from chalicelib.faults import Rejected, Unavailable
from chalicelib.use_cases.in_flight import InFlight
from chalicelib.use_cases.letters import UNKNOWN_REASON, DeadLetter, Kind, legible
from chalicelib.use_cases.ports import Message
from tests.support.shop import Shop, killed
from tests.support.template import ROOT


@pytest.fixture
def shop(small_shop: Shop) -> Shop:
    return small_shop


def bury(shop: Shop, *order_ids: str, reason: str = "a conflict that would not end", kind: Kind = Kind.RETRY) -> None:
    """Dead letters of good orders."""
    for order_id in order_ids:
        body = json.dumps(shop.event(order_id), default=float)
        shop.service.dead_letters.keep(Message(f"of-{order_id}", "", body, 6, 1768478400000, {}), kind, reason)


def bury_many(shop: Shop, number: int) -> set[str]:
    order_ids = {f"o{n}" for n in range(number)}
    bury(shop, *order_ids)
    return order_ids


def seen(shop: Shop) -> list[DeadLetter]:
    """All that anybody can see just now; it is still there afterwards."""
    with shop.service.dead_letters.receiving(30) as in_flight:
        return list(in_flight.letters(100))


def ids(letters: Iterable[DeadLetter]) -> set[str]:
    return {letter.order_id for letter in letters}


def invoke(shop: Shop, event: Any) -> set[str]:
    """The Lambda function, as somebody invokes it; the orders that it replayed."""
    client = Client(entry.app, stage_name=shop.stage.name, project_dir=str(ROOT))
    answer = client.lambda_.invoke("replay_dead_letters", event).payload
    assert answer["replayed"] == len(answer["orderIds"])
    return set(answer["orderIds"])


# --- kept ---


def test_a_dead_letter_has_its_reason_and_origin_however_often_it_is_replayed(shop: Shop) -> None:
    shop.produce("not JSON at all")
    for _ in range(2):
        shop.run_queue()
        (letter,) = shop.service.dead_letters.replay_all(100)
        assert (letter.body, letter.order_id, letter.receive_count) == ("not JSON at all", "", 1)
        assert "Expecting value" in letter.reason
        assert abs(datetime.now(UTC) - letter.first_sent_at) < timedelta(minutes=1)


def test_a_message_that_sqs_redrove_is_shown_without_a_known_reason(shop: Shop) -> None:
    shop.produce(shop.event("o1"))
    for _ in range(15):  # somebody takes it and dies, 14 times; the fifteenth receive finds it redriven
        shop.receive()
        shop.come_again()
    (letter,) = seen(shop)
    assert (letter.reason, letter.order_id) == (UNKNOWN_REASON, "o1")
    assert abs(datetime.now(UTC) - letter.first_sent_at) < timedelta(minutes=1)


@pytest.mark.parametrize("nonsense", ["", "²", "-1", "soon", "9" * 30])
def test_attributes_that_somebody_else_made_up_break_nothing(nonsense: str) -> None:
    own = dict.fromkeys(("reason", "orderId", "receiveCount", "firstSentAt"), nonsense)
    letter = DeadLetter.from_message(Message("m1", "r1", '{"orderId": "o1"}', 3, 1_768_478_400_000, own))
    assert (letter.receive_count, letter.first_sent_at) == (3, datetime(2026, 1, 15, 12, tzinfo=UTC))
    assert (letter.reason, letter.order_id) == ((nonsense, nonsense) if nonsense else (UNKNOWN_REASON, "o1"))


def test_a_message_too_large_for_its_reason_is_left_to_sqs_and_the_log_has_the_reason(shop: Shop) -> None:
    shop.calls.refuse("InvalidParameterValue", "SendMessage", times=None)
    shop.produce("x" * 1000)
    assert shop.run_queue() == 1
    assert (seen(shop), shop.hidden()) == ([], 1)
    assert any("message not quarantined" in line and "Expecting value" in line for line in shop.lines)


@given(st.text(st.characters()), st.integers(0, 100))
def test_a_reason_is_made_fit_for_sqs(text: str, repeated: int) -> None:
    made = legible(text * repeated)
    assert made.isprintable()
    assert len(made) == min(len(text) * repeated, 500)
    assert all(now in (before, "?") for now, before in zip(made, text * repeated, strict=False))
    assert made == (text * repeated)[:500] or not text.isprintable()


# --- looked at ---


def test_what_was_looked_at_is_there_for_the_next_one_at_once(shop: Shop) -> None:
    bury_many(shop, 25)
    with shop.service.dead_letters.receiving(30) as in_flight:
        assert len(list(in_flight.letters(3))) == 3
        assert len(seen(shop)) == 15  # ten are in flight
    assert len(seen(shop)) == 25


def test_one_that_comes_again_is_met_once_and_its_newest_receipt_counts(shop: Shop) -> None:
    bury(shop, "o1", "o2")
    with shop.service.dead_letters.receiving(0) as in_flight:  # hidden for no time at all
        letters = list(in_flight.letters(100))
        assert sorted(letter.order_id for letter in letters) == ["o1", "o2"]
        in_flight.remove(letters)
    assert seen(shop) == []


def test_an_empty_answer_now_and_then_hides_nothing(shop: Shop) -> None:
    """SQS asks only some of its servers."""
    bury_many(shop, 25)
    receive, calls = shop.service.dead_letters.queue.receive, count(1)
    scattered: Any = SimpleNamespace(receive=lambda seconds: [] if next(calls) % 3 else receive(seconds))
    assert len(list(InFlight(scattered, 30).letters(100))) == 25


def test_a_release_that_fails_costs_only_time(shop: Shop) -> None:
    bury(shop, "o1", "o2")
    shop.calls.refuse("InternalError", "ChangeMessageVisibilityBatch", status=500)
    replayed = shop.service.dead_letters.replay_all(100, lambda letter: letter.order_id == "o1")
    assert ids(replayed) == {"o1"}
    assert any("dead letters not released" in line for line in shop.lines)


# --- replayed ---


@pytest.mark.parametrize(
    ("operation", "dies", "sent"),
    [("SendMessage", "kill_before", 0), ("SendMessage", "kill_after", 1), ("DeleteMessageBatch", "kill_before", 1)],
)
def test_a_crash_while_replaying_leaves_a_duplicate_at_most_and_never_a_loss(
    shop: Shop, operation: str, dies: str, sent: int
) -> None:
    bury(shop, "o1")
    getattr(shop.calls, dies)(operation)
    assert killed(lambda: shop.service.dead_letters.replay_all(100, visibility_timeout=0))
    shop.calls.revive()
    assert (len(shop.messages()), ids(seen(shop))) == (sent, {"o1"})
    assert ids(shop.service.dead_letters.replay_all(100)) == {"o1"}
    assert shop.run_queue() == 0
    assert (shop.stored("o1")["status"], shop.stock(), seen(shop)) == ("CONFIRMED", 499, [])
    assert shop.metrics["MessagesReplayed"] == 1


def test_a_delete_that_fails_leaves_the_letter_to_be_seen_at_once(shop: Shop) -> None:
    bury(shop, "o1")
    shop.calls.refuse("InternalError", "DeleteMessageBatch", status=500)
    with pytest.raises(Unavailable):
        shop.service.dead_letters.replay_all(100)
    assert ids(seen(shop)) == {"o1"}


def test_one_is_found_behind_many_that_are_not_wanted_and_those_are_handed_back_at_once(shop: Shop) -> None:
    others = bury_many(shop, 35)
    bury(shop, "wanted", reason="out of order")
    replayed = shop.service.dead_letters.replay_all(1, lambda letter: "order" in letter.reason)
    assert (ids(replayed), ids(seen(shop))) == ({"wanted"}, others)


def test_no_more_than_the_limit_and_the_others_are_there_at_once(shop: Shop) -> None:
    bury_many(shop, 12)
    assert len(shop.service.dead_letters.replay_all(3)) == 3
    assert (len(seen(shop)), len(shop.messages())) == (9, 3)


@pytest.mark.parametrize("code", ["InvalidMessageContents", "InvalidParameterValue"])
def test_a_message_that_sqs_refuses_stays_and_stops_no_other(shop: Shop, code: str) -> None:
    bury(shop, "o1", "o2", "o3")
    shop.calls.refuse(code, "SendMessage", when=lambda call: "o2" in call.params["MessageBody"])
    assert ids(shop.service.dead_letters.replay_all(100)) == {"o1", "o3"}
    assert ids(seen(shop)) == {"o2"}
    assert any("message not replayed" in line for line in shop.lines)


def test_a_queue_that_may_not_be_sent_to_stops_the_replay(shop: Shop) -> None:
    bury(shop, "o1", "o2")
    shop.calls.forget()
    shop.calls.refuse("AccessDenied", "SendMessage", times=None)
    with pytest.raises(Rejected, match="AccessDenied"):
        shop.service.dead_letters.replay_all(100)
    assert len(shop.calls.of("SendMessage")) == 1
    assert ids(seen(shop)) == {"o1", "o2"}


# --- replayed automatically ---


def kept_for(shop: Shop, age: timedelta) -> None:
    """The clock says that so much time has passed since now."""
    shop.clock.now = datetime.now(UTC) + age


@given(
    st.sampled_from(Kind),
    st.integers(0, 12),
    st.integers(0, 2**32).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
)
def test_when_a_letter_is_replayed_follows_from_its_kind_and_its_replays(
    kind: Kind, replays: int, sent_at: datetime
) -> None:
    own = {"kind": kind.value, "replays": str(replays)}
    letter = DeadLetter.from_message(Message("m1", "r1", "x", 14, int(sent_at.timestamp() * 1000), own))
    if kind is Kind.NEVER or (kind is Kind.UNKNOWN and replays >= 3):
        assert letter.next_replay_at is None
    else:
        assert letter.next_replay_at == sent_at + min(timedelta(minutes=15) * 2**replays, timedelta(hours=16))


def test_letters_that_need_no_person_are_replayed_every_quarter_of_an_hour_once_they_are_due(shop: Shop) -> None:
    bury(shop, "o1", kind=Kind.RETRY)
    bury(shop, "o2", kind=Kind.NEVER)
    kept_for(shop, timedelta(minutes=14))
    assert shop.service.dead_letters.replay_due(NO_DEADLINE) == 0
    shop.clock.now = (shop.clock.now + timedelta(hours=1)).replace(minute=59)
    shop.recover()
    assert (shop.messages(), ids(seen(shop))) == ([], {"o1", "o2"})
    shop.clock.advance(minutes=1)
    shop.recover()
    (message,) = shop.messages()
    attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
    assert (attributes["replays"], attributes["firstSentAt"]) == ("1", "1768478400000")
    assert (ids(seen(shop)), shop.metrics["MessagesReplayed"]) == ({"o2"}, 1)


def test_replays_are_counted_through_the_consumer_and_through_sqs(shop: Shop) -> None:
    bury(shop, "o1", kind=Kind.RETRY)
    shop.service.dead_letters.replay_all(1)
    shop.calls.drop_request("TransactWriteItems", times=None, attempts=None)
    shop.calls.drop_request("PutItem", times=None, attempts=None)
    (message,) = shop.receive()
    message["Attributes"]["ApproximateReceiveCount"] = "14"
    assert shop.consume([message]), "kept by the consumer"
    (letter,) = seen(shop)
    assert (letter.kind, letter.replays, letter.first_sent_at) == (Kind.RETRY, 1, datetime(2026, 1, 15, 12, tzinfo=UTC))
    shop.service.dead_letters.replay_all(1)
    for _ in range(15):
        shop.receive()
        shop.come_again()
    (letter,) = seen(shop)
    assert (letter.kind, letter.replays) == (Kind.UNKNOWN, 2)


def test_at_most_a_hundred_are_replayed_at_a_time_and_none_when_there_is_no_time(shop: Shop) -> None:
    bury_many(shop, 101)
    kept_for(shop, timedelta(days=1))
    assert shop.service.dead_letters.replay_due(Deadline(lambda: 3.9)) == 0
    assert shop.service.dead_letters.replay_due(NO_DEADLINE) == 100
    assert len(seen(shop)) == 1


def test_the_automatic_replay_hides_what_it_looks_at_from_operators_for_20_seconds_at_most(shop: Shop) -> None:
    """One that a person asks for, for a minute: it may go through a thousand."""
    bury(shop, "o1", kind=Kind.NEVER)
    letters = shop.service.dead_letters
    for seconds in (20, 60):
        shop.calls.forget()
        assert not (letters.replay_due(NO_DEADLINE) if seconds == 20 else letters.replay_all(1, lambda _: False))
        assert {call.params["VisibilityTimeout"] for call in shop.calls.of("ReceiveMessage")} == {seconds}
        assert ids(seen(shop)) == {"o1"}


def test_a_letter_is_due_from_its_time_on(shop: Shop) -> None:
    bury(shop, "o1")
    (letter,) = seen(shop)
    assert letter.next_replay_at
    shop.clock.now = letter.next_replay_at - timedelta(milliseconds=1)
    assert shop.service.dead_letters.replay_due(NO_DEADLINE) == 0
    shop.clock.advance(milliseconds=1)
    assert shop.service.dead_letters.replay_due(NO_DEADLINE) == 1


def test_after_an_outage_longer_than_all_receives_no_person_is_needed(shop: Shop) -> None:
    """Of an order that is not stored yet nobody knows but its message."""
    shop.produce(shop.event("o1"))
    for operation in ("PutItem", "TransactWriteItems", "UpdateItem"):
        shop.calls.drop_request(operation, times=None, attempts=None)
    (message,) = shop.receive()
    message["Attributes"]["ApproximateReceiveCount"] = "14"
    assert shop.consume([message])
    assert (shop.orders(), ids(seen(shop))) == ([], {"o1"})
    shop.calls.heal()
    kept_for(shop, timedelta(hours=2))
    shop.clock.now = shop.clock.now.replace(minute=0)
    shop.recover()
    assert shop.run_queue() == 0
    assert (shop.status("o1"), seen(shop)) == ("CONFIRMED", [])


def test_a_slow_clock_hides_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    bury(shop, "o1")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    monkeypatch.setattr(sys.modules["moto.sqs.models"], "unix_time_millis", lambda: real() * 1000)
    assert ids(shop.service.dead_letters.replay_all(100)) == {"o1"}


# --- purged ---


def test_a_letter_is_purged_once_its_order_has_an_entry_or_does_not_exist(shop: Shop) -> None:
    for order_id in ("ended", "unreadable", "unwritable"):
        shop.produce(shop.event(order_id))
    shop.run_queue()
    shop.change_stored("unreadable", status="RETURNED")
    shop.calls.refuse("ThrottlingException", "UpdateItem", times=None, when=lambda call: "unwr" in repr(call.params))
    bury(shop, "ended", "unreadable", "unwritable", "gone")
    shop.service.dead_letters.keep(Message("m1", "", "no order's", 6, 0, {}), Kind.NEVER, "why")
    before = [shop.stored(order_id) for order_id in ("unreadable", "unwritable")]
    with shop.service.dead_letters.receiving(30) as in_flight:
        letters = list(in_flight.letters(100))
        purged = shop.service.dead_letters.purge(in_flight, letters)
    assert ids(letters) == {"ended", "unreadable", "unwritable", "gone", ""}
    assert ids(purged) == {"ended", "gone", ""}
    assert ids(seen(shop)) == {"unreadable", "unwritable"}
    assert shop.stored("ended")["outboxDueAt"] == times.to_text(shop.clock.now + timedelta(seconds=60))
    assert [shop.stored(order_id) for order_id in ("unreadable", "unwritable")] == before
    assert {order["orderId"] for order in shop.orders()} == {"ended", "unreadable", "unwritable"}


# --- the Lambda function ---


def test_the_function_replays_what_it_is_asked_for(shop: Shop) -> None:
    bury(shop, "o1", "o2", "o3", "o4")
    bury(shop, "o5", reason="out of order")
    assert invoke(shop, {"reason": "conflict", "orderId": "o1"}) == {"o1"}
    assert invoke(shop, {"reason": "out of"}) == {"o5"}
    first = invoke(shop, {"limit": 1})
    assert len(first) == 1
    assert invoke(shop, {}) == {"o2", "o3", "o4"} - first
    assert invoke(shop, {}) == set()
    shop.run_queue()
    assert shop.statuses() == {"CONFIRMED": 5}


@pytest.mark.parametrize(
    ("event", "named"),
    [
        (None, "the event must be an object, not NoneType"),
        ([], "the event must be an object, not list"),
        ({"limt": 1, "b": 2}, "unknown fields: b, limt; "),
        *(({"limit": limit}, "limit must be ") for limit in (0, 101, True, "3", None, 2.0)),
        ({"reason": 3}, "reason must be "),
        ({"reason": ""}, "reason must be "),
        ({"orderId": ["o1"]}, "orderId must be "),
    ],
)
def test_an_invalid_event_is_refused_by_name_and_no_queue_is_touched(event: Any, named: str) -> None:
    no_service: Any = None
    with pytest.raises(ValueError, match=f"^{named}"):
        replay_dead_letters(no_service, event)
