"""The commands of `python -m deploy`, as an operator gives them, in an account of an emulator of AWS of their own."""

import json
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch as mock_patch

import boto3
import pytest
from click.testing import CliRunner, Result

from deploy import __main__ as command
from deploy.stacks import Stacks
from deploy.stages import stage_config
from deploy.template import resources_template
from tests.deploy.support import emulator as engine
from tests.deploy.support.emulator import ACCOUNT, Emulator
from tests.support.skipping import skip
from tests.support.stage import REGION

Run = Callable[..., Result]


SIMULATED_ON_PROD = {"PAYMENTS_SIMULATED_ON_PROD": "yes"}


@contextmanager
def simulated_on_prod() -> Iterator[None]:
    """In the configuration that this process has read, `prod` may be without money: no command refuses it then."""
    with mock_patch.dict(stage_config("prod")["environment_variables"], SIMULATED_ON_PROD):
        yield


@contextmanager
def deploying(stage: str, to_run: str, *, guarded: bool = True) -> Iterator[tuple[Run, Emulator]]:
    """A command for the stage, by its words; skips the test unless REQUIRE_EMULATOR=1."""
    if os.environ.get("REQUIRE_EMULATOR") != "1":
        skip(
            "deploys a stack to an emulator of AWS",
            to_run=f'REQUIRE_EMULATOR=1 make test ARGS="-n 0 -x {to_run}"',
        )
    try:
        with (
            engine.running(guarded=guarded) as emulator,
            simulated_on_prod(),
            pytest.MonkeyPatch.context() as patch,
        ):
            for name in ("AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "ALERTS_EMAIL"):
                patch.delenv(name, raising=False)
            for name, value in {**emulator.credentials, "AWS_DEFAULT_REGION": REGION}.items():
                patch.setenv(name, value)
            patch.setattr(boto3, "DEFAULT_SESSION", None)  # it may have the credentials of an earlier test
            patch.setattr(command, "_stacks", lambda: Stacks(boto3.client("cloudformation"), wait_seconds=1))
            patch.setattr(command, "resources_template", unwatched)

            def run(*words: str) -> Result:
                return CliRunner().invoke(command.main, [*words, "--stage", stage], catch_exceptions=False)

            yield run, emulator
    except engine.Unavailable as missing:
        pytest.fail(str(missing))


def unwatched(stage: str, *, watched: bool = False) -> dict[str, Any]:
    """The resources without what only watches: the emulator has no alarm by metric maths, and no saved query."""
    return resources_template(stage, watched=False)


def call_of_aws(command_line: str) -> None:
    """Make the call that `aws` makes of these words."""
    _, service, operation, *options = shlex.split(command_line)
    given: dict[str, Any] = {}
    for option, value in zip(options[::2], options[1::2], strict=True):
        name = "".join(word.title() for word in option.removeprefix("--").split("-"))
        given[name] = [dict(part.split("=") for part in value.split(","))] if "=" in value else value
    client: Any = boto3.client(service)  # type: ignore[call-overload]
    getattr(client, operation.replace("-", "_"))(**given)


def stage_key(stack: str) -> str:
    """The id of the stack's key."""
    found = boto3.client("cloudformation").describe_stack_resource(StackName=stack, LogicalResourceId="StageKey")
    return found["StackResourceDetail"]["PhysicalResourceId"]


def encrypt(key: str) -> None:
    """Encrypt the tables, which the emulator leaves out of those that CloudFormation makes."""
    for table in tables():
        encrypted: Any = {
            "Enabled": True,
            "SSEType": "KMS",
            "KMSMasterKeyId": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key}",
        }
        boto3.client("dynamodb").update_table(TableName=table, SSESpecification=encrypted)


def tables() -> list[str]:
    """The names of all tables."""
    return sorted(boto3.client("dynamodb").list_tables()["TableNames"])


def queues() -> list[str]:
    """The URLs of all queues."""
    return boto3.client("sqs").list_queues().get("QueueUrls", [])


def stack(name: str) -> tuple[bool, str]:
    """Whether the stack is protected, and its status."""
    (found,) = boto3.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    return found["EnableTerminationProtection"], found["StackStatus"]


def without(resources: dict[str, Any], *kinds: str) -> dict[str, Any]:
    """The resources of a template but for those of these types."""
    return {name: resource for name, resource in resources.items() if not resource["Type"].startswith(kinds)}


def with_extra_actions(resources: dict[str, Any]) -> dict[str, Any]:
    """With actions that the emulator asks roles for. They do not exist on AWS, where sqs:DeleteMessage allows both."""
    return {n: _extra(r) if r["Type"] == "AWS::IAM::Role" else r for n, r in resources.items()}


def _extra(role: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(role)
    for action in ("SendMessage", "DeleteMessage", "ChangeMessageVisibility"):
        text = text.replace(f'"sqs:{action}"', f'"sqs:{action}", "sqs:{action}Batch"')
    extended: dict[str, Any] = json.loads(text)
    return extended
