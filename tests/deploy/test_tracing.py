"""AWS calls are subsegments of X-Ray if the SDK is installed; the service works without it."""

import json
import subprocess
import sys
from typing import Any

import pytest

from chalicelib.adapters.clients import trace_aws_calls
from tests.support.template import ROOT

IN_LAMBDA = {
    "LAMBDA_TASK_ROOT": "/var/task",
    "_X_AMZN_TRACE_ID": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
}

PROGRAM = """
import json, sys, threading
from chalicelib.adapters.clients import trace_aws_calls
traced = trace_aws_calls() and trace_aws_calls()
import boto3
from moto import mock_aws
sent = []
if traced:
    from aws_xray_sdk.core import xray_recorder
    class Emitter:
        def send_entity(self, entity): sent.append([entity.name, entity.aws.get("operation")])
        def set_daemon_address(self, address): pass
    xray_recorder.configure(emitter=Emitter())
with mock_aws():
    sqs = boto3.client("sqs")
    sqs.create_queue(QueueName="a")
    thread = threading.Thread(target=sqs.list_queues)
    thread.start()
    thread.join()
print(json.dumps([traced, sent]))
"""


def run(environment: dict[str, str], program: str = PROGRAM) -> Any:
    """In its own process: what is patched stays patched."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_in_lambda_each_call_is_a_subsegment_once_in_threads_too() -> None:
    assert run(IN_LAMBDA) == [True, [["sqs", "CreateQueue"], ["sqs", "ListQueues"]]]


def test_without_the_sdk_nothing_is_traced_and_nothing_fails() -> None:
    missing = 'import sys; sys.modules["aws_xray_sdk"] = None\n' + PROGRAM
    assert run(IN_LAMBDA, missing) == [False, []]


def test_outside_of_lambda_nothing_is_patched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAMBDA_TASK_ROOT", raising=False)
    assert trace_aws_calls() is False


def test_outside_of_an_invocation_a_call_does_not_fail() -> None:
    environment = {name: value for name, value in IN_LAMBDA.items() if name != "_X_AMZN_TRACE_ID"}
    assert run(environment)[0] is True
