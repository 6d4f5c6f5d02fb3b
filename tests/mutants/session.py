"""One pytest session, in which mutants meet tests: collected once, and a process is forked for each mutant.

The processes inherit what the first tests have imported and made, so a mutant costs what its tests cost. Nothing is
written to the project, and no test leaves its machine or this process's children.
"""

import gc
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.mutants.mutant import Mutant
from tests.support.template import ROOT

LOG = ROOT / ".cache" / "mutants" / "pytest.log"
"""What pytest and the tests print."""

_screen = [1]
"""File descriptors; the last is where `say` prints."""

Tell = Callable[[Any], None]


@dataclass
class Known:
    """What a test does without a mutant: CPU seconds, whether it fails, and which lines of which files it runs."""

    seconds: float
    failed: str | None
    lines: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: the test that failed, and why; `test` None: none did, it survived."""

    test: str | None
    why: str | None = None


class Session:
    """The tests that were collected, by their ids."""

    def __init__(self, items: Sequence[pytest.Item]) -> None:
        self.items = {item.nodeid: item for item in items}
        self._failed: str | None = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A hook of pytest's."""
        if report.failed and not self._failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self._failed = f"{report.when}: {getattr(crash, 'message', report.longreprtext)}"[:300]

    def by_file(self) -> dict[Path, list[str]]:
        """The tests of each file."""
        files: dict[Path, list[str]] = {}
        for name, item in self.items.items():
            files.setdefault(item.path, []).append(name)
        return files

    def warm_up(self, known: Mapping[str, Known]) -> None:
        """Run the cheapest tests of each file here, so that each child has what they import."""
        cheapest = [sorted(names, key=lambda name: known[name].seconds)[:2] for names in self.by_file().values()]
        self.here(name for names in cheapest for name in names)

    def here(self, names: Iterable[str]) -> dict[str, Known]:
        """What each of these tests does, run in this process: its children have all that the tests import and make."""
        known = {name: self._known(name) for name in names}
        gc.collect()
        gc.freeze()
        return known

    def without_mutant(self, names: Iterable[str], files: Sequence[str] = ()) -> dict[str, Known]:
        """What each of these tests does; with `files`, which of their lines it runs (needs coverage.py)."""
        todo = list(names)

        def work(tell: Tell) -> None:
            with _traced(files) as switch:
                for name in todo:
                    switch(name)
                    one = self._known(name)
                    tell(["test", name, one.seconds, one.failed])
            for name, file, lines in switch(None):
                tell(["lines", name, file, lines])

        told, ended = _in_child(work, wall=4 * 3600)
        tests = {name: Known(seconds, failed) for kind, name, seconds, failed in told if kind == "test"}
        if ended or len(tests) != len(todo):
            raise SystemExit(f"The tests themselves ended with {ended}: see {LOG}")
        for kind, name, file, lines in told:
            if kind == "lines":
                tests[name].lines[file] = lines
        return tests

    def meet(self, mutant: Mutant, names: Sequence[str], seconds: Callable[[str], float]) -> Verdict:
        """Run the tests with the mutant, in their order, until one fails. A test may take ten times its `seconds` of
        CPU, and five more; one that takes longer has failed."""

        def work(tell: Tell) -> None:
            mutant.become()
            for name in names:
                limit = 5 + 10 * seconds(name)
                tell(["begins", name])
                signal.setitimer(signal.ITIMER_PROF, limit)
                signal.setitimer(signal.ITIMER_REAL, 60 + 4 * limit)
                if failed := self._run(name):
                    tell(["failed", name, failed])
                    return
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)

        told, ended = _in_child(work, wall=3600)
        match told[-1:], ended:
            case [["failed", test, why]], _:
                return Verdict(test, why)
            case _, 0:
                return Verdict(None)
            case [["begins", test]], _:
                return Verdict(test, f"the process ended with {ended}")
        raise RuntimeError(f"{mutant.name} {mutant.added}: the mutant could not be made, see {LOG}")

    def _known(self, name: str) -> Known:
        began = _cpu()
        failed = self._run(name)
        return Known(_cpu() - began, failed)

    def _run(self, name: str) -> str | None:
        """Why it failed, if it did."""
        self._failed = None
        item = self.items[name]
        # Followed by nothing but the session: what that shares is kept, and nothing else.
        item.ihook.pytest_runtest_protocol(item=item, nextitem=item.session)
        return self._failed


def in_session(selection: Sequence[str], work: Callable[[Session], None]) -> None:
    """Collect the tests of a selection (files, folders, ids), and do the work among them."""

    faults: list[BaseException] = []

    class Loop:
        @pytest.hookimpl(tryfirst=True)
        def pytest_collection(self) -> None:
            _for_mutants()  # after conftest.py, before the test files

        def pytest_runtestloop(self, session: pytest.Session) -> bool:
            if session.testsfailed:
                return True
            tests = Session(session.items)
            session.config.pluginmanager.register(tests)
            try:
                work(tests)
            except (Exception, SystemExit) as fault:  # noqa: BLE001 - pytest would print it as its own
                faults.append(fault)
            return True

    options = ["-p", "no:xdist", "-p", "no:cacheprovider", "-q", "-s", "--tb=short"]
    options += ["--hypothesis-seed=0", "-m", "not dynamodb_local and not deploy and not slow"]
    with _output_to_log():
        code = pytest.main([*options, *selection], [Loop()])
    for fault in faults:
        raise fault
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise SystemExit(f"pytest ended with {code!r}: see {LOG}")


def _for_mutants() -> None:
    """The same examples for each mutant, none kept, none shrunk; and a slow machine kills no mutant."""
    from chalice.local import LambdaContext
    from hypothesis import Phase, settings

    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("mutants", deadline=None, database=None, phases=phases, report_multiple_bugs=False)
    settings.load_profile("mutants")
    LambdaContext.__init__.__defaults__ = (60_000, None)  # Chalice's test client gives a function 3 s of real time


@contextmanager
def _output_to_log() -> Iterator[None]:
    """What pytest and the tests print goes to the log; `say` prints where standard output was."""
    LOG.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    kept = os.dup(1), os.dup(2)
    with LOG.open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    _screen.append(kept[0])
    try:
        yield
    finally:
        sys.stdout.flush()
        for number, before in enumerate(kept, 1):
            os.dup2(before, number)
            os.close(before)
        _screen.pop()


def say(line: str) -> None:
    """Print a line for the person who runs this, also during a session."""
    os.write(_screen[-1], f"{line}\n".encode())


@contextmanager
def _traced(files: Sequence[str]) -> Iterator[Callable[[str | None], list[tuple[str, str, list[int]]]]]:
    """A function that names the test which begins; with None, after the end: each test's lines of each file."""
    if not files:
        yield lambda _: []
        return
    from coverage import Coverage

    coverage = Coverage(data_file=None, config_file=False, include=[str(ROOT / file) for file in files])

    def switch(name: str | None) -> list[tuple[str, str, list[int]]]:
        if name is not None:
            coverage.switch_context(name)
            return []
        lines: dict[tuple[str, str], list[int]] = {}
        for file in files:
            for line, tests in coverage.get_data().contexts_by_lineno(str(ROOT / file)).items():
                for test in filter(None, tests):
                    lines.setdefault((test, file), []).append(line)
        return [(test, file, found) for (test, file), found in lines.items()]

    coverage.start()
    try:
        yield switch
    finally:
        coverage.stop()


def _in_child(work: Callable[[Tell], None], wall: float) -> tuple[list[Any], int]:
    """What `work` told in a child process, and how that ended: 0, or less by a signal. Killed after `wall` seconds."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _child(work, writing)
    os.close(writing)
    told, until = b"", time.monotonic() + wall
    while select.select([reading], [], [], max(0.0, until - time.monotonic()))[0]:
        if not (chunk := os.read(reading, 1 << 20)):
            break
        told += chunk
    else:
        os.kill(child, signal.SIGKILL)
    os.close(reading)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    whole, _, _ = told.decode().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()], ended


def _child(work: Callable[[Tell], None], writing: int) -> None:
    code = 99
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1):
            os.dup2(nowhere, number)
        for number in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        with os.fdopen(writing, "w") as out:

            def tell(what: Any) -> None:
                out.write(json.dumps(what) + "\n")
                out.flush()

            work(tell)
        code = 0
    except BaseException as fault:  # noqa: BLE001 - this process ends here, whatever it was
        os.write(2, f"{type(fault).__name__}: {fault}\n".encode())
    finally:
        os._exit(code)


def _cpu() -> float:
    return os.times().user + os.times().system
