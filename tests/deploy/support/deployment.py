"""OrderOnce deployed to the emulator: the project's own copy, Chalice's own commands, and what can be seen of it."""

import copy
import io
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import boto3
import botocore.loaders
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from deploy import policies, stages
from deploy.vendoring import vendor
from tests.deploy.packages import configured
from tests.deploy.support.commands import unwatched
from tests.deploy.support.emulator import Emulator, kept, listens
from tests.support.network import free_port
from tests.support.stage import REGION, Stage
from tests.support.stripe_fake import SECRET_KEY
from tests.support.template import ROOT

T = TypeVar("T")

STAGE = "dev"
OPEN_STAGE = "open"
"""The same stage for `chalice local`, which verifies no signature."""

APP = "orderonce"
FUNCTIONS = ("order_consumer", "recover", "dead_letter_monitor", "replay_dead_letters")
"""The app's functions beside the API's own, by the names that app.py gives them."""

PARTS = ("app.py", "requirements.txt", "chalicelib", ".chalice", "vendor")
"""What Chalice deploys, or reads when it does."""

_PROBE = """
import boto3
from botocore.exceptions import ClientError

def probe(event, context):
    try:
        getattr(boto3.client(event["service"]), event["call"])(**event["arguments"])
    except ClientError as error:
        return error.response["Error"]["Code"]
    return ""
"""


class Deployment:
    """A copy of the project in `folder`, and the stage that is deployed from it, as it is configured at present."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.emulator = emulator
        self.project = folder / "project"
        self.environment = _environment(emulator, folder)
        self.stage = Stage(STAGE)
        self.logs: Any = boto3.client("logs")
        self.lambdas: Any = boto3.client("lambda")
        _copy_project(self.project)

    # --- what an operator does ---

    def create_resources(self) -> None:
        """Make the tables, queues, topic and bus from the template, by CloudFormation."""
        self.create_stack(f"{APP}-{STAGE}-resources", json.dumps(unwatched(STAGE)), Stage=STAGE)

    def create_stack(self, name: str, template: str, **parameters: str) -> dict[str, str]:
        """Make what a template describes, and wait for it; its outputs."""
        cloudformation = boto3.client("cloudformation")
        cloudformation.create_stack(
            StackName=name,
            TemplateBody=template,
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        )
        status = self.eventually(
            "the end of the stack's creation",
            lambda: _ended(cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]),
        )
        if status != "CREATE_COMPLETE":
            events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
            reasons = [f"{e['LogicalResourceId']}: {e.get('ResourceStatusReason')}" for e in events]
            self.fail(f"the stack {name} is {status}:\n" + "\n".join(reasons[:20]))
        outputs = cloudformation.describe_stacks(StackName=name)["Stacks"][0].get("Outputs", [])
        return {output["OutputKey"]: output["OutputValue"] for output in outputs}

    def chalice(self, command: str, seconds: float = 180) -> str:
        """Run a command of Chalice's for the stage, as an operator types it; its output."""
        chalice = str(Path(sys.executable).with_name("chalice"))
        try:
            ran = subprocess.run(
                [chalice, command, "--stage", STAGE],
                cwd=self.project,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            self.fail(f"`chalice {command}` took more than {seconds} s: {late.stdout!r} {late.stderr!r}")
        if ran.returncode != 0:
            self.fail(f"`chalice {command}` ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
        return ran.stdout

    def ops(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the operator's, as the documents write it: `.venv/bin/python -m ops …`."""
        words = shlex.split(command)
        return subprocess.run(
            [sys.executable, *words[1:]],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def redeploy(self) -> str:
        """`chalice deploy` once more. The emulator cannot update a REST API: it is deleted first, and created again."""
        gateway: Any = boto3.client("apigateway")
        for api in gateway.get_rest_apis()["items"]:
            gateway.delete_rest_api(restApiId=api["id"])
        return self.chalice("deploy")

    def pay_by_stripe(self, url: str) -> None:
        """Switch the stage to Stripe, which is at this address, as docs/deploying.md says."""
        name = f"orderonce/{STAGE}/stripe"
        boto3.client("secretsmanager").create_secret(Name=name, SecretString=SECRET_KEY)
        config = self.project / ".chalice" / "config.json"
        document = json.loads(config.read_text("utf-8"))
        own = document["stages"][STAGE]
        settings = {"PAYMENTS": "stripe", "STRIPE_KEY": f"secretsmanager:{name}", "STRIPE_URL": url}
        own["environment_variables"] |= settings
        with configured(STAGE, settings):
            own["lambda_functions"] = json.loads(json.dumps(stages.stage_config(STAGE)["lambda_functions"]))
            for file, policy in policies.files():
                (config.parent / file).write_text(_with_extra_actions(policy), "utf-8")
        config.write_text(json.dumps(document, indent=2), "utf-8")
        vendor(self.project / "vendor")
        self.redeploy()

    def invoke(self, function: str, event: Mapping[str, Any]) -> Any:
        """What a function answers to an event. An exception fails the test."""
        return self.invoke_by_name(self.named(function), event)

    def invoke_by_name(self, name: str, event: Mapping[str, Any]) -> Any:
        """The same for any function of the account."""
        answer = self.lambdas.invoke(FunctionName=name, Payload=json.dumps(event).encode())
        result = json.loads(answer["Payload"].read() or "null")
        if "FunctionError" in answer:
            self.fail(f"{name} raised {result}")
        return result

    def may(self, function: str, service: str, call: str, arguments: Mapping[str, Any]) -> bool:
        """Whether the role of a function (`api_handler` is the API's) may make a call of AWS: tried, by a function
        that has this role for once. Any error other than a refusal fails the test."""
        name = f"{APP}-probe"
        role = boto3.client("iam").get_role(RoleName=self.named(function))["Role"]["Arn"]
        self.lambdas.create_function(
            FunctionName=name,
            Role=role,
            Runtime=f"python{sys.version_info.major}.{sys.version_info.minor}",
            Handler="probe.probe",
            Code={"ZipFile": _zipped("probe.py", _PROBE)},
        )
        try:
            code = self.invoke_by_name(name, {"service": service, "call": call, "arguments": arguments})
        finally:
            self.lambdas.delete_function(FunctionName=name)
        if code not in ("", "AccessDenied", "AccessDeniedException"):
            self.fail(f"{call} as {function} was answered {code}")
        return bool(code == "")

    @contextmanager
    def api(self) -> Iterator[int]:
        """`chalice local` with the stage's settings, but open to everybody: the API in a process here, its tables and
        queue deployed. Gives the port."""
        port = free_port()
        log = self.project.parent / "api.log"
        command = ["local", "--stage", OPEN_STAGE, "--host", "127.0.0.1", "--port", str(port), "--no-autoreload"]
        with kept([str(Path(sys.executable).with_name("chalice")), *command], self.project, self.environment, log):
            self.eventually("an answer of `chalice local`", lambda: listens(port), 60)
            yield port

    # --- what can be seen ---

    def named(self, function: str) -> str:
        """The name of a function as it is deployed."""
        return f"{APP}-{STAGE}-{function}"

    def logged(self, function: str, words: str) -> list[dict[str, Any]]:
        """The log lines of a function in CloudWatch Logs that have these words, oldest first."""
        pages = self.logs.get_paginator("filter_log_events").paginate(
            logGroupName=f"/aws/lambda/{self.named(function)}"
        )
        try:
            lines = [event["message"] for page in pages for event in page["events"]]
        except self.logs.exceptions.ResourceNotFoundException:
            return []  # it was never invoked
        return [json.loads(line) for line in lines if words in line and line.startswith("{")]

    def eventually(self, what: str, look: Callable[[], T], seconds: float = 45) -> T:
        """What `look` finds once it finds something; a failure that names `what` when that takes too long."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > deadline:
                self.fail(f"{what} did not come within {seconds} s")
            time.sleep(0.1)
        return found

    def fail(self, reason: str) -> NoReturn:
        """Fail the test, with the last log lines of the functions and the emulator."""
        pytest.fail(f"{reason}\n\n{self.last_words()}", pytrace=False)

    def last_words(self) -> str:
        """The last log lines of each function, and of the emulator."""
        words = [f"--- {function}\n{self._last_lines(function)}" for function in FUNCTIONS]
        return "\n".join([*words, "--- the emulator", self.emulator.last_words()])

    def _last_lines(self, function: str, lines: int = 15) -> str:
        try:
            page = self.logs.filter_log_events(logGroupName=f"/aws/lambda/{self.named(function)}")
        except (BotoCoreError, ClientError) as fault:
            return f"({fault})"
        return "\n".join(event["message"].rstrip() for event in page["events"][-lines:])


def _zipped(name: str, text: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr(name, text)
    return archive.getvalue()


def _ended(status: str) -> str | None:
    return None if status.endswith("_IN_PROGRESS") else status


def _copy_project(project: Path) -> None:
    project.mkdir()
    made = shutil.ignore_patterns("__pycache__", "deployments", "deployed")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, project / part, ignore=made)
        elif (ROOT / part).exists():
            shutil.copy(ROOT / part, project / part)
    _fit(project / ".chalice")


def _fit(chalice: Path) -> None:
    """What the emulator cannot use unchanged: functions run on this machine's processor, and it requires actions like
    sqs:DeleteMessageBatch, which do not exist on AWS (sqs:DeleteMessage allows both). Also, no order is declined by
    chance."""
    document = copy.deepcopy(dict(stages.config()))
    for name, text in policies.files():
        (chalice / name).write_text(text, "utf-8")
    _replace(document, "lambda_architecture", "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64")
    own = document["stages"][STAGE]
    own["environment_variables"]["FAIL_PAYMENT_PERCENT"] = "0"
    document["stages"][OPEN_STAGE] = own | {"environment_variables": own["environment_variables"] | {"AUTH": "none"}}
    (chalice / "config.json").write_text(json.dumps(document, indent=2), "utf-8")
    for policy in chalice.glob(f"policy-{STAGE}-*.json"):
        policy.write_text(_with_extra_actions(policy.read_text("utf-8")), "utf-8")


def _with_extra_actions(policy: str) -> str:
    for action in ("SendMessage", "DeleteMessage", "ChangeMessageVisibility"):
        policy = policy.replace(f'"sqs:{action}"', f'"sqs:{action}", "sqs:{action}Batch"')
    return policy


def _replace(document: dict[str, Any], key: str, value: str) -> None:
    for name, inner in document.items():
        if name == key:
            document[name] = value
        elif isinstance(inner, dict):
            _replace(inner, key, value)


def _environment(emulator: Emulator, folder: Path) -> dict[str, str]:
    """The environment of an operator's shell: the way to AWS, and no setting of the service."""
    own = ("AWS_", "POWERTOOLS_")
    return {name: value for name, value in os.environ.items() if not name.startswith(own) and name != "AUTH"} | {
        **emulator.credentials,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_DATA_PATH": str(_quick_waiters(folder)),
    }


def _quick_waiters(folder: Path) -> Path:
    """botocore's own waiters of Lambda, but checking five times a second whether a function exists, not every five
    seconds."""
    waiters = botocore.loaders.create_loader().load_service_model("lambda", "waiters-2")
    for waiter in waiters["waiters"].values():
        waiter |= {"delay": 0.2, "maxAttempts": 300}
    place = folder / "botocore" / "lambda" / "2015-03-31"
    place.mkdir(parents=True)
    (place / "waiters-2.json").write_text(json.dumps(waiters), "utf-8")
    return folder / "botocore"
