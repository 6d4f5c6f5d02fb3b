"""DynamoDB Local comes whole or not at all, and goes with whoever started it."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import dynamodb_local as engine
from tests.support.template import ROOT


def test_without_java_the_sentence_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(engine.Unavailable, match="needs Java"), engine.running():
        pass


def test_without_maven_the_sentence_says_so_and_what_was_fetched_before_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(engine, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(engine.Unavailable, match="fetched by Maven"):
        engine._jars()

    (tmp_path / "cache" / engine.version()).mkdir()
    assert engine._jars() == tmp_path / "cache" / engine.version()


def test_a_fetch_that_fails_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho no such host\nexit 1\n")
    maven.chmod(0o755)
    monkeypatch.setattr(engine, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(engine.Unavailable, match="no such host"):
        engine._jars()
    assert [left.name for left in (tmp_path / "cache").iterdir()] == ["lock"]


@pytest.mark.slow
def test_the_server_ends_when_its_tests_are_killed(dynamodb_local: str) -> None:
    """(The fixture is asked for so that this is skipped where the server cannot run.)"""
    script = (
        "from tests.support.dynamodb_local import running\n"
        "with running() as endpoint:\n"
        "    print(endpoint, flush=True)\n"
        "    input()\n"
    )
    tests = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert tests.stdout
    port = int(tests.stdout.readline().rsplit(":", 1)[1])
    assert _listens(port)

    tests.kill()
    tests.communicate()

    deadline = time.monotonic() + 10
    while _listens(port) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _listens(port)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
