"""The release before this one, from the history of the repository, run as a process of its own."""

import io
import json
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.support.aws_calls import Killed
from tests.support.skipping import skip
from tests.support.template import ROOT
from tests.support.world import World

_WORKER = Path(__file__).with_name("previous_worker.py")
_RUN = ("app.py", "chalicelib")


def commit() -> str:
    """The commit of the newest release: CHANGELOG.md has it."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.search(r"^## \[\d[^\n]*\n+[^#]*?commit `([0-9a-f]{12,40})`", text, re.MULTILINE)
    assert found, "CHANGELOG.md names no commit of a release"
    return found[1]


def unpack(at: Path) -> Path:
    """The code of the release before. Skips where there is no history, unless REQUIRE_HISTORY=1."""
    command = ["git", "archive", "--format", "zip", commit(), *_RUN]
    archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if archive.returncode != 0:
        _no_history()
    with zipfile.ZipFile(io.BytesIO(archive.stdout)) as zipped:
        zipped.extractall(at)
    return at


def _no_history() -> NoReturn:
    why = f"this checkout does not have the commit of the release before, {commit()}"
    if os.environ.get("REQUIRE_HISTORY") == "1":
        pytest.fail(why)
    skip(why, to_run="git fetch --unshallow, then make test ARGS=tests/use_cases/test_releases.py")


class PreviousProcess:
    """A process of the release before, on the tables, the queue and the bus of a world."""

    def __init__(self, world: World, code: Path) -> None:
        self._world, self._code = world, code
        self._calls_left: int | None = None
        self._start()

    def dies_after(self, calls: int | None) -> None:
        """So many calls of the queue or the bus later it is killed; None: it lives."""
        self._calls_left = calls

    def _start(self) -> None:
        stage = self._world.stage
        environment = {
            **os.environ,
            **stage.settings,
            "DYNAMODB_ENDPOINT": str(stage.dynamodb_endpoint),
            "LOG_LEVEL": "CRITICAL",
            "PYTHONPATH": str(self._code),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", str(_WORKER)],
            cwd=self._code,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        loaded = self._result()
        assert Path(loaded).is_relative_to(self._code), f"{loaded} is not the release before"

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    # --- what it can be asked for ---

    def consume(self, records: list[dict[str, Any]]) -> None:
        """Hand a batch to its consumer; when it returns, its messages are deleted, as Lambda does it."""
        if self._ask("consume", records=records):
            self._world.delete(records)

    def recover(self) -> int:
        return int(self._ask("recover"))

    def place(self, headers: dict[str, str], body: str) -> tuple[int, str]:
        """Status and body of the answer."""
        status, text = self._ask("place", headers=headers, body=body)
        return int(status), str(text)

    def cancel(self, order_id: str) -> int:
        """The status of the answer."""
        return int(self._ask("cancel", order_id=order_id)[0])

    def _ask(self, do: str, **arguments: Any) -> Any:
        clock = [self._world.clock().isoformat(), time.monotonic(), self._world.rate]
        self._say({"do": do, "clock": clock, "arguments": arguments})
        return self._result()

    def _result(self) -> Any:
        """What it says in the end. Raises Killed, when there is another process in its place."""
        while True:
            said = json.loads(self._heard())
            if "done" in said:
                return said["done"]
            if self._calls_left == 0:
                self._calls_left = None
                self.close()
                self._start()
                raise Killed
            if self._calls_left:
                self._calls_left -= 1
            of = self._world.queue if said["ask"] == "queue" else self._world.bus
            self._say(getattr(of, said["call"])(**said["arguments"]))

    def _say(self, what: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()

    def _heard(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, f"the process of the release before has ended: {self._process.wait()}"
        return line
