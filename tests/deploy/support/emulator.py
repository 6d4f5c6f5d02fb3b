"""ministack, an emulator of AWS that takes a real `chalice deploy` and runs what was deployed.

It lives in a virtual environment of its own, `.cache/emulator/`, made once from tests/deploy/requirements.txt: its
Python is also the runtime of the Lambda functions, so what is not in the deployed package must be there. The server
listens on 127.0.0.1 alone, keeps everything in memory, and ends with the process that started it, however that ends.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.environments import NotInstalled, python_with
from tests.support.network import free_port
from tests.support.template import ROOT

REQUIREMENTS = ROOT / "tests" / "deploy" / "requirements.txt"
CACHE = ROOT / ".cache" / "emulator"
START_SECONDS = 60
ACCOUNT = "000000000000"
"""The account of everything in the emulator (its own default)."""

_CERTIFICATE = Path("ministack-tls") / "server.crt"
"""Where it puts the certificate that it makes for itself, in its temporary folder."""

# The keeper runs between the tests and a server. It ends the server and all that the server started (one process
# group) when its standard input closes, which happens even if the tests are killed.
_KEEPER = """
import os, signal, subprocess, sys, threading
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=True)
def end():
    try:
        os.killpg(server.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
def wait_for_the_tests_to_end():
    sys.stdin.buffer.read()
    end()
threading.Thread(target=wait_for_the_tests_to_end, daemon=True).start()
server.wait()
end()
"""


class Unavailable(Exception):
    """The emulator cannot run on this machine; the text says what is missing."""


@dataclass(frozen=True)
class Emulator:
    """An emulator that answers at `endpoint`; its output goes to the file `log`."""

    endpoint: str
    log: Path

    @property
    def credentials(self) -> dict[str, str]:
        """The environment variables that lead to it, as the root of its account."""
        trusted = {"AWS_CA_BUNDLE": str(self.log.parent / _CERTIFICATE)} if self.endpoint.startswith("https") else {}
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            **trusted,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }

    def last_words(self, lines: int = 40) -> str:
        """The end of its output, and of that of the functions in it."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])


@contextmanager
def running(*, guarded: bool = True) -> Iterator[Emulator]:
    """An emulator of one's own, empty. Raises Unavailable where it cannot be installed, and RuntimeError with its
    last words where it does not start.

    `guarded`: over TLS, with policies enforced. Only without, its API Gateway verifies tokens: it asks itself for the
    keys by which they are signed, without TLS.
    """
    if shutil.which("openssl") is None:
        raise Unavailable("The emulator makes its certificate by openssl, and there is no `openssl` on this machine")
    try:
        python = python_with(REQUIREMENTS, CACHE)
    except NotInstalled as failed:
        raise Unavailable(f"The emulator could not be installed:\n{failed}") from failed
    for attempt in (1, 2, 3):
        with tempfile.TemporaryDirectory(prefix="emulator-", ignore_cleanup_errors=True) as folder:
            port = free_port()
            emulator = Emulator(f"http{'s' if guarded else ''}://127.0.0.1:{port}", Path(folder) / "log")
            environment = _environment(port, Path(folder)) | (_guards(Path(folder)) if guarded else {})
            with kept([str(python), "-m", "ministack"], Path(folder), environment, emulator.log) as server:
                if _answers(server, port):
                    yield emulator
                    return
            said = emulator.last_words()
        # Between choosing a port and opening it another process may have taken it.
        if "already in use" not in said or attempt == 3:
            raise RuntimeError(f"The emulator did not start on port {port}. Its last words:\n{said}")


@contextmanager
def kept(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a process of its own, which ends with this context, or with this process if that is killed."""
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-c", _KEEPER, *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,  # Ctrl-C is for the tests, which still need the server while they clean up
            env=environment,
        )
    try:
        yield server
    finally:
        server.communicate(timeout=30)  # closes standard input, which ends the keeper


def listens(port: int) -> bool:
    """Whether somebody listens on this port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _environment(port: int, folder: Path) -> dict[str, str]:
    """Its settings, and nothing of this process's own: the functions that run in it inherit them."""
    kept_names = ("PATH", "HOME", "LANG", "LC_ALL")
    return {name: value for name, value in os.environ.items() if name in kept_names} | {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",  # it would open a port on all interfaces
        "SFN_WAIT_SCALE": "0",  # no pauses between the tries of a state machine's step
        "STATE_DIR": str(folder),
        "TMPDIR": str(folder),
        "PYTHONUNBUFFERED": "1",
    }


def _guards(folder: Path) -> dict[str, str]:
    """Policies are enforced, those of queues that want TLS included."""
    return {"AUTH": "true", "USE_SSL": "1", "AWS_CA_BUNDLE": str(folder / _CERTIFICATE)}


def _answers(server: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the port is open; False when the server ended or took too long."""
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        if listens(port):
            return server.poll() is None
        time.sleep(0.05)
    return False
