"""`dead-letters list`, `show` and `replay`."""

import os
import signal
from datetime import UTC, datetime, timedelta

import pytest

from chalicelib import exact_json, times
from chalicelib.use_cases.letters import UNKNOWN_REASON, DeadLetter, Kind
from chalicelib.use_cases.ports import Message
from tests.ops.conftest import Operator, audit_of
from tests.support.shop import Shop

LONG_AGO = datetime.now(UTC) - timedelta(days=3)


def bury(
    shop: Shop,
    *order_ids: str,
    reason: str = "not known",
    sent_at: datetime | None = None,
    kind: Kind = Kind.RETRY,
    replays: int = 0,
) -> None:
    """A dead letter for each of these orders."""
    sent = int((sent_at or datetime.now(UTC)).timestamp() * 1000)
    for order_id in order_ids:
        body = exact_json.dumps(shop.event(order_id))
        shop.service.dead_letters.keep(
            Message(f"of-{order_id}", "", body, 6, sent, {"replays": str(replays)}), kind, reason
        )


def seen(shop: Shop) -> dict[str, DeadLetter]:
    """What is visible now, by order id."""
    with shop.service.dead_letters.receiving(30) as in_flight:
        return {letter.order_id: letter for letter in in_flight.letters(100)}


# --- list ---


def test_the_list_has_reason_time_and_the_status_of_the_order(operator: Operator, shop: Shop) -> None:
    shop.produce(shop.event("o1"))
    shop.run_queue()
    bury(shop, "o1", reason="an order with this id and different contents exists", sent_at=LONG_AGO, kind=Kind.NEVER)
    shop.produce("poison")
    shop.run_queue()
    answer = operator.does("dead-letters", "list")
    assert answer.split(seen(shop)["o1"].message_id)[1].splitlines()[1:4] == [
        "  order   o1 (CONFIRMED)",
        "  kind    never: waits for you",
        "  reason  an order with this id and different contents exists",
    ]
    assert "3 days ago; 6 receives" in answer
    assert "order   unknown" in answer


def test_the_list_leaves_everything_where_it_was(operator: Operator, shop: Shop) -> None:
    bury(shop, *(f"o{n}" for n in range(12)))
    for _ in range(2):
        assert len(operator.json("dead-letters", "list")) == 12
    assert len(seen(shop)) == 12


def test_the_list_for_programs(operator: Operator, shop: Shop) -> None:
    bury(shop, "o1", reason="why", sent_at=LONG_AGO, replays=1)
    (entry,) = operator.json("dead-letters", "list")
    assert entry.pop("messageId") == seen(shop)["o1"].message_id
    assert datetime.fromisoformat(entry.pop("firstSentAt")) - LONG_AGO < timedelta(seconds=1)
    assert times.from_text(entry.pop("nextReplayAt")) - datetime.now(UTC) < timedelta(minutes=31)
    own = {"kind": "retry", "reason": "why", "replays": 1, "receives": 6}
    assert entry == {"orderId": "o1", "orderStatus": None, **own}


@pytest.mark.parametrize("kind", Kind)
def test_the_list_is_of_one_kind(operator: Operator, shop: Shop, kind: Kind) -> None:
    for each in Kind:
        bury(shop, f"o-{each}", kind=each)
    (entry,) = operator.json("dead-letters", "list", "--kind", kind.value)
    assert (entry["orderId"], entry["kind"], entry["nextReplayAt"] is None) == (f"o-{kind}", kind, kind is Kind.NEVER)


def test_the_list_says_what_becomes_of_each(operator: Operator, shop: Shop) -> None:
    bury(shop, "o1", kind=Kind.UNKNOWN, replays=3)
    assert "  kind    unknown: replayed 3 times; waits for you\n" in operator.does("dead-letters", "list")
    bury(shop, "o2", replays=2)
    assert "  kind    retry: replayed 2 times; replayed automatically after " in operator.does("dead-letters", "list")


def test_what_sqs_redrove_is_listed_with_an_unknown_reason(operator: Operator, shop: Shop) -> None:
    shop.produce(shop.event("o1"))
    for _ in range(15):
        shop.receive()
        shop.come_again()
    (entry,) = operator.json("dead-letters", "list")
    assert (entry["orderId"], entry["reason"]) == ("o1", UNKNOWN_REASON)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--reason", "CONFLICT"], {"o1"}),
        (["--order", "o2"], {"o2"}),
        (["--older-than", "2d"], {"o2"}),
        (["--older-than", "4d"], set()),
        (["--reason", "known", "--order", "o1"], set()),
    ],
)
def test_the_list_is_filtered(operator: Operator, shop: Shop, options: list[str], found: set[str]) -> None:
    bury(shop, "o1", reason="a conflict past the retries")
    bury(shop, "o2", reason="not known", sent_at=LONG_AGO)
    assert {entry["orderId"] for entry in operator.json("dead-letters", "list", *options)} == found


def test_the_list_is_limited(operator: Operator, shop: Shop) -> None:
    bury(shop, *(f"o{n}" for n in range(5)))
    result = operator("dead-letters", "list", "--limit", "2")
    assert result.stdout.count("reason") == 2
    assert "2 shown of about 5." in result.stderr
    assert len(seen(shop)) == 5


def test_no_message_can_steer_the_operators_terminal(operator: Operator, shop: Shop) -> None:
    shop.produce('\x1b[2J{"orderId": "[red]o1[/red]"}', '{"orderId": "[bold]\\u001b[2J"}')
    shop.run_queue()
    answer = operator.does("dead-letters", "list")
    assert "\x1b" not in answer
    assert "[bold]?[2J" in answer
    poison = seen(shop)[""]
    assert "\x1b" not in operator.does("dead-letters", "show", poison.message_id)


# --- show ---


def test_one_is_shown_with_its_body_to_the_last_digit(operator: Operator, shop: Shop) -> None:
    bury(shop, "o1")
    letter = seen(shop)["o1"]
    answer = operator.does("dead-letters", "show", letter.message_id[:8])
    assert f"{letter.message_id}\n  order   o1" in answer
    assert '  "totalAmount": 29.99' in answer
    assert exact_json.loads(answer[answer.index("\n{") :]) == exact_json.loads(letter.body)
    assert "o1" in seen(shop)


def test_a_body_that_is_not_json_is_shown_as_it_was_received(operator: Operator, shop: Shop) -> None:
    shop.produce('{"amount": NaN}\nsecond line')
    shop.run_queue()
    result = operator("dead-letters", "show", seen(shop)[""].message_id)
    assert result.stdout.endswith('\n{"amount": NaN}\nsecond line\n')
    assert "not JSON" in result.stderr


def test_one_that_is_not_there_is_one_sentence(operator: Operator) -> None:
    assert operator.refused("dead-letters", "show", "gone") == "Not seen among the dead letters just now: gone."


# --- replay ---


def test_a_replay_is_a_dry_run_without_yes(operator: Operator, shop: Shop) -> None:
    bury(shop, "o1")
    result = operator("dead-letters", "replay")
    assert result.exit_code == 0
    assert result.stdout.endswith("Nothing was sent: with --yes, 1 message would be replayed.\n")
    assert (set(seen(shop)), shop.messages(), audit_of(result)) == ({"o1"}, [], [])


def test_what_is_replayed_is_fulfilled(operator: Operator, shop: Shop) -> None:
    bury(shop, "o1", "o2")
    message_ids = {letter.message_id for letter in seen(shop).values()}
    result = operator("dead-letters", "replay", "--yes")
    assert result.stdout == "2 messages replayed.\n"
    (line,) = audit_of(result)
    assert set(line["ids"]) == message_ids
    assert (line["audit"], line["stage"], line["count"]) == ("dead-letters replay", "test", 2)
    assert line["who"]
    assert line["identity"] == "arn:aws:sts::123456789012:user/moto"
    shop.run_queue()
    assert (shop.statuses(), seen(shop)) == ({"CONFIRMED": 2}, {})


def test_those_that_are_named_are_replayed(operator: Operator, shop: Shop) -> None:
    bury(shop, *(f"o{n}" for n in range(15)))
    letters = seen(shop)
    named = [letters["o3"].message_id, letters["o12"].message_id[:9]]
    operator.does("dead-letters", "replay", "--yes", *named)
    shop.run_queue()
    assert {order["orderId"] for order in shop.orders()} == {"o3", "o12"}
    assert len(seen(shop)) == 13


def test_one_that_is_named_and_missing_is_reported(operator: Operator, shop: Shop) -> None:
    bury(shop, "o1")
    message_id = seen(shop)["o1"].message_id
    assert "just now: gone." in operator.refused("dead-letters", "replay", "--yes", message_id, "gone")
    assert len(shop.messages()) == 1


def test_no_more_than_the_limit_are_replayed(operator: Operator, shop: Shop) -> None:
    bury(shop, *(f"o{n}" for n in range(5)))
    assert operator.does("dead-letters", "replay", "--yes", "--limit", "2") == "2 messages replayed.\n"
    assert (len(seen(shop)), len(shop.messages())) == (3, 2)


def test_those_that_a_filter_selects_are_replayed(operator: Operator, shop: Shop) -> None:
    bury(shop, "o1", reason="a conflict past the retries")
    bury(shop, "o2")
    operator.does("dead-letters", "replay", "--yes", "--reason", "conflict")
    assert set(seen(shop)) == {"o2"}


def test_one_that_the_queue_refuses_stays_and_is_reported(operator: Operator, shop: Shop) -> None:
    bury(shop, "o1", "o2")
    operator.calls.refuse("InvalidMessageContents", "SendMessage", when=lambda call: '"o1"' in str(call.params))
    letter = seen(shop)["o1"]
    assert letter.message_id in operator.refused("dead-letters", "replay", "--yes")
    assert (set(seen(shop)), len(shop.messages())) == ({"o1"}, 1)


# --- interrupted ---


def ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_in_the_middle_of_a_replay_finishes_the_one_in_hand(operator: Operator, shop: Shop) -> None:
    bury(shop, *(f"o{n}" for n in range(5)))
    operator.calls.meanwhile(ctrl_c, "SendMessage", nth=2, after=True)
    result = operator("dead-letters", "replay", "--yes")
    assert result.exit_code == 130
    assert audit_of(result)[0]["count"] == 2
    sent = {exact_json.loads(message["Body"])["orderId"] for message in shop.messages()}
    assert len(sent) == 2
    assert set(seen(shop)) == {"o0", "o1", "o2", "o3", "o4"} - sent


def test_ctrl_c_in_the_middle_of_a_list_releases_everything(operator: Operator, shop: Shop) -> None:
    bury(shop, *(f"o{n}" for n in range(15)))
    operator.calls.meanwhile(ctrl_c, "ReceiveMessage", nth=2)
    result = operator("dead-letters", "list")
    assert (result.exit_code, result.stdout) == (130, "")
    assert "Traceback" not in result.stderr
    assert len(seen(shop)) == 15
