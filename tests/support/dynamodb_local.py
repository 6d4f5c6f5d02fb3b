"""DynamoDB Local, a real engine for conditional writes, transactions and races.

The jars come by Maven, once, into `.cache/dynamodb-local/` and stay there. The server keeps all in memory and
dies with the process that started it, however that ends. It listens on all interfaces (it offers no choice)
but holds made-up orders only, under a random port.
"""

import fcntl
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from tests.support import skipping
from tests.support.network import free_port
from tests.support.template import ROOT

POM = ROOT / "tests" / "dynamodb_local" / "pom.xml"
CACHE = ROOT / ".cache" / "dynamodb-local"
LEAST_JAVA = 17
START_SECONDS = 60

# The keeper is between the tests and Java. It ends Java when its own standard input closes, which the
# system does for it even when the tests are killed, and it holds the last lines of what Java prints, so that
# the output fills neither a pipe nor a disk.
_KEEPER = """
import collections, subprocess, sys, threading
from subprocess import DEVNULL, PIPE, STDOUT
java = subprocess.Popen(sys.argv[1:], stdin=DEVNULL, stdout=PIPE, stderr=STDOUT)
def wait_for_the_tests_to_end():
    sys.stdin.buffer.read()
    java.kill()
threading.Thread(target=wait_for_the_tests_to_end, daemon=True).start()
last = collections.deque(java.stdout, maxlen=30)
sys.stderr.buffer.write(b"".join(last)[-8000:])
sys.exit(java.wait())
"""


class Unavailable(Exception):
    """DynamoDB Local cannot run on this machine; the text says what is missing."""


def skip_or_fail(missing: Unavailable) -> NoReturn:
    """Skip the test, or fail where the engine is required, so that no build passes without it by mistake."""
    to_run = f"install Java {LEAST_JAVA} and Maven, then make test ARGS='-m dynamodb_local'"
    skipping.skip_or_fail("REQUIRE_DYNAMODB_LOCAL", str(missing), to_run)


@contextmanager
def running() -> Iterator[str]:
    """A server of one's own; gives its endpoint URL. Raises Unavailable where Java or Maven is missing, and
    RuntimeError with the server's last words where it does not start."""
    java = _java()
    jars = _jars()
    for attempt in (1, 2, 3):
        port = free_port()
        server = _start(java, jars, port)
        try:
            if _answers(server, port):
                yield f"http://127.0.0.1:{port}"
                return
        finally:
            said = _stop(server)
        # Between choosing a port and opening it another process may have taken it.
        if "Address already in use" not in said or attempt == 3:
            raise RuntimeError(f"DynamoDB Local did not start on port {port}. Its last words:\n{said}")


def _java() -> str:
    java = shutil.which("java")
    if java is None:
        raise Unavailable("DynamoDB Local needs Java, and there is no `java` on this machine")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    if version is None or int(version[1]) < LEAST_JAVA:
        raise Unavailable(f"DynamoDB Local needs Java {LEAST_JAVA} or newer, and `java -version` says: {said.strip()}")
    return java


def version() -> str:
    """What tells the jars of one pom from those of another."""
    return hashlib.sha256(POM.read_bytes()).hexdigest()[:12]


def _jars() -> Path:
    """The folder of jars that the pom names. The first process to ask fetches them while others wait."""
    jars = CACHE / version()
    if jars.is_dir():
        return jars
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.is_dir():
            _fetch(jars)
    return jars


def _fetch(jars: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable("DynamoDB Local is fetched by Maven, and there is no `mvn` on this machine")
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        whole = Path(folder) / "jars"
        command = [maven, "--quiet", "--batch-mode", f"--file={POM}", "dependency:copy-dependencies"]
        fetched = subprocess.run(
            [*command, f"-DoutputDirectory={whole}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if fetched.returncode != 0:
            raise Unavailable(f"Maven could not fetch DynamoDB Local:\n{fetched.stdout[-2000:]}")
        whole.rename(jars)  # all of the jars or none, whenever this is interrupted


def _start(java: str, jars: Path, port: int) -> subprocess.Popen[bytes]:
    options = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx512m"]
    server = [
        "software.amazon.dynamodb.services.local.main.ServerRunner",
        "-inMemory",
        "-sharedDb",
        "-disableTelemetry",
    ]
    return subprocess.Popen(
        [sys.executable, "-c", _KEEPER, java, *options, "-cp", f"{jars}/*", *server, "-port", str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=CACHE,  # it likes to leave files where it is started
        start_new_session=True,  # Ctrl-C is for the tests, which still need the server while they clean up
        env={name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
    )


def _answers(server: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the port is open; False when the server ended or took too long."""
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return server.poll() is None
    return False


def _stop(server: subprocess.Popen[bytes]) -> str:
    """End the server and give its last words."""
    _, said = server.communicate(timeout=30)  # closes standard input, which is the keeper's sign to end it
    return said.decode(errors="replace")
