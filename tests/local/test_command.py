"""`python -m local`, started and ended as a person does it, on a project with an app of its own."""

import json
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
from contextlib import closing
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

AT_ONCE = 5.0
"""Seconds. Half a long poll: on a machine that has nothing else to do it is well under one."""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what the stack is made of, so that a test may break it."""
    skip = shutil.ignore_patterns("__pycache__", "deployments")
    for folder in (".chalice", "local", "chalicelib"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=skip)
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    return tmp_path


@pytest.fixture
def start(project: Path) -> Iterator[Start]:
    """Starts the stack on ports that the operating system chooses, and sees to it that it ends."""
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
    """The API's address, from what the stack tells when it is up."""
    assert process.stderr is not None
    told = []
    for line in process.stderr:
        told.append(line)
        if found := re.search(r"API +(http://\S+)", line):
            return found[1]
    raise AssertionError("it never came up: " + "".join(told))


def ended(process: subprocess.Popen[str], how: signal.Signals) -> tuple[float, str, str]:
    """End it; how long that took, and what it still said."""
    began = time.monotonic()
    process.send_signal(how)
    out, err = process.communicate(timeout=10)
    return time.monotonic() - began, out, err


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_is_ended_cleanly_and_at_once_in_the_middle_of_a_long_poll(start: Start, how: signal.Signals) -> None:
    process = start()
    url_once_up(process)
    seconds, _, err = ended(process, how)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert seconds < AT_ONCE


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_is_ended_cleanly_while_it_starts(start: Start, how: signal.Signals) -> None:
    with closing(listen(LOOPBACK, 0, "PORT")) as free:
        port = free.getsockname()[1]
    process = start(PORT=str(port))
    # It listens before it does anything else, and from then on has seconds of work before it.
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) == 0:
                break
        time.sleep(0.01)
    seconds, _, err = ended(process, how)
    assert process.returncode == 0
    assert err == ""
    assert seconds < AT_ONCE


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
    seconds, _, err = ended(process, signal.SIGTERM)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert seconds < AT_ONCE


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
        said = refused(start(**{setting: port}))
    assert f"127.0.0.1:{port}" in said
    assert f"set {setting} " in said


@pytest.mark.parametrize(("name", "value"), [("CURRENCY", "usd"), ("LOG_LEVEL", "loud"), ("MAX_RECEIVES", "many")])
def test_a_setting_that_makes_no_sense_is_one_sentence_and_status_1(start: Start, name: str, value: str) -> None:
    assert f"the setting {name} must be" in refused(start(**{name: value}))


def test_a_port_that_is_none_is_one_sentence_and_status_1(start: Start) -> None:
    assert "PORT must be a port number" in refused(start(PORT="http"))


@pytest.mark.parametrize("content", ["{", '{"Resources": {"Odd": {"Type": "AWS::SQS::Queue"}}, "Outputs": 1}'])
def test_a_broken_template_is_one_sentence_and_status_1(project: Path, start: Start, content: str) -> None:
    (project / ".chalice" / "resources.json").write_text(content, encoding="utf-8")
    assert "resources.json" in refused(start())


def test_an_unreadable_configuration_is_one_sentence_and_status_1(project: Path, start: Start) -> None:
    (project / ".chalice" / "config.json").write_text("{", encoding="utf-8")
    assert "config.json" in refused(start())


def test_a_stage_that_is_missing_is_one_sentence_and_status_1(project: Path, start: Start) -> None:
    content = {"version": "2.0", "app_name": "orderonce", "stages": {}}
    (project / ".chalice" / "config.json").write_text(json.dumps(content), encoding="utf-8")
    assert "has no stage 'local'" in refused(start())
