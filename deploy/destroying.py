"""What a stage leaves behind beside its stacks: functions that Chalice deployed, and log groups."""

import boto3
import click

from deploy.stages import EVER, function_name


def refuse_if_chalice_deployed(stage: str) -> None:
    """Raises ClickException while functions of `chalice deploy` exist: without tables and logs they would only fail."""
    lambdas = boto3.client("lambda")
    left = []
    for name in (function_name(function).replace("${Stage}", stage) for function in EVER):
        try:
            lambdas.get_function_configuration(FunctionName=name)
        except lambdas.exceptions.ResourceNotFoundException:
            continue
        left.append(name)
    if left:
        raise click.ClickException(
            f"Chalice deployed {', '.join(left)}. Run this first: .venv/bin/chalice delete --stage {stage}"
        )


def delete_logs(stage: str) -> list[str]:
    """Delete the log groups that the stage's functions have left; their names. `chalice delete` leaves them."""
    logs = boto3.client("logs")
    own = f"/aws/lambda/orderonce-{stage}"
    pages = logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=own)
    names = [group["logGroupName"] for page in pages for group in page["logGroups"]]
    # Not those of another application whose name only begins like this one.
    mine = [name for name in names if name == own or name.startswith(f"{own}-")]
    for name in mine:
        logs.delete_log_group(logGroupName=name)
    return mine
