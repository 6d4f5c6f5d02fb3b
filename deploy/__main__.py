"""`python -m deploy …`, behind the Makefile's targets. AWS_ENDPOINT_URL, AWS_PROFILE and the like work as usual."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import click

from chalicelib.settings import BadSetting
from deploy import boundary, cost, engine_cost, policies, user_pool
from deploy.account import AWS_FAULTS, caller, explained, region
from deploy.callers import RefusedCallers, check_callers, check_existing_pool, has_tokens
from deploy.canary import why_all_at_once
from deploy.confirming import confirm
from deploy.destroying import delete_logs, refuse_if_chalice_deployed
from deploy.digests import SHARED_SETTINGS
from deploy.hints import place_of
from deploy.leftovers import Leftovers, TwoPools
from deploy.merging import merged
from deploy.packaging import (
    SBOM_NAME,
    TEMPLATE_NAME,
    ZIP_NAME,
    PackagingFailed,
    check_python,
    digest,
    package,
    package_with,
)
from deploy.payments import RefusedPayments, check_payments
from deploy.sbom import bill_of_materials
from deploy.stacks import StackFailed, Stacks, upload
from deploy.stages import NoSuchStage, read, stage_parameters
from deploy.state_machine import RefusedEngine, check_engine, check_named_engine
from deploy.tables import PARAMETER, table_names
from deploy.template import resources_template
from deploy.vendoring import InstallationFailed, install, locked, vendor, write_lock

_FAULTS = (
    BadSetting,
    InstallationFailed,
    NoSuchStage,
    PackagingFailed,
    RefusedCallers,
    RefusedEngine,
    RefusedPayments,
    StackFailed,
    TwoPools,
)

_MAX_BODY = 51_200
"""Bytes of a template in a call (AWS CloudFormation User Guide, "Understand CloudFormation quotas")."""

_FROM_ENVIRONMENT = {"AlertsEmail": "ALERTS_EMAIL", boundary.PARAMETER: "PERMISSIONS_BOUNDARY"}
"""Parameters that depend on the account, and the variables that name them; `none` takes away what was there."""


class _WithoutTracebacks(click.Group):
    """Expected faults are one message and an exit status, not a traceback. A misplaced option gets a hint."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(context, args)
        except click.NoSuchOption as fault:
            raise self._with_hint(fault) from fault

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except click.NoSuchOption as fault:
            raise self._with_hint(fault) from fault
        except _FAULTS as fault:
            raise click.ClickException(str(fault)) from fault
        except AWS_FAULTS as fault:
            raise click.ClickException(explained(fault)) from fault

    def _with_hint(self, fault: click.NoSuchOption) -> click.UsageError:
        return click.UsageError(f"{fault.format_message()} {place_of(self, 'python -m deploy', fault)}")


@click.group(cls=_WithoutTracebacks)
def main() -> None:
    """Deploy OrderOnce."""


stage_option = click.option("--stage", required=True, help="dev or prod")


@main.command("template")
@stage_option
@click.option("--unwatched", is_flag=True, help="Without alarms, dashboard and queries.")
def print_template(stage: str, unwatched: bool) -> None:
    """Print the template of a stage's resources."""
    click.echo(json.dumps(resources_template(stage, watched=not unwatched), indent=2))


@main.command()
@stage_option
@click.option("--bucket", help="Where the template goes if it is too long for a call.")
def resources(stage: str, bucket: str | None) -> None:
    """Create or update a stage's resources, as a stack of their own beside `chalice deploy`."""
    _check(stage)
    check_existing_pool(stage)
    check_named_engine(stage)
    template = resources_template(stage)
    name = _resources_stack(stage)
    where = _where(stage, json.dumps(template, separators=(",", ":")), bucket)
    _deploy(name, where, _declared(template, _parameters(name, stage_parameters(stage))))


@main.command("package")
@stage_option
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path))
def make_package(stage: str, out: Path) -> None:
    """Write the template and the zip of a stage to a folder."""
    _check(stage)
    _package(stage, out, None)
    click.echo(f"{out / TEMPLATE_NAME}: {(out / TEMPLATE_NAME).stat().st_size:,} bytes")


@main.command()
@stage_option
@click.option("--bucket", required=True, help="Where the zip and the template go.")
@click.option("--artifact", type=click.Path(path_type=Path), help="A zip that was packaged before, to deploy as it is.")
@click.option("--all-at-once", is_flag=True, help="Not by canary: give the new versions all of the traffic.")
def stack(stage: str, bucket: str, artifact: Path | None, all_at_once: bool) -> None:
    """Package a stage and deploy all of it as one stack."""
    _check(stage)
    name = _stack(stage)
    parameters = _parameters(name, {**stage_parameters(stage), "CodeBucket": bucket})
    where, shared_settings = _uploaded(parameters, artifact, _stacks().failure(name))
    why = why_all_at_once(_stacks().outputs(name), shared_settings, asked=all_at_once)
    if parameters.get("Canary") == "true" and why:
        click.echo(f"All at once, not by canary: {why}.")
        parameters["Canary"] = "false"
    _deploy(name, where, parameters)


@main.command()
@stage_option
@click.option("--yes", metavar="STAGE", help="Do not ask: this is the name of the stage.")
def destroy(stage: str, yes: str | None) -> None:
    """Delete a stage's stacks and its functions' logs, once you have typed its name. Tables, queues and key stay."""
    stage_parameters(stage)
    who = caller() if yes is None else None
    confirm(f"delete it in account {who.account if who else 'unknown'}, region {region()}", stage, yes)
    refuse_if_chalice_deployed(stage)
    restored = ""
    for name in (_stack(stage), _resources_stack(stage)):
        restored = restored or _stacks().parameters(name, [PARAMETER]).get(PARAMETER, "")
        for kept in _stacks().delete(name):
            click.echo(f"kept: {kept}")
    for name in delete_logs(stage):
        click.echo(f"deleted: {name}")
    if restored:
        click.echo(f"Restored tables were in use: deploy again with RESTORED={restored[1:]}.")
    click.echo(
        "Deleted. docs/deploying.md says how to import what was kept into a new stack, and how to delete it for good."
    )


@main.command("policies")
def write_policies() -> None:
    """Write .chalice/policy-*.json from deploy/policies.py."""
    policies.write()


@main.command("cost")
def write_cost() -> None:
    """Compute docs/cost.md again from the prices at its beginning, and docs/engines.md."""
    cost.update()
    engine_cost.update()


@main.command("vendor")
def make_vendor() -> None:
    """Put the X-Ray SDK and Stripe's library into vendor/, for `chalice deploy`."""
    vendor()


@main.command("lock")
def make_lock() -> None:
    """Write the lock file of what runs in Lambda again, from the versions in the requirements files."""
    write_lock()


def _check(stage: str) -> None:
    """Refuse what must not be deployed. Raises one of _FAULTS."""
    check_callers(stage)
    check_payments(stage)
    check_engine(stage)


def _package(stage: str, out: Path, artifact: Path | None) -> None:
    """Package a stage with what is locked, or with a zip that exists, and print the zip's digest."""
    check_python(stage)
    if artifact:
        package_with(artifact, stage, out)
    else:
        with tempfile.TemporaryDirectory() as vendored:
            install(Path(vendored))
            package(stage, out, vendored=Path(vendored))
            bill = bill_of_materials(locked(), Path(vendored), digest(out / ZIP_NAME))
        (out / SBOM_NAME).write_text(json.dumps(bill, indent=2) + "\n", encoding="utf-8")
    zipped = out / ZIP_NAME
    click.echo(f"{ZIP_NAME}: {zipped.stat().st_size:,} bytes, sha256 {digest(zipped)}")


def _uploaded(parameters: Mapping[str, str], artifact: Path | None, failure: str) -> tuple[dict[str, str], str]:
    """Package a stage and upload it, for these values of its parameters: where its template is, and the digest of what
    all versions must agree on."""
    stage, bucket = parameters["Stage"], parameters["CodeBucket"]
    s3 = boto3.client("s3")
    with tempfile.TemporaryDirectory() as folder:
        _package(stage, Path(folder), artifact)
        try:
            key, template = upload(
                Path(folder), parameters, lambda key, path: s3.upload_file(str(path), bucket, key), failure
            )
        except AWS_FAULTS as fault:
            raise click.ClickException(explained(fault, f"bucket {bucket}")) from fault
        shared = read(template)["Outputs"][SHARED_SETTINGS]["Value"]
    return {"TemplateURL": _url(bucket, key)}, shared


def _where(stage: str, template: str, bucket: str | None) -> dict[str, str]:
    """The template of a stage's resources as an argument of a call, or uploaded if it is too long for that."""
    if len(template) <= _MAX_BODY:
        return {"TemplateBody": template}
    if not bucket:
        raise click.ClickException(
            f"The template has {len(template):,} bytes, and CloudFormation takes {_MAX_BODY:,} without a bucket: "
            f"make resources STAGE={stage} BUCKET=my-bucket"
        )
    key = f"orderonce/{stage}/{hashlib.sha256(template.encode()).hexdigest()}.json"
    try:
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=template.encode())
    except AWS_FAULTS as fault:
        raise click.ClickException(explained(fault, f"bucket {bucket}")) from fault
    return {"TemplateURL": _url(bucket, key)}


def _url(bucket: str, key: str) -> str:
    """Where CloudFormation reads what was uploaded."""
    signed: str = boto3.client("s3").generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key})
    return signed.partition("?")[0]


def _parameters(name: str, given: Mapping[str, str]) -> dict[str, str]:
    """The values of a stack's parameters.

    Without ALERTS_EMAIL who is alerted stays as it is; without PERMISSIONS_BOUNDARY, what bounds the roles; without
    RESTORED, which tables are in use.
    """
    said = {parameter: os.environ[name] for parameter, name in _FROM_ENVIRONMENT.items() if os.environ.get(name)}
    chosen = {parameter: "" if value == "none" else value for parameter, value in said.items()}
    if restored := os.environ.get("RESTORED"):
        chosen[PARAMETER] = _ending(given["Stage"], restored)
    return {**_stacks().parameters(name, [*_FROM_ENVIRONMENT, PARAMETER]), **given, **chosen}


def _deploy(name: str, where: Mapping[str, str], parameters: Mapping[str, str]) -> None:
    """Deploy a stack from a template, and print its outputs."""
    click.echo(f"Deploying {name} ...")
    stacks = _stacks()
    stacks.delete_failed(name)
    if not stacks.exists(name):
        _import_leftovers(stacks, name, parameters)
    outputs = stacks.deploy(name, where, parameters)
    try:
        stacks.protect(name)
    except AWS_FAULTS as refused:
        click.echo(f"{name} is deployed, but not protected against deletion: {refused}", err=True)
    for output, value in sorted(outputs.items()):
        click.echo(f"{output}: {value}")


def _ending(stage: str, restored: str) -> str:
    """What the names of the tables in use end in. Raises ClickException if one of them does not exist."""
    ending = "" if restored == "none" else f"-{restored}"
    dynamodb = boto3.client("dynamodb")
    for table in table_names(stage, ending).values():
        try:
            status = dynamodb.describe_table(TableName=table)["Table"].get("TableStatus")
        except AWS_FAULTS as fault:
            raise click.ClickException(explained(fault, f"table {table}")) from fault
        if status != "ACTIVE":
            raise click.ClickException(f"The table {table} cannot be used yet: it is {status}.")
    return ending


def _import_leftovers(stacks: Stacks, name: str, parameters: Mapping[str, str]) -> None:
    """What is left of an earlier stack of this stage becomes part of the new one."""
    stage = parameters["Stage"]
    template = resources_template(stage, watched=False)
    if name == _stack(stage) and has_tokens(stage):
        template = merged(template, user_pool.overlay())
    leftovers = Leftovers(
        boto3.client("dynamodb"), boto3.client("sqs"), boto3.client("logs"), boto3.client("cognito-idp")
    )
    if found := leftovers.of(template, parameters):
        for identifier in found.values():
            click.echo(f"importing what exists: {', '.join(identifier.values())}")
        stacks.import_resources(name, template, found, _declared(template, parameters))


def _declared(template: Mapping[str, Any], parameters: Mapping[str, str]) -> dict[str, str]:
    """Those that a template declares. CloudFormation refuses a request with any other."""
    return {name: value for name, value in parameters.items() if name in template["Parameters"]}


def _stack(stage: str) -> str:
    return f"orderonce-{stage}"


def _resources_stack(stage: str) -> str:
    return f"orderonce-{stage}-resources"


def _stacks() -> Stacks:
    return Stacks(boto3.client("cloudformation"))


if __name__ == "__main__":
    main()
