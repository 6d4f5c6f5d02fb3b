"""`make deploy` on an emulator that executes the SAM transform and serves the REST API: the zip that Lambda gets, used.

What the emulator cannot do is taken out of the package (`fit`), or stands in the list of what `stage check` misses.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from deploy import __main__ as command
from deploy.packaging import TEMPLATE_NAME, ZIP_NAME
from deploy.stages import FUNCTIONS
from ops.smoke import HttpApi
from tests.deploy.support.commands import (
    SIMULATED_ON_PROD,
    Run,
    deploying,
    encrypt,
    queues,
    stack,
    stage_key,
    tables,
    with_extra_actions,
    without,
)
from tests.deploy.support.emulator import Emulator
from tests.ops.live_stage import operate
from tests.support.waiting import until

pytestmark = [pytest.mark.deploy, pytest.mark.slow]

STAGE = "prod"
NAME = f"orderonce-{STAGE}"
BUCKET = "orderonce-artifacts"
ORDER = {"customerId": "C1", "items": [{"productId": "PROD-001", "quantity": 1}], "totalAmount": 29.99}
NATIVE = ("vendor/rpds/", "rpds/", "simplejson/_speedups", "wrapt/_wrappers")
"""Compiled for Lambda's processor and Python. The emulator's own Python has rpds; the others do without."""

WATCHING = ("AWS::CloudWatch::", "AWS::Logs::QueryDefinition")
"""The emulator has no alarm by metric maths, no dashboard that works, and no saved query."""


class Api:
    """The deployed API, asked by whoever has signed (or not)."""

    def __init__(self, emulator: Emulator) -> None:
        (api,) = boto3.client("apigateway").get_rest_apis()["items"]
        self.url = f"{emulator.endpoint}/restapis/{api['id']}/{STAGE}/_user_request_"

    def ask(self, method: str, path: str, body: Any = None, *, key: str = "", signed: bool = True) -> tuple[int, Any]:
        headers = {"Content-Type": "application/json"} if body else {}
        if key:
            headers["Idempotency-Key"] = key
        answer = HttpApi(self.url, signed)(method, path, json.dumps(body).encode() if body else b"", headers)
        return answer.status, json.loads(answer.body)


class Packages:
    """The package, made once; then each deployment gets it, fit for the emulator and perhaps changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._make = command._package
        self.log_line = "order confirmed"
        self.fails = False

    def __call__(self, stage: str, out: Path, artifact: Path | None) -> None:
        if not self._folder.exists():
            self._make(stage, self._folder, artifact)
        template = json.loads((self._folder / TEMPLATE_NAME).read_text("utf-8"))
        for function in FUNCTIONS.values():
            template["Resources"][function]["Properties"]["Environment"]["Variables"] |= SIMULATED_ON_PROD
        (out / TEMPLATE_NAME).write_text(json.dumps(fit(template, fails=self.fails)), "utf-8")
        with zipfile.ZipFile(self._folder / ZIP_NAME) as packaged, zipfile.ZipFile(out / ZIP_NAME, "w") as changed:
            for entry in packaged.infolist():
                content = packaged.read(entry)
                if entry.filename == "chalicelib/use_cases/reporting.py":
                    assert content.count(b'"order confirmed"') == 1
                    content = content.replace(b'"order confirmed"', json.dumps(self.log_line).encode())
                if not entry.filename.startswith(NATIVE):
                    changed.writestr(entry, content)

    def functions(self) -> dict[str, Any]:
        """The properties of each function, by its logical id."""
        resources = json.loads((self._folder / TEMPLATE_NAME).read_text("utf-8"))["Resources"]
        return {n: r["Properties"] for n, r in resources.items() if r["Type"] == "AWS::Serverless::Function"}


def fit(template: dict[str, Any], *, fails: bool) -> dict[str, Any]:
    """The template as far as the emulator can deploy it; one that `fails` has an alarm that it refuses, at the end."""
    resources = with_extra_actions(without(template["Resources"], *WATCHING))
    if fails:
        others = [name for name, resource in resources.items() if resource["Type"] == "AWS::DynamoDB::Table"]
        resources["Alarm"] = template["Resources"]["LambdaThrottlesAlarm"] | {"DependsOn": others}
    for resource in resources.values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"] |= {"Architectures": ["x86_64"], "Runtime": "python3.11"}
            resource["Properties"].pop("DeploymentPreference", None)  # it has no CodeDeploy: all at once
    return {**template, "Resources": resources, "Outputs": {}}


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Packages:
    packages = Packages(tmp_path / "package")
    monkeypatch.setattr(command, "_package", packages)
    monkeypatch.setattr(command, "check_python", lambda _: None)  # the emulator runs functions by its own Python
    return packages


@pytest.fixture
def account(packages: Packages) -> Iterator[tuple[Run, Emulator]]:
    with deploying(STAGE, "tests/deploy/test_emulated_package.py") as (run, emulator):
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield run, emulator


MISSED = {
    ("alarm", "does not exist"),
    ("function", "architecture: x86_64, should be arm64"),
    *(("role", f"may sqs:{call}MessageBatch") for call in ("Send", "Delete")),
    ("role", "may sqs:ChangeMessageVisibilityBatch"),
}
"""What `stage check` finds wrong on the emulator, by kind: all of it is what `fit` has changed."""


def missed(stage: str = STAGE) -> set[tuple[str, str]]:
    checked = operate("stage", "check", stage, "--json")
    found = json.loads(checked.stdout)
    return {(each["kind"], text.partition(" on ")[0]) for each in found for text in each["differences"]}


def complete(packages: Packages) -> None:
    """What the emulator leaves out of the functions and tables that CloudFormation makes."""
    encrypt(stage_key(NAME))
    functions = {f["FunctionName"].split("-")[2]: f for f in boto3.client("lambda").list_functions()["Functions"]}
    for name, function in packages.functions().items():
        boto3.client("lambda").put_function_concurrency(
            FunctionName=functions[name]["FunctionName"],
            ReservedConcurrentExecutions=function["ReservedConcurrentExecutions"],
        )


def test_a_stage_is_deployed_used_changed_destroyed_and_deployed_again(
    account: tuple[Run, Emulator], packages: Packages, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, emulator = account
    monkeypatch.setenv("ALERTS_EMAIL", "ann@example.com")

    packages.fails = True
    failed = run("stack", "--bucket", BUCKET)
    assert (failed.exit_code, "ROLLBACK_COMPLETE" in failed.output) == (1, True), failed.output
    assert (tables(), queues()) == ([], [])
    packages.fails = False

    first = run("stack", "--bucket", BUCKET)
    assert first.exit_code == 0, first.output
    assert stack(NAME) == (True, "UPDATE_COMPLETE")
    made = tables()
    complete(packages)
    product = {"productId": {"S": "PROD-001"}, "name": {"S": "Mouse"}, "price": {"N": "29.99"}, "stock": {"N": "9"}}
    boto3.client("dynamodb").put_item(TableName=f"{NAME}-inventory", Item=product)

    api = Api(emulator)
    assert api.ask("POST", "/orders", ORDER, key="k-1", signed=False)[0] == 403
    status, order = api.ask("POST", "/orders", ORDER, key="k-1")
    assert (status, order["status"]) == (201, "PENDING")
    assert api.ask("POST", "/orders", ORDER, key="k-1") == (201, order)
    ended(api, order["orderId"])
    assert missed() == MISSED
    tried = operate("stage", "smoke", STAGE, "--api", api.url)
    assert (tried.exit_code, tried.stdout.count("ok  ")) == (0, 6), tried.output

    packages.log_line = "order confirmed by new code"
    second = run("stack", "--bucket", BUCKET)
    assert second.exit_code == 0, second.output
    assert api.ask("POST", "/orders", ORDER, key="k-1") == (201, order)
    status, another = api.ask("POST", "/orders", ORDER, key="k-2")
    assert status == 201
    ended(api, another["orderId"])
    until(lambda: another["orderId"] in logged(packages.log_line))

    destroyed = run("destroy", "--yes", STAGE)
    assert destroyed.exit_code == 0, destroyed.output
    assert boto3.client("lambda").list_functions()["Functions"] == []
    assert tables() == made

    again = run("stack", "--bucket", BUCKET)
    assert again.exit_code == 0, again.output
    assert stack(NAME) == (True, "UPDATE_COMPLETE")
    assert Api(emulator).ask("POST", "/orders", ORDER, key="k-1") == (201, order)


def ended(api: Api, order_id: str) -> None:
    until(lambda: api.ask("GET", f"/orders/{order_id}")[1].get("status") == "CONFIRMED", seconds=60)


def logged(words: str) -> set[str]:
    """The orders of which the consumer says so."""
    logs = boto3.client("logs")
    groups = [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]]
    (group,) = [name for name in groups if "OrderConsumer" in name]
    lines = [event["message"] for event in logs.filter_log_events(logGroupName=group)["events"]]
    return {json.loads(line)["orderId"] for line in lines if f'"{words}"' in line}
