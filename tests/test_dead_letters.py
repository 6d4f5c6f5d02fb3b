"""Dead letters: kept with the reason, looked at without being lost, and replayed without a loss or a second order."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from chalice.test import Client

import app as entry
from chalicelib.dead_letters import MOST_REPLAYED
from chalicelib.faults import Rejected, Unavailable
from chalicelib.held import UNKNOWN_REASON, DeadLetter, Held, dead_letter_of
from chalicelib.queues import Received
from tests.support.aws_calls import AwsCalls
from tests.support.events import Clock, FakeLambdaContext
from tests.support.shop import Shop, killed, opened
from tests.support.stage import Stage
from tests.support.template import ROOT


@pytest.fixture
def shop(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> Iterator[Shop]:
    with opened(aws, aws_calls, clock) as shop:
        yield shop


def bury(shop: Shop, *order_ids: str, reason: str = "a conflict that would not end", **fields: Any) -> None:
    """Dead letters of good orders."""
    for order_id in order_ids:
        body = json.dumps(shop.event(order_id, **fields), default=float)
        shop.service.dead_letters.keep(body, f"of-{order_id}", 6, "1768478400000", reason)
    shop.calls.forget()


def seen(shop: Shop) -> list[DeadLetter]:
    """All that anybody can see just now; still there afterwards."""
    with shop.service.dead_letters.holding(30) as held:
        return list(held.letters(100))


def ids(letters: list[DeadLetter]) -> set[str]:
    return {letter.order_id for letter in letters}


def invoke(shop: Shop, event: Any) -> Any:
    """The Lambda function, as somebody invokes it."""
    client = Client(entry.app, stage_name=shop.stage.name, project_dir=str(ROOT))
    return client.lambda_.invoke("replay_dead_letters", event).payload


# --- kept ---


def test_a_dead_letter_says_why_and_whence(shop: Shop) -> None:
    shop.produce("not JSON at all")
    shop.run_queue()
    (letter,) = seen(shop)
    assert (letter.body, letter.order_id, letter.receive_count) == ("not JSON at all", "", 1)
    assert "Expecting value" in letter.reason
    assert abs((datetime.now(UTC) - letter.first_sent_at).total_seconds()) < 60


def test_a_message_that_sqs_redrove_is_shown_with_the_reason_that_there_is_none(shop: Shop) -> None:
    shop.produce(shop.event("o1"))
    for _ in range(7):  # somebody takes it and dies, six times; the seventh receive finds it redriven
        shop.receive()
        shop.come_again()
    (letter,) = seen(shop)
    assert (letter.reason, letter.order_id) == (UNKNOWN_REASON, "o1")
    assert abs((datetime.now(UTC) - letter.first_sent_at).total_seconds()) < 60


@pytest.mark.parametrize("nonsense", ["", "²", "-1", "soon", "9" * 30])
def test_attributes_that_somebody_else_made_up_break_nothing(nonsense: str) -> None:
    own = dict.fromkeys(("reason", "orderId", "receiveCount", "firstSentAt"), nonsense)
    letter = dead_letter_of(Received("m1", "r1", '{"orderId": "o1"}', 3, 1_768_478_400_000, own))
    assert (letter.receive_count, letter.first_sent_at) == (3, datetime(2026, 1, 15, 12, tzinfo=UTC))
    assert (letter.reason, letter.order_id) == ((nonsense, nonsense) if nonsense else (UNKNOWN_REASON, "o1"))


def test_a_message_too_large_for_its_reason_is_left_to_sqs_and_the_log_says_why(shop: Shop) -> None:
    shop.calls.refuse("InvalidParameterValue", "SendMessage", times=None)
    shop.produce("x" * 1000)
    assert shop.run_queue() == 1
    assert (seen(shop), shop.hidden()) == ([], 1)
    assert any("message not quarantined" in line and "Expecting value" in line for line in shop.lines)


@pytest.mark.parametrize("text", ["a\x00b", "a\x1b[2Jb", "a\ud800b", "a\nb"])
def test_a_reason_is_made_fit_for_sqs(shop: Shop, text: str) -> None:
    shop.service.dead_letters.keep("body", "m1", 1, "1768478400000", text)
    (letter,) = seen(shop)
    assert letter.reason.startswith("a?")
    assert letter.reason.isprintable()


# --- looked at ---


def test_what_was_looked_at_is_there_for_the_next_one_at_once(shop: Shop) -> None:
    bury(shop, *(f"o{n}" for n in range(25)))
    with shop.service.dead_letters.holding(30) as held:
        assert len(list(held.letters(3))) == 3
        assert len(seen(shop)) == 15  # ten are held
    assert len(seen(shop)) == 25


def test_they_are_handed_back_when_the_look_fails(shop: Shop) -> None:
    bury(shop, *(f"o{n}" for n in range(15)))
    shop.calls.refuse("InternalError", "ReceiveMessage", nth=2, status=500)
    with pytest.raises(Unavailable), shop.service.dead_letters.holding(30) as held:
        list(held.letters(100))
    assert len(seen(shop)) == 15


def test_one_that_comes_again_is_met_once_and_its_newest_receipt_counts(shop: Shop) -> None:
    bury(shop, "o1", "o2")
    with shop.service.dead_letters.holding(0) as held:  # hidden for no time at all
        letters = list(held.letters(100))
        assert ids(letters) == {"o1", "o2"}
        held.remove(letters)
    assert seen(shop) == []


def test_an_empty_answer_now_and_then_hides_nothing(shop: Shop) -> None:
    bury(shop, *(f"o{n}" for n in range(25)))
    queue = shop.service.dead_letters.queue
    receive, calls = queue.receive, iter(range(100))

    class Scattered:
        """SQS asks only some of its servers."""

        def receive(self, hidden_for: int) -> list[Received]:
            return receive(hidden_for) if next(calls) % 3 == 2 else []

    scattered: Any = Scattered()
    assert len(list(Held(scattered, 30).letters(100))) == 25


def test_a_hand_back_that_fails_costs_only_time(shop: Shop) -> None:
    bury(shop, "o1", "o2")
    shop.calls.refuse("InternalError", "ChangeMessageVisibilityBatch", status=500)
    replayed = shop.service.dead_letters.replay_all(100, lambda letter: letter.order_id == "o1")
    assert ids(replayed) == {"o1"}
    assert any("dead letters not handed back" in line for line in shop.lines)


# --- replayed ---


def test_a_replayed_order_is_fulfilled_and_its_letter_gone(shop: Shop) -> None:
    bury(shop, "o1")
    assert ids(shop.service.dead_letters.replay_all(100)) == {"o1"}
    assert shop.run_queue() == 0
    assert (shop.stored("o1")["status"], shop.stock(), seen(shop)) == ("CONFIRMED", 499, [])
    assert shop.metrics["MessagesReplayed"] == 1


def test_each_is_sent_before_it_is_deleted(shop: Shop) -> None:
    bury(shop, "o1", "o2")
    shop.service.dead_letters.replay_all(100)
    changes = [o for o in shop.calls.operations() if o in ("SendMessage", "DeleteMessageBatch")]
    assert changes == ["SendMessage", "DeleteMessageBatch"] * 2


@pytest.mark.parametrize("dies", ["kill_after", "kill_before"])
def test_a_crash_between_sending_and_deleting_leaves_a_duplicate_never_a_loss(shop: Shop, dies: str) -> None:
    bury(shop, "o1")
    getattr(shop.calls, dies)("SendMessage" if dies == "kill_after" else "DeleteMessageBatch")
    assert killed(lambda: shop.service.dead_letters.replay_all(100, hidden_for=0))
    shop.calls.revive()
    assert len(shop.messages()) == 1  # sent
    assert ids(seen(shop)) == {"o1"}  # and still here
    assert len(shop.service.dead_letters.replay_all(100)) == 1
    assert shop.run_queue() == 0
    assert (shop.stored("o1")["status"], shop.stock(), seen(shop)) == ("CONFIRMED", 499, [])


def test_a_crash_before_sending_leaves_all_as_it_was(shop: Shop) -> None:
    bury(shop, "o1")
    shop.calls.kill_before("SendMessage")
    assert killed(lambda: shop.service.dead_letters.replay_all(100, hidden_for=0))
    shop.calls.revive()
    assert (shop.messages(), ids(seen(shop))) == ([], {"o1"})


def test_a_delete_that_fails_leaves_the_letter_to_be_seen_at_once(shop: Shop) -> None:
    bury(shop, "o1")
    shop.calls.refuse("InternalError", "DeleteMessageBatch", status=500)
    with pytest.raises(Unavailable):
        shop.service.dead_letters.replay_all(100)
    assert ids(seen(shop)) == {"o1"}


def test_an_order_that_was_done_long_ago_is_found_done(shop: Shop) -> None:
    shop.produce(shop.event("o1"))
    shop.run_queue()
    before = shop.stored("o1")
    bury(shop, "o1")
    shop.service.dead_letters.replay_all(100)
    assert shop.run_queue() == 0
    assert (shop.stored("o1"), shop.stock()) == (before, 499)


def test_one_that_is_still_bad_comes_back_with_its_reason(shop: Shop) -> None:
    shop.produce("poison")
    shop.run_queue()
    assert len(shop.service.dead_letters.replay_all(100)) == 1
    assert shop.run_queue() == 0
    (letter,) = seen(shop)
    assert "Expecting value" in letter.reason


def test_those_that_are_not_wanted_are_handed_back_at_once(shop: Shop) -> None:
    bury(shop, "o1", "o2", reason="out of order")
    bury(shop, "o3")
    replayed = shop.service.dead_letters.replay_all(100, lambda letter: "conflict" in letter.reason)
    assert (ids(replayed), ids(seen(shop))) == ({"o3"}, {"o1", "o2"})


def test_no_more_than_the_limit_and_the_others_are_there_at_once(shop: Shop) -> None:
    bury(shop, *(f"o{n}" for n in range(12)))
    assert len(shop.service.dead_letters.replay_all(3)) == 3
    assert (len(seen(shop)), len(shop.messages())) == (9, 3)


def test_one_order_is_found_behind_many_others(shop: Shop) -> None:
    bury(shop, *(f"o{n}" for n in range(35)), "wanted")
    replayed = shop.service.dead_letters.replay_all(1, lambda letter: letter.order_id == "wanted")
    assert ids(replayed) == {"wanted"}


@pytest.mark.parametrize("code", ["InvalidMessageContents", "InvalidParameterValue"])
def test_a_message_that_sqs_refuses_stays_and_stops_no_other(shop: Shop, code: str) -> None:
    bury(shop, "o1", "o2", "o3")
    shop.calls.refuse(code, "SendMessage", when=lambda call: "o2" in call.params["MessageBody"])
    assert ids(shop.service.dead_letters.replay_all(100)) == {"o1", "o3"}
    assert ids(seen(shop)) == {"o2"}
    assert any("message not replayed" in line for line in shop.lines)


def test_a_queue_that_may_not_be_sent_to_stops_the_replay(shop: Shop) -> None:
    bury(shop, "o1", "o2")
    shop.calls.refuse("AccessDenied", "SendMessage", times=None)
    with pytest.raises(Rejected, match="AccessDenied"):
        shop.service.dead_letters.replay_all(100)
    assert len(shop.calls.of("SendMessage")) == 1
    assert ids(seen(shop)) == {"o1", "o2"}


# --- the Lambda function ---


def test_the_function_replays_what_it_is_asked_for(shop: Shop) -> None:
    bury(shop, "o1", "o2")
    bury(shop, "o3", reason="out of order")
    assert invoke(shop, {"reason": "conflict", "orderId": "o1"}) == {"replayed": 1, "orderIds": ["o1"]}
    assert invoke(shop, {"reason": "out of"}) == {"replayed": 1, "orderIds": ["o3"]}
    assert invoke(shop, {"limit": 10}) == {"replayed": 1, "orderIds": ["o2"]}
    assert invoke(shop, {}) == {"replayed": 0, "orderIds": []}
    shop.run_queue()
    assert shop.statuses() == {"CONFIRMED": 3}


def test_the_function_replays_no_more_than_a_hundred(shop: Shop) -> None:
    bury(shop, *(f"o{n}" for n in range(MOST_REPLAYED + 2)))
    assert invoke(shop, {})["replayed"] == MOST_REPLAYED
    assert len(seen(shop)) == 2


@pytest.mark.parametrize(
    ("event", "named"),
    [
        (None, "must be an object"),
        ([], "must be an object"),
        ({"limt": 1}, "limt"),
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": "3"}, "limit"),
        ({"limit": None}, "limit"),
        ({"limit": 2.0}, "limit"),
        ({"reason": 3}, "reason"),
        ({"reason": ""}, "reason"),
        ({"orderId": ["o1"]}, "orderId"),
    ],
)
def test_an_event_that_makes_no_sense_is_refused_by_name_and_nothing_is_replayed(
    shop: Shop, event: Any, named: str
) -> None:
    bury(shop, "o1")
    with pytest.raises(ValueError, match=named):
        entry.replay_dead_letters(event, FakeLambdaContext())
    assert (shop.messages(), len(seen(shop))) == ([], 1)
