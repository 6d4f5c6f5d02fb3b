"""Random schedules, for as long as one likes: `make chaos MINUTES=30`. Status 1, and a schedule, if a promise breaks.

`make chaos SCHEDULE='…'` plays one schedule again, `PROCESSES=1` kills real processes while ORDERS=10000 come in, and
`PLANTED=1` looks for mistakes planted in a copy of the service. With `PROVIDER=stripe` customers pay by Stripe.
"""

import argparse
import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults.machine import Violation, read, search
from tests.faults.planted import PLANTED, examples_until_found
from tests.faults.play import Play, Tally
from tests.faults.processes import RATE, running
from tests.support import dynamodb_local
from tests.support.faults import retrying_at_once
from tests.support.providers import PROVIDERS
from tests.support.stage import Stage, dummy_environment, tables_on_dynamodb_local

EXAMPLES, STEPS = 50, 25
EVERY = 5.0
"""Seconds between two lines of progress."""


@contextmanager
def quiet_stage() -> Iterator[Stage]:
    """A stage on a DynamoDB Local of its own; nothing is logged, and botocore does not sleep."""
    dummy_environment()
    os.environ["LOG_FORMAT"] = "text"
    logging.disable(logging.CRITICAL)
    with (
        dynamodb_local.running() as endpoint,
        tables_on_dynamodb_local(endpoint) as stage,
        retrying_at_once(),
    ):
        yield stage


def explore(stage: Stage, minutes: float, seeded: int, *, shorten: bool = True, provider: str = "simulated") -> int:
    """Search with one seed after the other; 1 if a promise breaks."""
    tally = Tally()
    how: dict[str, Any] = {"examples": EXAMPLES, "steps": STEPS, "shorten": shorten, "provider": provider}
    began = said = time.monotonic()

    def line() -> str:
        passed = time.monotonic() - began
        ends = ", ".join(f"{status} {n}" for status, n in sorted(tally.ends.items()))
        struck = tally.struck.total()
        return f"{passed:6.0f} s  {tally.examples} examples  {tally.steps.total()} steps  {struck} faults  {ends}"

    def progress() -> None:
        nonlocal said
        if time.monotonic() - said > EVERY:
            said = time.monotonic()
            print(line(), flush=True)

    while True:
        played = tally.examples
        try:
            search(stage, tally, seeded=seeded, on_example=progress, **how)
        except Violation as violation:
            print(line())
            print(f"A promise is broken, after {played + violation.examples} examples (seed {seeded}). Again:\n")
            print(f"  make chaos SCHEDULE='{violation.schedule}' PROVIDER={provider}\n")
            traceback.print_exception(violation.__cause__, limit=-3, file=sys.stdout)
            return 1
        if time.monotonic() - began > 60 * minutes:
            break
        seeded += 1
    print(line())
    for name, counts in (("steps", tally.steps), ("faults struck", tally.struck), ("orders by end", tally.ends)):
        print(f"{name}: {', '.join(f'{kind} {n}' for kind, n in counts.most_common())}")
    print(f"{tally.examples} examples came to rest {tally.rests} times, and kept every promise.")
    return 0


def again(stage: Stage, text: str, provider: str = "simulated") -> int:
    """Play one schedule; 1 if a promise breaks."""
    schedule = read(text)
    try:
        Play(stage, provider=provider).play(schedule)
    except Exception:  # noqa: BLE001 - whatever breaks is what the schedule shows
        traceback.print_exc(limit=-3, file=sys.stdout)
        print("A promise is broken.")
        return 1
    print(f"{len(schedule)} steps: every promise is kept.")
    return 0


def processes(orders: int, seeded: int, provider: str) -> int:
    """Kill real processes while so many orders come in; 1 if a promise breaks."""
    dummy_environment()
    print(f"Real processes, {orders} orders, seed {seeded}; the clock runs {RATE:g} times as fast.", flush=True)
    with (
        dynamodb_local.running() as endpoint,
        running(endpoint, orders, seeded, lambda line: print(line, flush=True), provider) as run,
    ):
        try:
            ends = run.run()
        except AssertionError:
            traceback.print_exc(limit=-3, file=sys.stdout)
            print("A promise is broken.")
            return 1
    for line in run.summary(ends):
        print(line)
    return 0


def plant(minutes: float, seeded: int) -> int:
    """Plant one mistake after the other; 1 if one is not found in so many minutes."""
    missed = 0
    for planted in PLANTED:
        examples = examples_until_found(planted, seeded, minutes)
        missed += examples is None
        print(f"{planted.mistake}: {f'found in example {examples}' if examples else 'NOT FOUND'}", flush=True)
    print(f"{len(PLANTED) - missed} of {len(PLANTED)} planted mistakes found, seed {seeded}.")
    return 1 if missed else 0


def main() -> int:
    """0 if every promise was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, help="of the first search; one after the other follows")
    parser.add_argument("--first", action="store_true", help="do not look for a shorter schedule")
    parser.add_argument("--schedule", help="a schedule to play, as text")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="a file that holds a schedule to play")
    parser.add_argument("--planted", action="store_true", help="look for mistakes planted in a copy of the service")
    parser.add_argument("--processes", action="store_true", help="real processes, killed at random")
    parser.add_argument("--provider", choices=PROVIDERS, default=PROVIDERS[0], help="whom the customers pay by")
    parser.add_argument("--orders", type=int, default=10_000, help="how many, with --processes")
    given = parser.parse_args()
    seeded = int(time.time()) if given.seed is None else given.seed
    if given.processes:
        return processes(given.orders, seeded, given.provider)
    if given.planted:
        return plant(given.minutes, seeded)
    with quiet_stage() as stage:
        if given.replay or given.schedule:
            text = given.replay.read_text("utf-8") if given.replay else given.schedule
            return again(stage, text, given.provider)
        print(f"Random schedules for {given.minutes:g} minutes, seed {seeded}.", flush=True)
        return explore(stage, given.minutes, seeded, shorten=not given.first, provider=given.provider)


if __name__ == "__main__":
    sys.exit(main())
