"""stripe-mock, Stripe's own program that knows which requests its API takes: a Go program, built in `.cache/`.

It remembers nothing, and its description of the API may be a little older than the version that is pinned.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.environments import make_once
from tests.support.network import free_port
from tests.support.skipping import skip, skip_or_fail
from tests.support.template import ROOT
from tests.support.waiting import until

VERSION = "v0.203.0"
_FOLDER = ROOT / ".cache" / "stripe-mock" / VERSION
_TO_RUN = 'REQUIRE_STRIPE_MOCK=1 make test ARGS="-n 0 tests/adapters/test_stripe_wire.py", with Go and a network'


@contextmanager
def stripe_mock() -> Iterator[str]:
    """Its address. The test is skipped where it is not built; with REQUIRE_STRIPE_MOCK=1 it is built, or fails."""
    program = _program()
    port = free_port()
    # HTTPS is served too, and by default on every interface.
    command = [str(program), "-http-addr", f"127.0.0.1:{port}", "-https-addr", "127.0.0.1:0"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            until(lambda: _listens(port))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def _program() -> Path:
    if not (_FOLDER / "complete").exists():
        if not shutil.which("go"):
            skip_or_fail("REQUIRE_STRIPE_MOCK", "stripe-mock is built by Go, which is not here", _TO_RUN)
        if os.environ.get("REQUIRE_STRIPE_MOCK") != "1":
            skip("asks stripe-mock whether it takes each request", _TO_RUN)
        make_once(_FOLDER, _install)
    return _FOLDER / "stripe-mock"


def _install() -> None:
    install = ["go", "install", f"github.com/stripe/stripe-mock@{VERSION}"]
    subprocess.run(install, env=os.environ | {"GOBIN": str(_FOLDER)}, check=True, stdin=subprocess.DEVNULL)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
