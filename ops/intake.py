"""`intake`: stop what takes orders in and works on them, and let it go on."""

from collections.abc import Iterator, Sequence
from typing import Any

import click

from chalicelib.service import Service
from deploy.confirming import confirm_in_production
from deploy.names import operations_table
from deploy.stages import DEPLOYED, stage_config
from ops import output, pausing
from ops.audit import audited
from ops.findings import Aws
from ops.functions import Function, deployed_functions
from ops.pausing import RecordTable, Valve
from ops.stages import on_stage
from ops.triggers import queue_mappings, rules_of

PARTS = ("api", "consumer", "recover")

parts_argument = click.argument("parts", metavar="[PART]...", nargs=-1, type=click.Choice(PARTS))
yes_option = click.option("--yes", metavar="STAGE", help="Do not ask in prod: this is the name of the stage.")


@click.group()
def intake() -> None:
    """Stop taking and working on orders, and go on. Nothing is lost."""


@intake.command()
@on_stage
def status(service: Service) -> None:
    """Show whether the API, the consumer and recovery run."""
    _show(_valves(service))


@intake.command()
@parts_argument
@yes_option
@on_stage
def pause(service: Service, parts: Sequence[str], yes: str | None) -> None:
    """Stop the API, then the consumer, then recovery; or only these PARTs: api, consumer, recover. Safe to repeat.

    What was there is recorded first. Clients get 5xx and send the same request again later; messages wait for seven
    days.
    """
    valves = _valves(service)
    confirm_in_production("pause its intake", service.settings.stage, yes)
    with audited(service, "intake pause") as audit:
        pausing.pause(valves, parts or PARTS, _record(service), audit.ids)
    _show(_valves(service))
    output.hint("What runs now ends within a minute. `intake resume` goes on.")


@intake.command()
@parts_argument
@yes_option
@on_stage
def resume(service: Service, parts: Sequence[str], yes: str | None) -> None:
    """Start recovery, then the consumer, then the API; or only these PARTs. Safe to repeat.

    Each is as it was before the pause. What no pause has recorded gets its state of .chalice/config.json.
    """
    valves = _valves(service)
    confirm_in_production("resume its intake", service.settings.stage, yes)
    with audited(service, "intake resume") as audit:
        resumed = pausing.resume(valves, parts or PARTS, _record(service), audit.ids)
    _show(_valves(service))
    for valve in resumed.unrecorded:
        output.hint(f"No pause has recorded {valve.part}: it is as .chalice/config.json says ({valve.configured}).")
    for valve in resumed.left_closed:
        output.hint(f"{valve.part} was closed before the pause, and stays so: `intake resume {valve.part}` opens it.")


def _record(service: Service) -> RecordTable:
    return RecordTable(service.dynamodb, operations_table(service.settings.stage))


def _show(valves: Sequence[Valve]) -> None:
    rows = [("open" if valve.is_open else "paused", valve.part, valve.shown) for valve in valves]
    output.table(("", "what", "state"), rows)


def _valves(service: Service) -> list[Valve]:
    """The API, the consumer's mappings, and the rules of recovery. Raises ClickException if one does not exist."""
    stage = service.settings.stage
    if stage not in DEPLOYED:
        raise click.ClickException(f"Stage {stage!r} has no functions that could be paused.")
    aws = Aws()
    functions = deployed_functions(aws, stage)
    valves = [
        *(_api(aws, stage, function) for function in functions["api_handler"]),
        *_mappings(aws, service, functions["order_consumer"]),
        *_rules(aws, functions["recover"]),
    ]
    missing = set(PARTS) - {valve.part for valve in valves}
    if missing:
        raise click.ClickException(f"Not deployed: {', '.join(sorted(missing))}. See `stage check {stage}`.")
    return valves


def _api(aws: Aws, stage: str, function: Function) -> Valve:
    lambdas, which = aws.client("lambda"), function.by_name
    reserved = lambdas.get_function_concurrency(**which).get("ReservedConcurrentExecutions", "none")
    configured = stage_config(stage)["lambda_functions"]["api_handler"].get("reserved_concurrency", "none")

    def turn(state: str) -> None:
        if state == "none":
            lambdas.delete_function_concurrency(**which)
        else:
            lambdas.put_function_concurrency(**which, ReservedConcurrentExecutions=int(state))

    return Valve("api", function.name, str(reserved), "0", str(configured), f"reserved concurrency: {reserved}", turn)


def _mappings(aws: Aws, service: Service, consumers: Sequence[Function]) -> Iterator[Valve]:
    own, _ = queue_mappings(aws, service.settings, consumers)
    return (_mapping(aws.client("lambda"), mapping["UUID"], mapping["State"]) for mapping in own)


def _mapping(lambdas: Any, uuid: str, shown: str) -> Valve:
    def turn(state: str) -> None:
        lambdas.update_event_source_mapping(UUID=uuid, Enabled=state == "Enabled")

    state = "Disabled" if shown in ("Disabled", "Disabling") else "Enabled"
    return Valve("consumer", uuid, state, "Disabled", "Enabled", f"mapping: {shown}", turn)


def _rules(aws: Aws, functions: Sequence[Function]) -> Iterator[Valve]:
    events = aws.client("events")
    return (_rule(events, name, events.describe_rule(Name=name)["State"]) for name in rules_of(aws, functions))


def _rule(events: Any, name: str, shown: str) -> Valve:
    def turn(state: str) -> None:
        (events.disable_rule if state == "DISABLED" else events.enable_rule)(Name=name)

    return Valve("recover", name, shown, "DISABLED", "ENABLED", f"schedule: {shown}", turn)
