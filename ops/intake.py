"""`intake`: stop what takes orders in and works on them, and let it go on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from chalicelib.service import Service
from deploy.confirming import confirm
from deploy.stages import DEPLOYED, PRODUCTION, stage_config
from ops import output
from ops.audit import audited
from ops.findings import Aws
from ops.functions import Function, deployed_functions
from ops.interrupts import finishing
from ops.stages import on_stage
from ops.triggers import queue_mappings, rules_of


@dataclass(frozen=True)
class Valve:
    """One thing that is stopped: its present state, whether it is open, and what opens (True) or closes it."""

    name: str
    state: str
    is_open: bool
    turn: Callable[[bool], object]


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

    Clients get 5xx and send the same request again later; messages wait for seven days.
    """
    _turn(service, "pause", parts, yes, to_open=False)
    output.hint("What runs now ends within a minute. `intake resume` goes on.")


@intake.command()
@parts_argument
@yes_option
@on_stage
def resume(service: Service, parts: Sequence[str], yes: str | None) -> None:
    """Start recovery, then the consumer, then the API; or only these PARTs. Safe to repeat.

    The API gets the reserved concurrency of .chalice/config.json.
    """
    _turn(service, "resume", parts, yes, to_open=True)


def _turn(service: Service, command: str, parts: Sequence[str], yes: str | None, *, to_open: bool) -> None:
    stage = service.settings.stage
    valves = [valve for valve in _valves(service) if valve.name in (parts or PARTS)]
    if stage == PRODUCTION or yes is not None:
        confirm(f"{command} its intake", stage, yes)
    with audited(service, f"intake {command}") as record:
        for valve in reversed(valves) if to_open else valves:
            with finishing():
                valve.turn(to_open)
                record.ids.append(valve.name)
    _show(_valves(service))


def _show(valves: Sequence[Valve]) -> None:
    rows = [("open" if valve.is_open else "paused", valve.name, valve.state) for valve in valves]
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
    missing = set(PARTS) - {valve.name for valve in valves}
    if missing:
        raise click.ClickException(f"Not deployed: {', '.join(sorted(missing))}. See `stage check {stage}`.")
    return valves


def _api(aws: Aws, stage: str, function: Function) -> Valve:
    lambdas, which = aws.client("lambda"), function.by_name
    reserved = lambdas.get_function_concurrency(**which).get("ReservedConcurrentExecutions")
    configured = stage_config(stage)["lambda_functions"]["api_handler"].get("reserved_concurrency")

    def turn(to_open: bool) -> None:
        if to_open and configured is None:
            lambdas.delete_function_concurrency(**which)
        else:
            lambdas.put_function_concurrency(**which, ReservedConcurrentExecutions=configured if to_open else 0)

    return Valve("api", f"reserved concurrency: {'none' if reserved is None else reserved}", reserved != 0, turn)


def _mappings(aws: Aws, service: Service, consumers: Sequence[Function]) -> Iterator[Valve]:
    own, _ = queue_mappings(aws, service.settings, consumers)
    for mapping in own:
        update = partial(aws.client("lambda").update_event_source_mapping, UUID=mapping["UUID"])
        state = mapping["State"]
        yield Valve("consumer", f"mapping: {state}", state not in ("Disabled", "Disabling"), _enabling(update))


def _enabling(update: Callable[..., Any]) -> Callable[[bool], object]:
    return lambda to_open: update(Enabled=to_open)


def _rules(aws: Aws, functions: Sequence[Function]) -> Iterator[Valve]:
    events = aws.client("events")
    for rule in rules_of(aws, functions):
        state = events.describe_rule(Name=rule)["State"]
        yield Valve("recover", f"schedule: {state}", state != "DISABLED", _switching(events, rule))


def _switching(events: Any, rule: str) -> Callable[[bool], object]:
    return lambda to_open: (events.enable_rule if to_open else events.disable_rule)(Name=rule)
