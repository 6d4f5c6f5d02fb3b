"""Each order of the workers' calls is made, and each once."""

from math import comb

from tests.support.interleaving import Turns, every_schedule


def test_every_order_of_the_calls_is_made_once() -> None:
    seen: list[str] = []

    def run(turns: Turns) -> None:
        calls: list[str] = []

        def worker(name: str, number: int) -> str:
            for _ in range(number):
                turns.take()
                calls.append(name)
            return name

        assert turns.run(lambda: worker("a", 3), lambda: worker("b", 2)) == ["a", "b"]
        seen.append("".join(calls))

    assert every_schedule(run) == len(seen) == len(set(seen)) == comb(5, 2)
    assert all(sorted(calls) == list("aaabb") for calls in seen)


def test_what_a_worker_raises_is_its_answer() -> None:
    def fails() -> None:
        raise ValueError

    answers = Turns([]).run(fails, lambda: 1)
    assert isinstance(answers[0], ValueError)
    assert answers[1] == 1
