"""`stage`: whether what is deployed is as it should be."""

import os
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import click

from chalicelib.service import Service
from chalicelib.settings import BadSetting
from deploy.account import AWS_FAULTS, explained, region
from deploy.callers import has_tokens
from deploy.stages import DEPLOYED, EVER, SAGA_STEP, functions_of, stage_config
from deploy.state_machine import has_state_machine
from deploy.tables import PARAMETER, ending_of, table_names
from deploy.template import merge_template, resources_template
from ops import output
from ops.alarms import alarms
from ops.callers import Route, user_pool
from ops.findings import Aws, Finding, bus, log_group, queue, rule, table, topic
from ops.functions import Function, deployed_functions, functions, is_packaged
from ops.gateway import apis
from ops.provider import payments
from ops.stages import entered
from ops.state_machine import machine
from ops.template import Template
from ops.triggers import mapping, schedules

_KINDS: Mapping[str, Callable[[Aws, Mapping[str, Any], bool], Finding]] = {
    "AWS::DynamoDB::Table": table,
    "AWS::SQS::Queue": queue,
    "AWS::SNS::Topic": topic,
    "AWS::Events::EventBus": bus,
}


class NotSeen(click.ClickException):
    """Nothing is wrong with what could be seen, but not all of it could: that is not the same as right."""

    exit_code = 2


@click.group()
def stage() -> None:
    """A stage as a whole."""


@stage.command()
@click.argument("name", metavar="STAGE")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(name: str, as_json: bool) -> None:
    """Compare what is deployed with the template and the configuration.

    Exit status 0: all is as it should be; 1: something differs; 2: not all of it could be seen.
    """
    try:
        with entered(name, as_configured=True) as service:
            findings = list(_findings(service))
    except BadSetting as fault:
        raise NotSeen(f"This stage cannot be reached: {fault}.") from fault
    if as_json:
        output.as_json([_document(finding) for finding in findings])
    else:
        output.table(("", "what", "name", "remark"), [_row(finding) for finding in findings])
    wrong = [finding for finding in findings if finding.differences]
    unseen = [finding for finding in findings if finding.unseen]
    not_seen = f"{len(unseen)} of {len(findings)} could not be seen." if unseen else ""
    if wrong:
        raise click.ClickException(f"{len(wrong)} of {len(findings)} differ. {not_seen}".strip())
    if unseen:
        raise NotSeen(not_seen)


def _findings(service: Service) -> Iterator[Finding]:
    aws = Aws(emulated=any(name.startswith("AWS_ENDPOINT_URL") for name in os.environ))
    try:
        caller = aws.client("sts").get_caller_identity()
    except AWS_FAULTS as fault:
        raise NotSeen(explained(fault)) from fault
    output.hint(f"Looking at account {caller['Account']}, region {region()}.")
    stage = service.settings.stage
    if stage in DEPLOYED:
        here = {"AccountId": caller["Account"], "Region": region(), "Partition": caller["Arn"].split(":")[1]}
        yield from _deployed(aws, service, {f"AWS::{name}": value for name, value in here.items()})
    else:  # as on the laptop: what the template describes, and nothing that runs
        template = Template.read({"Stage": stage, "MaxReceives": service.settings.max_receives})
        yield from _described(aws, template, False)


def _deployed(aws: Aws, service: Service, here: Mapping[str, str]) -> Iterator[Finding]:
    settings, stage = service.settings, service.settings.stage
    unseen: tuple[str, ...] = ()
    found: dict[str, list[Function]] = {name: [] for name in functions_of(stage)}
    try:
        found = deployed_functions(aws, stage)
    except AWS_FAULTS as fault:
        unseen = (f"cannot be seen ({fault})",)
    packaged = is_packaged(found, stage)
    document = merge_template(stage) if packaged else resources_template(stage)
    names = {EVER[name]: functions[0].name for name, functions in found.items() if functions}
    # Which tables are in use is a parameter of a stack of everything; `chalice deploy` has it from config.json.
    configured = stage_config(stage)["environment_variables"]
    given = [function.environment for function in found["api_handler"]] if packaged else [configured]
    ending = (ending_of(stage, given[0]) if given else None) or ""
    parameters = {"Stage": stage, "MaxReceives": settings.max_receives, PARAMETER: ending}
    template = Template(document, {**parameters, **names, **here})
    own, in_use = table_names(stage), table_names(stage, ending)
    yield from payments(aws, stage)
    yield from _described(aws, template, True, {own[setting]: in_use[setting] for setting in own})
    yield from (rule(aws, wanted, True) for wanted in template.of_type("AWS::Events::Rule"))
    for group in template.of_type("AWS::Logs::LogGroup"):
        if not str(group["LogGroupName"]).startswith("/aws/lambda/"):  # those of the functions are theirs
            yield log_group(aws, group["LogGroupName"], group["RetentionInDays"])
    if unseen:
        yield Finding("function", "all of them, their alarms, and what makes them run", unseen=unseen)
        return
    topic_name = settings.alerts_topic.rpartition(":")[2]
    yield from alarms(aws, template.of_type("AWS::CloudWatch::Alarm"), topic_name)
    yield from functions(aws, stage, found, in_use)
    yield mapping(aws, stage, settings, found)
    routes, expressions = _application()
    yield from schedules(aws, expressions, found)
    yield from apis(aws, stage, routes, found["api_handler"])
    if has_state_machine(stage):
        yield from machine(aws, stage, found[SAGA_STEP])
    if has_tokens(stage):
        yield from (user_pool(aws, function.environment) for function in found["api_handler"])


def _described(
    aws: Aws, template: Template, deployed: bool, in_use: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Finding]:
    """What the template describes. `in_use`: the tables that are looked at, by the names of those that they replace."""
    for kind, look in _KINDS.items():
        for wanted in template.of_type(kind):
            name = str(wanted.get("TableName", ""))
            yield look(aws, {**wanted, "TableName": in_use.get(name, name)} if name else wanted, deployed)


def _application() -> tuple[list[Route], dict[str, str]]:
    """The routes of app.py, and the expression of each scheduled function."""
    from app import app  # its import reads the environment, which is the stage's here

    routes = [(verb, path) for path, verbs in app.routes.items() for verb in verbs]
    scheduled = [source for source in app.event_sources if hasattr(source, "schedule_expression")]
    return routes, {source.name: source.schedule_expression.to_string() for source in scheduled}


def _document(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "name": finding.name,
        "differences": list(finding.differences),
        "unseen": list(finding.unseen),
        "remarks": list(finding.remarks),
    }


def _row(finding: Finding) -> tuple[str, str, str, str]:
    sign = "differs" if finding.differences else "unseen" if finding.unseen else "look" if finding.remarks else "ok"
    remarks = "; ".join((*finding.differences, *finding.unseen, *finding.remarks))
    return sign, finding.kind, finding.name, remarks
