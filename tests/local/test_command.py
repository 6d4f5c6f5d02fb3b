"""`python -m local`, started and ended as a person does it, on a copy of the project with a small app."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from local.server import listen
from local.settings import LOOPBACK, ROOT

APP = """
import os
import time
import boto3
from chalice import Chalice

app = Chalice("orderonce")

@app.route("/send", methods=["POST"])
def send():
    sqs = boto3.client("sqs")
    queue = sqs.get_queue_url(QueueName=os.environ["ORDER_QUEUE"])["QueueUrl"]
    return sqs.send_message(QueueUrl=queue, MessageBody="hello")["MessageId"]

@app.on_sqs_message(queue=os.environ["ORDER_QUEUE"])
def order_consumer(event):
    for record in event:
        print("consumed", record.to_dict()["messageId"], flush=True)
        time.sleep(float(os.environ.get("CONSUMER_SECONDS", "0")))
"""

MAX_SECONDS_TO_END = 5.0
"""Half a long poll; on an idle machine it is well under one second."""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the stack needs, which a test may break."""
    skip = shutil.ignore_patterns("__pycache__", "deployments")
    for folder in (".chalice", "local", "chalicelib"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=skip)
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    return tmp_path


@pytest.fixture
def start(project: Path) -> Iterator[Start]:
    """Starts the stack on ports that the operating system chooses, and ends it after the test."""
    started: list[subprocess.Popen[str]] = []

    def run(**settings: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "local"],
            cwd=project,
            env=os.environ | {"PORT": "0", "AWS_PORT": "0"} | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        with process:
            process.kill()


def url_once_up(process: subprocess.Popen[str]) -> str:
    """The API's address, once the stack has printed it."""
    assert process.stderr is not None
    printed = ""
    for line in process.stderr:
        printed += line
        if found := re.search(r"API +(http://\S+)", line):
            return found[1]
    raise AssertionError("it did not start: " + printed)


def end_cleanly(process: subprocess.Popen[str], how: signal.Signals) -> str:
    """End it: at once, with status 0 and without a traceback. What it still printed to stderr."""
    began = time.monotonic()
    process.send_signal(how)
    _, err = process.communicate(timeout=10)
    assert time.monotonic() - began < MAX_SECONDS_TO_END
    assert process.returncode == 0
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_is_ended_cleanly_and_at_once_in_the_middle_of_a_long_poll(start: Start, how: signal.Signals) -> None:
    process = start()
    url_once_up(process)
    end_cleanly(process, how)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_is_ended_cleanly_while_it_starts(start: Start, how: signal.Signals) -> None:
    with closing(listen(LOOPBACK, 0, "PORT")) as free:
        port = free.getsockname()[1]
    process = start(PORT=str(port))
    # It listens first; then it has seconds of work to do.
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) == 0:
                break
        time.sleep(0.01)
    assert end_cleanly(process, how) == ""


def test_sigterm_to_make_leaves_no_child_and_no_port(project: Path) -> None:
    shutil.copy(ROOT / "Makefile", project)
    for name in ("requirements.txt", "requirements-dev.txt"):
        (project / name).touch()
    (project / ".venv" / "bin").mkdir(parents=True)
    python = project / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', "utf-8")
    python.chmod(0o755)
    (project / ".venv" / ".complete").touch()
    make = subprocess.Popen(
        ["make", "run", "PORT=0", "AWS_PORT=0"],
        cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    with make:
        try:
            port = int(url_once_up(make).rpartition(":")[2])
            make.terminate()
            make.communicate(timeout=10)
            with pytest.raises(ProcessLookupError):
                os.killpg(make.pid, 0)
            listen(LOOPBACK, port, "PORT").close()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(make.pid, signal.SIGKILL)


def consumed_message(process: subprocess.Popen[str]) -> tuple[str, str]:
    """The id of a message that the API sent, and what the consumer prints first."""
    request = urllib.request.Request(f"{url_once_up(process)}/send", method="POST")
    with urllib.request.urlopen(request, timeout=5) as response:
        message_id = response.read().decode()
    assert process.stdout is not None
    watchdog = threading.Timer(10, process.kill)
    watchdog.start()
    line = process.stdout.readline()
    watchdog.cancel()
    return message_id, line


def test_a_message_that_the_api_sends_reaches_the_consumer(start: Start) -> None:
    message_id, line = consumed_message(start())
    assert line == f"consumed {message_id}\n"


def test_it_is_ended_cleanly_and_at_once_while_the_consumer_is_busy(start: Start) -> None:
    process = start(CONSUMER_SECONDS="30")
    consumed_message(process)
    end_cleanly(process, signal.SIGTERM)


def refused(process: subprocess.Popen[str]) -> str:
    """The one sentence of a stack that cannot start."""
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert out == ""
    assert err.count("\n") == 1, err
    return err


@pytest.mark.parametrize("setting", ["PORT", "AWS_PORT"])
def test_a_taken_port_is_one_sentence_and_status_1(start: Start, setting: str) -> None:
    with closing(listen(LOOPBACK, 0, setting)) as taken:
        port = str(taken.getsockname()[1])
        sentence = refused(start(**{setting: port}))
    assert f"127.0.0.1:{port}" in sentence
    assert f"set {setting} " in sentence


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("CURRENCY", "usd", "the setting CURRENCY must be"),
        ("LOG_LEVEL", "loud", "the setting LOG_LEVEL must be"),
        ("MAX_RECEIVES", "many", "the setting MAX_RECEIVES must be"),
        ("PORT", "http", "PORT must be a port number"),
        ("HOST", "nowhere", "HOST must be an IP address"),
        ("HOST", "203.0.113.7", "HOST must be an IP address"),
        ("DATA", "/dev/null", "DATA cannot be used"),
        ("AUTH", "iam", "AUTH must be none or cognito here"),
        ("AUTH", "all", "the setting AUTH must be"),
    ],
)
def test_an_invalid_setting_is_one_sentence_and_status_1(start: Start, name: str, value: str, error: str) -> None:
    assert error in refused(start(**{name: value}))


@pytest.mark.parametrize(
    ("file", "content", "error"),
    [
        ("resources.json", "{", "resources.json"),
        ("resources.json", '{"Resources": {"Odd": {"Type": "AWS::SQS::Queue"}}, "Outputs": 1}', "resources.json"),
        ("config.json", "{", "config.json"),
        ("config.json", '{"version": "2.0", "app_name": "orderonce", "stages": {}}', "has no stage 'local'"),
    ],
)
def test_a_broken_template_or_configuration_is_one_sentence_and_status_1(
    project: Path, start: Start, file: str, content: str, error: str
) -> None:
    (project / ".chalice" / file).write_text(content, encoding="utf-8")
    assert error in refused(start())
