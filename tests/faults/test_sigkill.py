"""The process is really killed: SIGKILL at each call, before it or after it took effect.

The process is a fork, with connections of its own to DynamoDB Local; the queue and the bus are with its parent, which
answers until the process is dead.
"""

import os
import signal
import traceback
import warnings
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import pytest

from tests.faults.scenarios import Record, Run, Trial, trial
from tests.support.faults import Life
from tests.support.stage import Stage

pytestmark = pytest.mark.usefixtures("quiet")

MAX_CALLS = 40


class Remote:
    """A fake that is in another process: each call is sent there."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection, self._name = connection, name

    def __getattr__(self, method: str) -> Any:
        def call(*args: object, **params: object) -> Any:
            self._connection.send((self._name, method, args, params))
            return self._connection.recv()

        return call


def killed(one: Trial, run: Run, number: int, after: bool) -> bool:
    """Whether a process that did the act was killed at this call; False: it made fewer calls, and ended."""
    here, there = Pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads (pytest's), which the child does not use
        child = os.fork()
    if child == 0:
        here.close()
        _die_in_the_act(one, run, there, Life(dies_at=number, after=after, die=_kill_me))
    there.close()
    fakes = {"queue": one.world.queue, "bus": one.world.bus}
    try:
        while True:
            name, method, args, params = here.recv()
            here.send(getattr(fakes[name], method)(*args, **params))
    except (EOFError, ConnectionError):
        pass
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


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


@pytest.mark.parametrize("scenario", ["place with a key", "fulfil one", "cancel, CONFIRMED", "recover"])
def test_a_process_killed_by_the_system_at_whichever_call_breaks_no_promise(
    real_tables: Stage, scenario: str, record_property: Record
) -> None:
    with trial(real_tables, scenario) as one:
        schedules = 0
        for after in (False, True):
            for number in range(MAX_CALLS):
                run = one.prepared(f"killed-{'after' if after else 'before'}-{number}")
                one.world.clock.advance(seconds=61)  # its own clock is a copy
                reached = killed(one, run, number, after)
                one.act(run, one.healthy)
                if not reached:
                    break
                schedules += 1
            assert 0 < number < MAX_CALLS - 1
        record_property("schedules", ("SIGKILL at one call", schedules))
