"""Going through the dead letters: how long the search goes on, and what is released, on a queue that is a list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.use_cases.in_flight import InFlight
from chalicelib.use_cases.ports import Message


@dataclass
class Queue:
    """Answers with the batches that it was made of, then with nothing; notes all that it is asked."""

    batches: list[list[str]]
    received: list[int] = field(default_factory=list)
    deleted: list[Sequence[str]] = field(default_factory=list)
    shown: list[Mapping[str, int]] = field(default_factory=list)

    def receive(self, visibility_timeout: int) -> list[Message]:
        self.received.append(visibility_timeout)
        names = self.batches.pop(0) if self.batches else []
        # A receipt is new with each receive.
        return [Message(name, f"{name}/{len(self.received)}", "x", 1, 1, {"replayRun": "mine"}) for name in names]

    def delete(self, receipt_handles: Sequence[str]) -> None:
        self.deleted.append(list(receipt_handles))

    def change_visibility(self, seconds: Mapping[str, int]) -> None:
        self.shown.append(dict(seconds))


def search(*batches: list[str], run: str = "another") -> tuple[Any, InFlight]:
    queue: Any = Queue(list(batches))
    return queue, InFlight(queue, 30, run)


def found(in_flight: InFlight, limit: int = 100) -> list[str]:
    return [letter.message_id for letter in in_flight.letters(limit)]


def test_three_empty_answers_in_a_row_end_the_search() -> None:
    queue, in_flight = search(["a"], [], [], ["b"], [], [], [])
    assert found(in_flight) == ["a", "b"]
    assert queue.received == [30] * 7


def test_thirty_answers_with_known_letters_only_end_the_search() -> None:
    queue, in_flight = search(["a"], *[["a"]] * 40)
    assert found(in_flight) == ["a"]
    assert len(queue.received) == 31


def test_known_letters_and_empty_answers_count_together() -> None:
    queue, in_flight = search(["a"], *[["a"]] * 10, [], [])
    assert found(in_flight) == ["a"]
    assert len(queue.received) == 13


def test_no_more_than_the_limit_and_no_receive_more_than_needed() -> None:
    queue, in_flight = search(["a", "b"], ["a", "c", "d"], ["e"])
    assert found(in_flight, 3) == ["a", "b", "c"]
    assert len(queue.received) == 2


def test_what_this_search_has_replayed_itself_is_skipped() -> None:
    queue, in_flight = search(["a"], run="mine")
    assert found(in_flight) == []
    assert len(queue.received) == 4


def test_thirty_answers_with_nothing_but_what_it_has_replayed_end_the_search() -> None:
    queue, in_flight = search(*[["a"]] * 40, run="mine")
    assert (found(in_flight), len(queue.received)) == ([], 30)


def test_letters_are_removed_ten_at_a_time_by_their_newest_receipts_and_the_others_released() -> None:
    names = [f"m{n}" for n in range(25)]
    queue, in_flight = search(names, names[:1])
    letters = list(in_flight.letters(100))
    in_flight.remove(letters[:12])
    in_flight.release()
    assert queue.deleted == [["m0/2", *(f"m{n}/1" for n in range(1, 10))], ["m10/1", "m11/1"]]
    assert queue.shown == [{f"m{n}/1": 0 for n in range(12, 25)}]
    in_flight.release()
    assert [len(shown) for shown in queue.shown] == [13], "once"


def test_each_search_has_a_name_of_its_own() -> None:
    queue: Any = Queue([])
    assert len({InFlight(queue, 1).run for _ in range(100)}) == 100


@given(
    # Three empty answers in a row end the search: here there are never so many before the last letter.
    st.lists(st.lists(st.sampled_from("abc"), max_size=10), max_size=5).filter(lambda batches: batches.count([]) < 3),
    st.booleans(),
)
def test_a_letter_is_found_once_and_can_be_removed_however_often_it_comes(batches: list[list[str]], now: bool) -> None:
    # SQS gives a message at least once, and may give two copies of one in one answer.
    queue, in_flight = search(*batches)
    letters = []
    for letter in in_flight.letters(100):
        letters.append(letter)
        if now:
            in_flight.remove([letter])
    if not now:
        in_flight.remove(letters)
    names = [letter.message_id for letter in letters]
    assert sorted(names) == sorted({name for batch in batches for name in batch})
    assert [receipt.partition("/")[0] for receipts in queue.deleted for receipt in receipts] == names
