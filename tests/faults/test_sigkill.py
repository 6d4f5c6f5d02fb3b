"""The process is really killed: SIGKILL at each call, before it or after it took effect.

The process is a fork, with connections of its own to DynamoDB Local, and to a server in place of Stripe; the queue and
the bus are with its parent, which answers until the process is dead.
"""

import os
import signal
import traceback
import warnings
from contextlib import nullcontext
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import pytest

from tests.faults.scenarios import WITH, Record, Run, Trial, trial
from tests.support.faults import Life
from tests.support.stage import Stage

pytestmark = pytest.mark.usefixtures("quiet")


class Remote:
    """A fake that is in another process: each call is sent there."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection, self._name = connection, name

    def __getattr__(self, method: str) -> Any:
        def call(*args: object, **params: object) -> Any:
            self._connection.send((self._name, method, args, params))
            return self._connection.recv()

        return call


def kill(one: Trial, run: Run, life: Life) -> None:
    """A process lives this life while it does the act, and is killed."""
    here, there = Pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads (pytest's), which the child does not use
        child = os.fork()
    if child == 0:
        here.close()
        _die_in_the_act(one, run, there, life)
    there.close()
    fakes = {"queue": one.world.queue, "bus": one.world.bus}
    try:
        while True:
            name, method, args, params = here.recv()
            here.send(getattr(fakes[name], method)(*args, **params))
    except (EOFError, ConnectionError):
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def _die_in_the_act(one: Trial, run: Run, connection: Connection, life: Life) -> None:
    try:
        one.world.queue, one.world.bus = Remote(connection, "queue"), Remote(connection, "bus")  # type: ignore[assignment]
        process = one.world.process()
        process.start(life)
        one.act(run, process)
    except BaseException:  # noqa: BLE001 - the parent must not go on twice
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _kill_me() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("provider", "scenario"),
    [
        *(("simulated", each) for each in ("place with a key", "fulfil one", "cancel, CONFIRMED", "recover")),
        *(("stripe", each) for each in ("fulfil one", "refund")),
    ],
)
def test_a_process_killed_by_the_system_at_whichever_call_breaks_no_promise(
    real_tables: Stage, provider: str, scenario: str, record_property: Record
) -> None:
    with trial(real_tables, scenario, provider) as one:
        schedules = [place for place in one.places() if place[1].startswith("killed")]
        with one.world.stripe.over_http() if one.world.stripe else nullcontext():
            for number, fault in schedules:
                run = one.prepared(f"{fault}-{number}")
                kill(one, run, Life(dies_at=number, after=fault == "killed after", die=_kill_me))
                one.act(run, one.healthy)
        record_property("schedules", (f"SIGKILL at one call{WITH[provider]}", len(schedules)))
