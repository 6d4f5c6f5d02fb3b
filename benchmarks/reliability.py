"""OrderOnce and the usual design under the same schedules: which promises does each keep?

`make reliability` prints three tables, and ends with status 1 if OrderOnce broke a promise, or any design did where
nothing went wrong.

A *schedule* is a scenario, a fault, and the call of AWS at which the fault strikes. Each scenario is run with each
fault at its first call, at its second … until it makes no more. Then the world goes on as it would: the client sends
its request again until it is answered 2xx, SQS delivers again what was not deleted, what the design has on a schedule
is run, and an operator redrives what came to the dead letters. When all is quiet, every promise is asked.

The tables are DynamoDB Local's, whose conditions and transactions are real. Faults strike below botocore, which retries
as it does (tests/support/faults.py).
"""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from benchmarks.designs import DESIGNS, clock_of_powertools
from benchmarks.promises import PROMISES, books_of
from benchmarks.schedules import SCENARIOS, Run, Shop
from tests.support import dynamodb_local
from tests.support.faults import FAULTS, retrying_at_once
from tests.support.stage import Stage, dummy_environment, on_dynamodb_local
from tests.support.world import World

MAX_CALLS = 60


@dataclass(frozen=True)
class Tried:
    """A schedule that was run on a design, and the promises that it broke. `fault` None: nothing went wrong."""

    design: str
    scenario: str
    fault: str | None
    call: int
    broken: frozenset[str]

    def __str__(self) -> str:
        return f"{self.design}: {self.scenario}, {self.fault} at call {self.call}: {'; '.join(sorted(self.broken))}"


def try_design(stage: Stage, name: str, scenarios: Collection[str], faults: Sequence[str]) -> list[Tried]:
    """Every schedule of these scenarios and faults on a design."""
    runs: list[Run] = []
    labels: list[tuple[str, str | None, int]] = []
    with closing(World(stage, name, rate=0)) as world, clock_of_powertools(world.clock), retrying_at_once():
        world.queue.on_delete = lambda queue, message: None  # what it asks is asked of every design in the end
        shop = Shop(world, DESIGNS[name])
        for scenario in scenarios:
            what = SCENARIOS[scenario]
            shop.decline(100 if what.declines else 0)
            for fault in (*faults, None) if what.meanwhile else faults:
                for call in range(MAX_CALLS):
                    run, life = shop.run(what, fault, len(runs), call)
                    runs.append(run)
                    labels.append((scenario, fault if life.struck else None, call))
                    if life.made <= call:
                        break
                else:
                    raise AssertionError(f"{scenario} does not end within {MAX_CALLS} calls")
        for _ in range(3):
            shop.go_on(hours=7)
        assert not shop.queue.waiting(), "it does not come to rest"
        books = books_of(shop, runs)
    broken = [frozenset(promise for promise, kept in PROMISES.items() if not kept(each)) for each in books]
    return [Tried(name, *label, promises) for label, promises in zip(labels, broken, strict=True)]


def report(tried: Sequence[Tried]) -> Iterator[str]:
    """The tables, as Markdown: by promise, by scenario and by fault."""
    struck = [each for each in tried if each.fault]
    yield from _head("promise")
    for promise in PROMISES:
        yield _row(promise, struck, lambda each, promise=promise: promise in each.broken)  # type: ignore[misc]
    yield _row("all of them", struck, lambda each: bool(each.broken))
    for what in ("scenario", "fault"):
        yield ""
        yield from _head(what)
        for name in dict.fromkeys(getattr(each, what) for each in struck):
            yield _row(name, [each for each in struck if getattr(each, what) == name], lambda each: bool(each.broken))
    yield _row("none", [each for each in tried if not each.fault], lambda each: bool(each.broken))


def _head(what: str) -> Iterator[str]:
    yield f"| {what} | {' | '.join(f'{design}: schedules | broken' for design in DESIGNS)} |"
    yield "| --- |" + " ---: | ---: |" * len(DESIGNS)


def _row(name: str, tried: Sequence[Tried], counts: Callable[[Tried], bool]) -> str:
    cells = []
    for design in DESIGNS:
        of_design = [each for each in tried if each.design == design]
        cells += [f"{len(of_design):,}", f"{sum(map(counts, of_design)):,}"]
    return f"| {name} | {' | '.join(cells)} |"


def try_all(endpoint: str, scenarios: Collection[str], faults: Sequence[str]) -> Iterator[Tried]:
    """Every schedule of these scenarios and faults on every design; `endpoint` is DynamoDB Local's."""
    for design in DESIGNS:
        print(f"{design} ...", file=sys.stderr)
        with on_dynamodb_local(endpoint) as stage:
            yield from try_design(stage, design, scenarios, faults)


def wrong(tried: Collection[Tried]) -> list[str]:
    """What must not be: OrderOnce breaks a promise, or a design does though nothing went wrong."""
    return [str(each) for each in tried if each.broken and (each.design == "OrderOnce" or not each.fault)]


def main() -> int:
    """Run the schedules and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__.partition("\n")[0])
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="only this one (may be repeated)")
    parser.add_argument("--explain", action="store_true", help="print each schedule that broke a promise")
    arguments = parser.parse_args()
    dummy_environment()
    logging.disable(logging.CRITICAL)
    # What a design prints is its metrics.
    with dynamodb_local.running() as endpoint, Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        tried = list(try_all(endpoint, arguments.scenario or list(SCENARIOS), list(FAULTS)))
    print("\n".join(report(tried)))
    if arguments.explain:
        print("\n".join(str(each) for each in tried if each.broken))
    for each in wrong(tried):
        print(f"wrong: {each}", file=sys.stderr)
    return int(bool(wrong(tried)))


if __name__ == "__main__":
    sys.exit(main())
