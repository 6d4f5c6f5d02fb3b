"""The Lambda functions of a stage, whichever way it was deployed, compared with Chalice's configuration."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from deploy.callers import has_tokens
from deploy.digests import SETTINGS_DIGEST
from deploy.stages import RECONCILING, config, function_name, functions_of, stage_config, stage_parameters
from deploy.state_machine import SETTING, has_state_machine, machine_name
from deploy.tables import RESTORABLE
from ops.findings import Aws, Finding, Remark, differs, log_group, look_at
from ops.roles import role

_SETTINGS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], Any]]] = {
    "Timeout": ("lambda_timeout", lambda configuration: configuration.get("Timeout")),
    "MemorySize": ("lambda_memory_size", lambda configuration: configuration.get("MemorySize")),
    "architecture": ("lambda_architecture", lambda configuration: " ".join(configuration.get("Architectures", ()))),
    "tracing": ("xray", lambda configuration: configuration.get("TracingConfig", {}).get("Mode") == "Active"),
}
"""What Chalice's configuration says of a function, and where Lambda has it."""

TABLE_SETTINGS = tuple(RESTORABLE.values())
"""Those that name the tables that are restored together."""

_INVOKED_BY = {
    "api_handler": {"apigateway.amazonaws.com"},
    "recover": {"events.amazonaws.com"},
    "dead_letter_monitor": {"events.amazonaws.com"},
    RECONCILING: {"events.amazonaws.com"},
}
"""Who may invoke a function by its resource policy. A queue's mapping needs none."""


@dataclass(frozen=True)
class Function:
    """A function as it was found; `aliases` by name. `environment` is that of what was deployed last."""

    name: str
    arn: str
    aliases: Sequence[str]
    environment: Mapping[str, str]

    @property
    def arns(self) -> frozenset[str]:
        """By which it may be invoked: its own, and those of its aliases."""
        return frozenset({self.arn, *(f"{self.arn}:{alias}" for alias in self.aliases)})

    @property
    def qualifiers(self) -> Sequence[Mapping[str, str]]:
        """What is invoked, as the arguments of a call: its aliases if there are any."""
        return [{"FunctionName": self.name, "Qualifier": alias} for alias in self.aliases] or [self.by_name]

    @property
    def by_name(self) -> Mapping[str, str]:
        """Itself, as the argument of a call."""
        return {"FunctionName": self.name}


def deployed_functions(aws: Aws, stage: str) -> dict[str, list[Function]]:
    """The functions by their names in config.json; more than one if the stage is deployed twice. Raises ClientError.

    They are recognized by their handler and their setting STAGE: their names depend on the way of deployment.
    """
    found: dict[str, list[Function]] = {name: [] for name in functions_of(stage)}
    for name, each, environment in _listed(aws, stage):
        pages = aws.client("lambda").get_paginator("list_aliases").paginate(FunctionName=each["FunctionName"])
        aliases = [alias["Name"] for page in pages for alias in page["Aliases"]]
        found[name].append(Function(each["FunctionName"], each["FunctionArn"], aliases, environment))
    return found


def _listed(aws: Aws, stage: str) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, str]]]:
    own = functions_of(stage)
    for page in aws.client("lambda").get_paginator("list_functions").paginate():
        for each in page["Functions"]:
            name = {"app.app": "api_handler"}.get(each["Handler"], each["Handler"].removeprefix("app."))
            environment: Mapping[str, str] = each.get("Environment", {}).get("Variables", {})
            if name in own and environment.get("STAGE") == stage:
                yield name, each, environment


def tables_in_use(aws: Aws, stage: str) -> dict[str, str]:
    """The settings of the deployed functions that name the restorable tables; empty: none is deployed.

    After a restore they are others than in .chalice/config.json. Raises ClientError, and ClickException if the
    functions differ.
    """
    found = {tuple(environment.get(name, "") for name in TABLE_SETTINGS) for _, _, environment in _listed(aws, stage)}
    if len(found) > 1:
        raise click.ClickException(
            f"The functions of {stage} do not use the same tables: a deployment is under way, or has failed. "
            f"See `stage check {stage}`."
        )
    return {name: value for values in found for name, value in zip(TABLE_SETTINGS, values, strict=True) if value}


def is_packaged(functions: Mapping[str, Sequence[Function]], stage: str) -> bool:
    """Whether `make deploy` deployed them: `chalice deploy` names them by application and stage."""
    by_convention = {function_name(name).replace("${Stage}", stage) for name in functions_of(stage)}
    return any(function.name not in by_convention for found in functions.values() for function in found)


def functions(
    aws: Aws, stage: str, deployed: Mapping[str, Sequence[Function]], tables: Mapping[str, str]
) -> Iterator[Finding]:
    """For each function that the stage configures: the function itself, its role, and its log group.

    `tables` are those in use, by setting.
    """
    for name, found in deployed.items():
        if not found:
            yield Finding("function", name, ("does not exist",))
        elif len(found) > 1:
            names = ", ".join(function.name for function in found)
            yield Finding("function", name, (f"is deployed more than once: {names}",))
        for function in found:
            yield from _one(aws, stage, name, function, tables)


def _one(aws: Aws, stage: str, name: str, function: Function, tables: Mapping[str, str]) -> Iterator[Finding]:
    lambdas = aws.client("lambda")
    configurations: list[Mapping[str, Any]] = []

    def itself() -> Iterator[Remark]:
        configurations.extend(lambdas.get_function_configuration(**which) for which in function.qualifiers)
        for configuration in configurations:
            yield from _configuration(stage, name, function, configuration, tables)
        reserved = lambdas.get_function_concurrency(**function.by_name).get("ReservedConcurrentExecutions")
        wanted = stage_config(stage)["lambda_functions"][name].get("reserved_concurrency")
        yield from differs("reserved concurrency", wanted, reserved)
        yield from _invokers(_INVOKED_BY.get(name, set()), resource_policy(aws, function))

    yield look_at("function", name, itself)
    for arn in sorted({configuration["Role"] for configuration in configurations}):
        yield role(aws, stage, name, arn.rpartition("/")[2], _log_group(function, configurations[0]), tables)
    if configurations:
        days = stage_config(stage)["log_retention_in_days"]
        yield log_group(aws, _log_group(function, configurations[0]), days)


def _configuration(
    stage: str, name: str, function: Function, actual: Mapping[str, Any], tables: Mapping[str, str]
) -> Iterator[Remark]:
    own = stage_config(stage)
    scopes = (own["lambda_functions"][name], own, config())
    # Emulators have no states; Lambda leaves them out of nothing.
    yield from differs("state", "Active", actual.get("State", "Active"))
    yield from differs("last update", "Successful", actual.get("LastUpdateStatus", "Successful"))
    for what, (setting, of) in _SETTINGS.items():
        expected = next((scope[setting] for scope in scopes if setting in scope), None)
        if expected is not None:
            yield from differs(what, expected, of(actual))
    given: Mapping[str, str] = actual.get("Environment", {}).get("Variables", {})
    wanted: dict[str, str] = {}
    for scope in reversed(scopes):
        wanted |= scope.get("environment_variables", {})
    wanted |= tables
    if is_packaged({name: [function]}, stage):
        wanted |= {"MAX_RECEIVES": stage_parameters(stage)["MaxReceives"]}
        wanted |= _pool_settings(stage, given) if has_tokens(stage) else {}
    if name == "order_consumer" and has_state_machine(stage):
        wanted |= {SETTING: state_machine_arn(stage, function)}
    for variable in sorted((wanted.keys() | given.keys()) - {SETTINGS_DIGEST}):
        has, should = given.get(variable), wanted.get(variable, "not set")
        if has and has.startswith(("https://", "arn:")):
            has = _name_in(has, account=function.arn.split(":")[4])
        if has != should:
            yield f"{variable}: {has!r}, should be {should!r}", True


def state_machine_arn(stage: str, function: Function) -> str:
    """The ARN of the stage's state machine, in the account and region of a function."""
    partition, _, region, account = function.arn.split(":")[1:5]
    return f"arn:{partition}:states:{region}:{account}:stateMachine:{machine_name(stage)}"


def _pool_settings(stage: str, given: Mapping[str, str]) -> dict[str, str]:
    """Of the pool whose tokens the functions take. The ids of one that the stack has made are the stack's: they may be
    any (`ops/callers.py` looks at the pool)."""
    named = stage_parameters(stage)
    wanted = {"USER_POOL_ARN": named.get("UserPoolArn"), "USER_POOL_CLIENTS": named.get("UserPoolClients")}
    return {name: value or given.get(name, "the stack's own") for name, value in wanted.items()}


def _name_in(value: str, account: str) -> str:
    """The name of a queue or topic from its URL or ARN, unless that is of another account."""
    *before, name = value.replace("/", ":").split(":")
    return name if not before or before[-1] == account else value


def resource_policy(aws: Aws, function: Function) -> list[Mapping[str, Any]]:
    """Who may invoke the function or an alias of it: the statements. Raises ClientError."""
    statements: list[Mapping[str, Any]] = []
    for which in (function.by_name, *(q for q in function.qualifiers if q != function.by_name)):
        try:
            answer = aws.client("lambda").get_policy(**which)
        except aws.client("lambda").exceptions.ResourceNotFoundException:
            continue  # without a policy
        statements += json.loads(answer["Policy"])["Statement"]
    return statements


def _invokers(wanted: set[str], statements: Sequence[Mapping[str, Any]]) -> Iterator[Remark]:
    principals = {_principal(statement) for statement in statements if statement["Effect"] == "Allow"}
    for missing in sorted(wanted - principals):
        yield f"{missing} may not invoke it", True
    for stranger in sorted(principals - wanted):
        yield f"{stranger} may invoke it", True
    for statement in statements:
        if _principal(statement) in wanted and "SourceArn" not in str(statement.get("Condition")):
            yield f"{_principal(statement)} may invoke it for any account", True


def _principal(statement: Mapping[str, Any]) -> str:
    principal = statement["Principal"]
    return str(next(iter(principal.values())) if isinstance(principal, dict) else principal)


def _log_group(function: Function, configuration: Mapping[str, Any]) -> str:
    return str(configuration.get("LoggingConfig", {}).get("LogGroup", f"/aws/lambda/{function.name}"))
