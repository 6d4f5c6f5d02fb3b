"""A dead letter: what is written on a message when it is kept, and what is read of it when it comes back."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.use_cases.letters import UNKNOWN_REASON, DeadLetter, Kind, attributes, legible, order_id_in
from chalicelib.use_cases.ports import Message

SENT_AT = 1_768_478_400_123
SENT = datetime(2026, 1, 15, 12, 0, 0, 123000, tzinfo=UTC)
BODY = json.dumps({"orderId": "o1"})
NEW = Message("m1", "r1", BODY, 3, SENT_AT, {"paymentKey": "o1.key", "foreign": "x"})


def came_back(kept: dict[str, str], message_id: str = "m2") -> Message:
    """The message as it is received from the dead letters, an hour later, under a new id."""
    return Message(message_id, "r2", NEW.body, 1, SENT_AT + 3_600_000, kept)


def test_a_message_is_kept_with_its_kind_its_reason_and_where_it_comes_from() -> None:
    assert attributes(NEW, Kind.RETRY, "no time\nleft") == {
        "paymentKey": "o1.key",
        "firstSentAt": str(SENT_AT),
        "originalMessageId": "m1",
        "kind": "retry",
        "reason": "no time?left",
        "receiveCount": "3",
        "orderId": "o1",
    }


def test_what_is_not_known_is_left_out() -> None:
    unknown = Message("m1", "r1", "no JSON", 0, 0, {})
    kept = {"kind": "never", "reason": "why", "receiveCount": "0", "originalMessageId": "m1"}
    assert attributes(unknown, Kind.NEVER, "why") == kept


@pytest.mark.parametrize(("replays", "kept"), [("2", "2"), ("0", None), ("", None), ("soon", None), ("-1", None)])
def test_how_often_it_was_replayed_and_by_whom_is_kept(replays: str, kept: str | None) -> None:
    message = Message("m1", "r1", BODY, 3, SENT_AT, {"replays": replays, "replayRun": "run\n1"})
    found = attributes(message, Kind.RETRY, "why")
    assert (found.get("replays"), found["replayRun"]) == (kept, "run?1")


def test_all_of_it_is_read_when_it_comes_back() -> None:
    kept = attributes(NEW, Kind.RETRY, "why") | {"replays": "2", "replayRun": "run-1"}
    origin = {"paymentKey": "o1.key", "firstSentAt": str(SENT_AT), "originalMessageId": "m1"}
    hour_later = SENT + timedelta(hours=1)
    expected = DeadLetter("m2", BODY, Kind.RETRY, "why", "o1", 3, 2, "run-1", hour_later, SENT, origin)
    assert DeadLetter.from_message(came_back(kept)) == expected
    assert expected.replayed_by("run-2") == origin | {"replays": "3", "replayRun": "run-2"}


def test_a_message_that_sqs_redrove_says_nothing_of_itself() -> None:
    letter = DeadLetter.from_message(Message("m1", "r1", BODY, 15, SENT_AT, {}))
    origin = {"firstSentAt": str(SENT_AT), "originalMessageId": "m1"}
    assert letter == DeadLetter("m1", BODY, Kind.UNKNOWN, UNKNOWN_REASON, "o1", 15, 0, "", SENT, SENT, origin)
    assert UNKNOWN_REASON == "redriven by SQS: the consumer never said why"


def test_times_are_in_utc_and_whole_milliseconds() -> None:
    letter = DeadLetter.from_message(Message("m1", "r1", BODY, 1, 999, {}))
    assert (letter.sent_at, letter.sent_at.tzinfo) == (datetime(1970, 1, 1, 0, 0, 0, 999000, tzinfo=UTC), UTC)


@pytest.mark.parametrize("kind", ["", "Retry", "nonsense"])
def test_a_kind_that_is_none_is_unknown(kind: str) -> None:
    assert DeadLetter.from_message(came_back({"kind": kind})).kind is Kind.UNKNOWN


@pytest.mark.parametrize(
    ("text", "number"),
    [("7", 7), ("0", 0), ("9" * 14, 10**14 - 1), ("9" * 15, 4), ("", 4), ("-1", 4), ("²", 4), ("٣", 4), ("1.0", 4)],
)
def test_a_number_has_at_most_fourteen_ascii_digits(text: str, number: int) -> None:
    letter = DeadLetter.from_message(Message("m1", "r1", BODY, 4, SENT_AT, {"receiveCount": text}))
    assert letter.receive_count == number


@pytest.mark.parametrize(
    ("body", "order_id"),
    [
        ('{"orderId": "o1"}', "o1"),
        (json.dumps({"orderId": "x" * 65}), "x" * 64),
        (json.dumps({"orderId": "a\tb"}), "a?b"),
        ('{"orderId": 5}', ""),
        ('{"orderid": "o1"}', ""),
        ('["orderId"]', ""),
        ('"orderId"', ""),
        ("no JSON", ""),
    ],
)
def test_the_order_id_is_shown_if_the_body_has_one(body: str, order_id: str) -> None:
    assert order_id_in(body) == order_id


def test_what_cannot_be_printed_is_a_question_mark_and_500_characters_are_enough() -> None:
    assert legible("a\x00b\ud800c é") == "a?b?c é"
    assert legible("x" * 501) == "x" * 500


def test_the_order_id_that_was_kept_with_it_counts_not_the_body() -> None:
    letter = DeadLetter.from_message(Message("m1", "r1", BODY, 1, SENT_AT, {"orderId": "kept"}))
    assert letter.order_id == "kept"
