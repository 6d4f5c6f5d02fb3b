"""Every order in which the calls of a few workers can be made: each order once, one call at a time.

    every_schedule(lambda turns: turns.run(one_worker, another))

A worker is a function that calls `turns.take` before each of its calls to the world. It runs in a thread of its own,
but only one runs at any time: which one goes on is the schedule's choice.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Worker = Callable[[], object]
_TIMEOUT = 30


@dataclass
class Turns:
    """One run. It follows `prefix`, and then goes on with the first worker that can; `choices` is what it did."""

    prefix: Sequence[int]
    choices: list[tuple[int, list[int]]] = field(default_factory=list)
    calls: list[tuple[int, str]] = field(default_factory=list)
    """The calls that were made, each with its worker."""
    _me: threading.local = field(default_factory=threading.local)
    _go: list[threading.Semaphore] = field(default_factory=list)
    _parked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def take(self, call: str = "") -> None:
        """Wait for one's turn to make this call. Whoever is not a worker of the run need not."""
        if (number := getattr(self._me, "number", None)) is not None:
            self._parked.release()
            assert self._go[number].acquire(timeout=_TIMEOUT)
            self.calls.append((number, call))

    def run(self, *workers: Worker) -> list[object]:
        """What each worker returned, or the exception that it raised."""
        answers: list[object] = [None] * len(workers)
        going = list(range(len(workers)))

        def work(number: int) -> None:
            self._me.number = number
            assert self._go[number].acquire(timeout=_TIMEOUT)
            try:
                answers[number] = workers[number]()
            except BaseException as raised:  # noqa: BLE001 - a worker may be killed; that is its answer
                answers[number] = raised
            going.remove(number)
            self._parked.release()

        self._go = [threading.Semaphore(0) for _ in workers]
        threads = [threading.Thread(target=work, args=(number,)) for number in going]
        for number, thread in enumerate(threads):
            thread.start()
            self._let_go(number)  # up to its first call
        while going:
            at = len(self.choices)
            number = self.prefix[at] if at < len(self.prefix) else going[0]
            self.choices.append((number, list(going)))
            self._let_go(number)
        for thread in threads:
            thread.join(_TIMEOUT)
        return answers

    def _let_go(self, number: int) -> None:
        self._go[number].release()
        assert self._parked.acquire(timeout=_TIMEOUT)


def every_schedule(run: Callable[[Turns], object]) -> int:
    """Call `run` for each schedule that there is; how many there are."""
    left: list[list[int]] = [[]]
    runs = 0
    while left:
        turns = Turns(left.pop())
        run(turns)
        runs += 1
        done = [number for number, _ in turns.choices]
        for at in range(len(turns.prefix), len(done)):
            left += [[*done[:at], other] for other in turns.choices[at][1] if other != done[at]]
    return runs
