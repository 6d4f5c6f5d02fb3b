"""Creates the tables and queues of the template, and loads the sample catalogue."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
from boto3.dynamodb.types import TypeSerializer
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.settings import BadSetting
from chalicelib.settings import Settings as ServiceSettings
from local.faults import StartError
from local.settings import ROOT, STAGE, read_json

TEMPLATE = ROOT / ".chalice" / "resources.json"
CATALOGUE = ROOT / "local" / "catalogue.json"
STACK_NAME = f"orderonce-{STAGE}"
_BATCH_SIZE = 25  # the maximum of BatchWriteItem


def create_resources(template: Path = TEMPLATE) -> dict[str, str]:
    """Create all that the template describes, wait for it, and return the template's outputs.

    Raises StartError with the reason if the template is broken, or a setting.
    """
    body = json.dumps(read_json(template))
    # No retries: a broken template stays broken.
    formation = boto3.client("cloudformation", config=Config(retries={"total_max_attempts": 1}))
    try:
        formation.create_stack(
            StackName=STACK_NAME,
            TemplateBody=body,
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in _parameters().items()],
        )
        formation.get_waiter("stack_create_complete").wait(StackName=STACK_NAME)
        [stack] = formation.describe_stacks(StackName=STACK_NAME)["Stacks"]
    except (BotoCoreError, ClientError) as error:
        reason = " ".join(str(error).split())
        raise StartError(f"The template {template} cannot be created: {reason}") from error
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _parameters() -> dict[str, str]:
    """The receives are those that the consumer counts."""
    try:
        receives = ServiceSettings.from_environment(complete=False).max_receives
    except BadSetting as fault:
        raise StartError(f"{fault}.") from fault
    return {"Stage": STAGE, "MaxReceives": str(receives)}


def read_catalogue(path: Path = CATALOGUE) -> list[dict[str, Any]]:
    """The sample products, prices as exact decimals: no amount is ever a float."""
    products: list[dict[str, Any]] = json.loads(
        path.read_text(encoding="utf-8"), parse_float=Decimal, parse_int=Decimal
    )
    return products


def load_catalogue(table: str, products: list[dict[str, Any]]) -> None:
    """Put each product in the Inventory table, with the field names of the catalogue's file."""
    dynamodb = boto3.client("dynamodb")
    serialize = TypeSerializer().serialize
    puts = [
        {"PutRequest": {"Item": {name: serialize(value) for name, value in product.items()}}} for product in products
    ]
    for start in range(0, len(puts), _BATCH_SIZE):
        unwritten: dict[str, Any] = {table: puts[start : start + _BATCH_SIZE]}
        while unwritten:
            unwritten = dynamodb.batch_write_item(RequestItems=unwritten)["UnprocessedItems"]
