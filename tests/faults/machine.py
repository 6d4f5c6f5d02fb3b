"""Random schedules: a state machine chooses what happens next, and a schedule that breaks a promise is made short."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.faults.play import CONTENTS, MEANWHILE, REFUSED, STRIKES, Play, Tally
from tests.faults.schedules import InvalidSchedule, Step, from_text, to_text
from tests.support.stage import Stage


def _fault(calls: int, kinds: Sequence[str] = STRIKES) -> Any:
    """None, or a fault at one of the first `calls` calls."""
    return st.none() | st.builds("{}@{}".format, st.sampled_from(kinds), st.integers(0, calls - 1))


_one_write = _fault(4)
_letters = _fault(8)
_flag = st.booleans()
_which = st.integers(0, 5)
_key = st.sampled_from([None, 1, 1, 2])
_units = st.sampled_from([0, 0, 0, *(content for content in CONTENTS if content != REFUSED)])
_delivery: Mapping[str, Any] = {
    "limit": st.sampled_from([1, 2, 10]),
    "skip": st.integers(0, 3),
    "twice": _flag,
    "last": st.sampled_from([False, False, False, True]),
    "decline": st.sampled_from([False, False, True]),
    "payments": st.sampled_from([None, None, None, "before", "after", "later"]),
    "no_bus": st.sampled_from([False, False, False, True]),
    "fault": _fault(10, STRIKES + MEANWHILE),
}


@dataclass(frozen=True)
class Kind:
    """What the arguments of a step are drawn from, when it makes sense, and how many chances it has."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    sensible: Callable[[Play], object] = lambda _: True
    chances: int = 1


def _has_orders(play: Play) -> object:
    return play.named


def _has_letters(play: Play) -> object:
    return play.letters()


STEPS: Mapping[str, Kind] = {
    "place": Kind({"units": _units, "key": _key, "fault": _fault(5, STRIKES + MEANWHILE)}, chances=5),
    "produce": Kind({"order": st.integers(0, 1), "units": st.sampled_from([0, 0, *CONTENTS])}, chances=2),
    "deliver": Kind(_delivery, lambda play: play.visible(), chances=6),
    "cancel": Kind({"which": _which, "fault": _fault(4, STRIKES + MEANWHILE)}, _has_orders, chances=2),
    "later": Kind({"seconds": st.sampled_from([61, 1, 1000, 3700, 30_000])}, _has_orders, chances=2),
    "recover": Kind({"fault": _fault(24)}, lambda play: play.overdue(), chances=2),
    "again": Kind({"which": _which}, lambda play: play.queue.sent),
    "ship": Kind({"which": _which, "fault": _one_write}, _has_orders),
    "arrive": Kind({"which": _which, "fault": _one_write}, _has_orders),
    "poison": Kind({}, lambda play: all(step.name != "poison" for step in play.schedule)),
    "work": Kind({}, lambda play: play.visible()),
    "land": Kind({}, lambda play: play.late or play.struck.payments.late),
    "replay": Kind({"fault": _letters}, _has_letters),
    "purge": Kind({"fault": _letters}, _has_letters),
    "replay_due": Kind({"fault": _letters}, _has_letters),
    "sweep": Kind({}, lambda play: play.clients.own),
    "months_pass": Kind({}, lambda play: play.named and len(play.schedule) > 5),
    "first_release": Kind(
        {"status": st.sampled_from(["pending", "reserved", "confirmed"]), "message": _flag},
        lambda play: play.is_early(),
    ),
    "newer_release": Kind(
        {"which": _which, "what": st.sampled_from(["fingerprint", "status"])},
        lambda play: play.named and not play.newer,
    ),
    "understood": Kind({}, lambda play: play.newer),
}
"""Each step of `Play`."""


def read(text: str) -> list[Step]:
    """A schedule of steps that there are. Raises InvalidSchedule."""
    schedule = from_text(text)
    for step in schedule:
        if step.name not in STEPS or not step.arguments.keys() <= STEPS[step.name].arguments.keys():
            raise InvalidSchedule(f"there is no such step: {str(step)!r}")
    return schedule


class Violation(Exception):
    """A promise was broken; `schedule` is the shortest that was found, `examples` how many the search took."""

    def __init__(self, schedule: str, fault: BaseException, examples: int) -> None:
        super().__init__(f"{type(fault).__name__}: {fault}\nschedule: {schedule}")
        self.schedule, self.examples = schedule, examples


class _Machine(RuleBasedStateMachine):
    """One example. What is drawn is done; its end is the example's end."""

    stage: Stage
    tally: Tally
    provider: str
    on_example: Callable[[], object]
    begun = 0
    broken_after = 0
    last: Play

    def __init__(self) -> None:
        super().__init__()
        type(self).begun += 1
        self.play = type(self).last = Play(self.stage, self.tally, self.provider)
        self.failed = False

    def act(self, name: str, arguments: Mapping[str, Any]) -> None:
        with self._noticing():
            self.play.do(Step(name, arguments))

    def teardown(self) -> None:
        try:
            if not self.failed:
                with self._noticing():
                    self.play.end()
                type(self).on_example()
        finally:
            self.play.close()

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        """A failure is noticed: the first one ends the search, and what follows makes it shorter."""
        try:
            yield
        except Exception:
            self.failed = True
            type(self).broken_after = self.broken_after or self.begun
            raise


def _rule(name: str, kind: Kind, number: int) -> Any:
    def step(self: _Machine, **drawn: Any) -> None:
        self.act(name, drawn)

    # Of each example Hypothesis leaves out some rules, by their names.
    step.__name__ = f"{name}_{number}"
    chosen: Any = rule(**kind.arguments)
    when: Any = precondition(lambda machine: bool(kind.sensible(machine.play)))
    return when(chosen(step))


def search(
    stage: Stage,
    tally: Tally,
    *,
    examples: int,
    steps: int,
    seeded: int,
    on_example: Callable[[], object] = lambda: None,
    shorten: bool = True,
    provider: str = "simulated",
) -> None:
    """Play so many random schedules of at most so many steps. Raises Violation. The same seed finds the same ones."""
    rules = {f"{name}_{n}": _rule(name, kind, n) for name, kind in STEPS.items() for n in range(kind.chances)}
    own = {"stage": stage, "tally": tally, "provider": provider, "on_example": staticmethod(on_example)}
    machine: Any = seed(seeded)(type("Machine", (_Machine,), rules | own))
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                database=None,
                deadline=None,
                verbosity=Verbosity.quiet,
                print_blob=False,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate, Phase.shrink] if shorten else [Phase.generate],
            ),
        )
    except Exception as fault:
        raise Violation(to_text(machine.last.schedule), fault, machine.broken_after) from fault
