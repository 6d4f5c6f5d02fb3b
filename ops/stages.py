"""From the name of a stage to its service: settings of `.chalice/config.json`, on AWS or on this laptop."""

import functools
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from chalicelib import service, telemetry
from chalicelib.adapters import clients
from chalicelib.faults import Rejected, Unavailable
from chalicelib.service import Service
from chalicelib.settings import app_settings
from deploy.account import AWS_FAULTS, explained
from deploy.stages import DEPLOYED
from ops.findings import Aws
from ops.functions import TABLE_SETTINGS, tables_in_use

CONFIG = Path(__file__).resolve().parent.parent / ".chalice" / "config.json"

_SOME_POOL = {
    "USER_POOL_ARN": "arn:aws:cognito-idp:us-east-1:000000000000:userpool/of-the-stack",
    "USER_POOL_CLIENTS": "none",
}
"""Of a stage whose stack made the pool: only its functions know which one, and no command answers requests."""

P = ParamSpec("P")
R = TypeVar("R")


def config(path: Path = CONFIG) -> Mapping[str, Any]:
    """Chalice's configuration. Raises ClickException naming the file."""
    try:
        document: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as fault:
        raise click.ClickException(f"{path} cannot be read: {fault}.") from fault
    return document


def stage_environment(stage: str, given: Mapping[str, str], document: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a stage; what is given already wins. Raises ClickException for an unknown stage.

    The environment of another stage is refused: otherwise `--stage prod` would work on the tables of dev.
    """
    if given.get("STAGE", stage) != stage:
        raise click.ClickException(f"The environment belongs to stage {given['STAGE']!r}, not to {stage!r}.")
    known: Mapping[str, Any] = document.get("stages", {})
    if stage not in known and "STAGE" not in given:
        raise click.ClickException(f"Stage {stage!r} is not in config.json; its stages: {', '.join(known)}.")
    own = {**document.get("environment_variables", {}), **known.get(stage, {}).get("environment_variables", {})}
    quiet = {"LOG_LEVEL": "WARNING", "LOG_FORMAT": "text"}  # for the person at the keyboard
    return {**(_SOME_POOL if own.get("AUTH") == "cognito" else {}), **own, **quiet, **given}


@contextmanager
def entered(stage: str, *, as_configured: bool = False) -> Iterator[Service]:
    """The service of a stage. Only inside the block its settings are this process's environment.

    Unless it is `as_configured`, the tables of a deployed stage are those that its functions use.
    Raises BadSetting, and ClickException with one sentence for a fault of AWS's inside the block.
    """
    before = dict(os.environ)
    settings = stage_environment(stage, before, config())
    try:
        os.environ.update(settings)
        service.reset()
        with _logging_to_stderr(settings["LOG_LEVEL"]):
            if stage in DEPLOYED and not as_configured and set(TABLE_SETTINGS) - before.keys():
                with _explaining():
                    in_use = tables_in_use(Aws(), stage)
                os.environ.update({name: table for name, table in in_use.items() if name not in before})
                service.reset()
            with _explaining():
                yield service.service()
    finally:
        os.environ.clear()
        os.environ.update(before)
        service.reset()


@contextmanager
def _explaining() -> Iterator[None]:
    """Raises ClickException for a fault of AWS's: its sentence names account, region and the table or queue."""
    last = [""]

    def note(params: Mapping[str, Any], **_: Any) -> None:
        last[0] = _resource(params)

    for client in (clients.dynamodb(), clients.sqs()):
        client.meta.events.register("before-parameter-build", note)
    try:
        yield
    except (*AWS_FAULTS, Unavailable, Rejected) as fault:
        # The service's own words, where AWS is not the cause: an order of a newer release.
        own = isinstance(fault, (Unavailable, Rejected)) and fault.__cause__ is None
        sentence = f"{fault}." if own else explained(fault, last[0], app_settings().laptop_url)
        raise click.ClickException(sentence) from fault


def _resource(params: Mapping[str, Any]) -> str:
    """The table or queue that a call is about; of several tables the first."""
    queue = str(params.get("QueueUrl") or params.get("QueueName") or "").rpartition("/")[2]
    actions = (action for item in params.get("TransactItems", ()) for action in item.values())
    tables = [params.get("TableName"), *params.get("RequestItems", ()), *(action["TableName"] for action in actions)]
    return f"queue {queue}" if queue else next((f"table {table}" for table in tables if table), "")


@contextmanager
def _logging_to_stderr(level: str) -> Iterator[None]:
    """The service logs to stdout, as Lambda wants it; here that is where the answer goes."""
    logger = telemetry.logger()
    handlers = [handler for handler in logger.handlers if type(handler) is logging.StreamHandler]
    before = [handler.stream for handler in handlers], logger.level
    try:
        for handler in handlers:
            handler.setStream(sys.stderr)
        logger.setLevel(level)
        yield
    finally:
        for handler, stream in zip(handlers, before[0], strict=True):
            handler.setStream(stream)
        logger.setLevel(before[1])


def on_stage(command: Callable[Concatenate[Service, P], R]) -> Callable[P, R]:
    """A command that receives the service of the stage that `--stage` names."""

    @functools.wraps(command)
    def on_its_stage(*args: P.args, **options: P.kwargs) -> R:
        with entered(selected_stage(click.get_current_context())) as its_service:
            return command(its_service, *args, **options)

    return on_its_stage


def selected_stage(context: click.Context) -> str:
    """What `--stage` says."""
    return str(context.find_root().params["stage"])
