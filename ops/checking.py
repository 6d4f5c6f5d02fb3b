"""`stage`: whether what is deployed is as it should be."""

import os
from typing import Any

import boto3
import click
from botocore.config import Config

from chalicelib.adapters import clients
from chalicelib.service import Service
from ops import output
from ops.findings import Aws, Finding, bus, queue, table, topic
from ops.functions import functions
from ops.stages import config, entered
from ops.template import Template

_KINDS: Any = {
    "AWS::DynamoDB::Table": table,
    "AWS::SQS::Queue": queue,
    "AWS::SNS::Topic": topic,
    "AWS::Events::EventBus": bus,
}


@click.group()
def stage() -> None:
    """A stage as a whole."""


@stage.command()
@click.argument("name", metavar="STAGE")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(name: str, as_json: bool) -> None:
    """Compare what is deployed with the template and the configuration; exit status 1 when something differs."""
    with entered(name) as service:
        findings = _findings(service)
    if as_json:
        output.as_json(
            [
                {"kind": f.kind, "name": f.name, "differences": list(f.differences), "remarks": list(f.remarks)}
                for f in findings
            ]
        )
    else:
        output.table(("", "what", "name", "remark"), [_row(finding) for finding in findings])
    wrong = [finding for finding in findings if finding.differences]
    if wrong:
        raise click.ClickException(f"Differences in {len(wrong)} of {len(findings)} resources.")


def _findings(service: Service) -> list[Finding]:
    settings = service.settings
    template = Template.read({"Stage": settings.stage, "MaxReceives": settings.max_receives})
    aws = _aws()
    resources = [look(aws, wanted) for kind, look in _KINDS.items() for wanted in template.of_type(kind)]
    return resources + list(functions(aws, settings.stage, config()))


def _aws() -> Aws:
    limits = Config(connect_timeout=1, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})
    functions: Any = boto3.client("lambda", config=limits)
    emulated = any(name.startswith("AWS_ENDPOINT_URL") for name in os.environ)
    return Aws(clients.dynamodb(), clients.sqs(), clients.sns(), clients.events(), functions, emulated)


def _row(finding: Finding) -> tuple[str, str, str, str]:
    sign = "differs" if finding.differences else "look" if finding.remarks else "ok"
    return sign, finding.kind, finding.name, "; ".join((*finding.differences, *finding.remarks))
