"""A stage: its part of Chalice's configuration, and its values of the template's parameters."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from chalicelib.providers import SIMULATED
from chalicelib.settings import DEFAULT_MAX_RECEIVES, AppSettings

ROOT = Path(__file__).resolve().parent.parent
CHALICE = ROOT / ".chalice"
RESOURCES = CHALICE / "resources.json"
PARAMETERS = ROOT / "deploy" / "parameters.json"

DEPLOYED = ("dev", "prod")
"""The stages that run on AWS; `local` runs on a laptop only."""

PYTHON = "3.13"
"""Of the functions, in every deployed stage. Chalice takes the version of the Python that packages."""

FUNCTIONS = {
    "api_handler": "APIHandler",
    "order_consumer": "OrderConsumer",
    "recover": "Recover",
    "dead_letter_monitor": "DeadLetterMonitor",
    "replay_dead_letters": "ReplayDeadLetters",
}
"""The Lambda functions of every stage: Chalice's name in config.json, and the logical id in a package."""

SAGA_STEP, RECONCILING = "saga_step", "reconcile_payments"
"""Where a state machine runs the saga, the function of its steps; where a provider takes the money, the one that
compares payments each day."""

_WITH_STEP_FUNCTIONS = {SAGA_STEP: "SagaStep"}
_WITH_A_PROVIDER = {RECONCILING: "ReconcilePayments"}
EVER = {**FUNCTIONS, **_WITH_STEP_FUNCTIONS, **_WITH_A_PROVIDER}
"""Those that any stage may have."""

_OF_POOL = {"UserPoolArn": "USER_POOL_ARN", "UserPoolClients": "USER_POOL_CLIENTS"}
"""Parameters that a stage's part of config.json may have too: `chalice deploy` has no other place for them."""


class NoSuchStage(Exception):
    """The message names the stage."""


def read(path: Path) -> dict[str, Any]:
    """A JSON object."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


@cache
def config() -> Mapping[str, Any]:
    """Chalice's configuration."""
    return read(CHALICE / "config.json")


def stage_config(name: str) -> Mapping[str, Any]:
    """A deployed stage's part of Chalice's configuration. Raises NoSuchStage."""
    if name not in DEPLOYED:
        raise NoSuchStage(f"{name!r} is not a deployed stage; choose {' or '.join(DEPLOYED)}")
    stage: Mapping[str, Any] = config()["stages"][name]
    return stage


def functions_of(stage: str) -> dict[str, str]:
    """The Lambda functions of a deployed stage, as FUNCTIONS: those that it asks for too. Raises NoSuchStage."""
    settings = AppSettings.from_environment(stage_config(stage)["environment_variables"])
    with_engine = _WITH_STEP_FUNCTIONS if settings.engine == "step-functions" else {}
    return {**FUNCTIONS, **with_engine, **(_WITH_A_PROVIDER if settings.payments != SIMULATED else {})}


def stage_parameters(name: str) -> dict[str, str]:
    """The values of the template's parameters for a deployed stage. Raises NoSuchStage.

    The receives are those that the stage's consumer counts. The visibility timeout is six of its time limits and its
    batching window, as AWS advises: Lambda may retry a batch that it had to throttle (AWS Lambda Developer Guide,
    "Creating and configuring an Amazon SQS event source mapping"). A message that failed is hidden by the consumer.
    """
    environment = stage_config(name)["environment_variables"]
    receives = environment.get("MAX_RECEIVES", str(DEFAULT_MAX_RECEIVES))
    visible_after = 6 * function_timeout(name, "order_consumer") + int(environment["CONSUMER_BATCHING_WINDOW_SECONDS"])
    of_queue = {"MaxReceives": receives, "VisibilityTimeout": str(visible_after)}
    with_pool = _OF_POOL if environment["AUTH"] == "cognito" else {}
    of_pool = {parameter: environment[setting] for parameter, setting in with_pool.items() if setting in environment}
    return {"Stage": name, **of_queue, **of_pool, **read(PARAMETERS)[name]}


def function_timeout(stage: str, function: str) -> int:
    """The seconds after which Lambda ends an invocation."""
    own = stage_config(stage).get("lambda_functions", {}).get(function, {})
    return int(own.get("lambda_timeout", config()["lambda_timeout"]))


def function_name(function: str) -> str:
    """The name that `chalice deploy` gives a function, with `${Stage}` in it."""
    app: str = config()["app_name"]
    return f"{app}-${{Stage}}" if function == "api_handler" else f"{app}-${{Stage}}-{function}"


def log_group(function: str) -> str:
    """The log group of a function that `chalice deploy` created, with `${Stage}` in it."""
    return f"/aws/lambda/{function_name(function)}"
