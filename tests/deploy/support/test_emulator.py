"""The emulator is installed completely or not at all, and ends with the process that started it."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from tests.deploy.support import emulator as engine
from tests.support.environments import NotInstalled
from tests.support.network import free_port
from tests.support.template import ROOT


def test_without_openssl_the_sentence_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(engine.Unavailable, match="no `openssl`"), engine.running():
        pass


def test_an_emulator_that_cannot_be_installed_is_unavailable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fails(*_: object) -> NoReturn:
        raise NotInstalled("no such package")

    monkeypatch.setattr(engine, "python_with", fails)
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/openssl")
    with pytest.raises(engine.Unavailable, match="no such package"), engine.running():
        pass


@pytest.mark.slow
def test_a_server_and_what_it_started_end_when_its_tests_are_killed(tmp_path: Path) -> None:
    ports = free_port(), free_port()
    serve = "exec {python} -m http.server --bind 127.0.0.1 {port}"
    first, second = (serve.format(python=sys.executable, port=port) for port in ports)
    script = (
        "import pathlib\n"
        "from tests.deploy.support.emulator import kept\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        f"with kept(['sh', '-c', {f'({first}) & {second}'!r}], folder, {{}}, folder / 'log'):\n"
        "    print('kept', flush=True)\n"
        "    input()\n"
    )
    tests = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert tests.stdout
    assert tests.stdout.readline() == "kept\n"
    assert _comes_true(lambda: all(map(engine.listens, ports)))

    tests.kill()
    tests.communicate()

    assert _comes_true(lambda: not any(map(engine.listens, ports)))


def _comes_true(condition: Callable[[], bool], seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while not (true := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return true
