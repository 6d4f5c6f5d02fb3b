"""DynamoDB Local comes whole or not at all, and goes with whoever started it."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import dynamodb_local as engine
from tests.support.template import ROOT


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of all programs that there are, and nothing was fetched before."""
    monkeypatch.setattr(engine, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_an_engine_that_is_missing_skips_its_tests_and_fails_them_where_it_is_required(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(engine.Unavailable, match="needs Java") as missing, engine.running():
        pass
    monkeypatch.delenv("REQUIRE_DYNAMODB_LOCAL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs Java"):
        engine.skip_or_fail(missing.value)
    monkeypatch.setenv("REQUIRE_DYNAMODB_LOCAL", "1")
    with pytest.raises(pytest.fail.Exception, match="needs Java"):
        engine.skip_or_fail(missing.value)


def test_a_fetch_that_fails_leaves_nothing_behind(bare: Path) -> None:
    with pytest.raises(engine.Unavailable, match="fetched by Maven"):
        engine._jars()
    maven = bare / "mvn"
    maven.write_text("#!/bin/sh\necho no such host\nexit 1\n")
    maven.chmod(0o755)
    with pytest.raises(engine.Unavailable, match="no such host"):
        engine._jars()
    assert [left.name for left in (bare / "cache").iterdir()] == ["lock"]


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
