"""`python -m local stripe-key`: gives a Stripe test key to the stack that runs with PAYMENTS=stripe."""

import getpass
import os
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.adapters.stripe_account import fault_of_key
from local.faults import StartError
from local.settings import ROOT, STAGE, enter_stage, read_json, stage_variables

NAME = "/orderonce/local/stripe"
PLACE = f"ssm:{NAME}"
"""Where the stack reads it, in the embedded AWS: in memory, and gone with the stack."""


def give_key(aws_port: int) -> None:
    """Keep the key that is typed, or comes by standard input. It is never printed. Raises StartError."""
    key = (getpass.getpass("Stripe's secret test key: ") if sys.stdin.isatty() else sys.stdin.read()).strip()
    if fault := fault_of_key(key, STAGE):
        raise StartError(f"Nothing was changed: {fault}.")
    from_disk = read_json(ROOT / ".chalice" / "config.json")
    enter_stage(os.environ, stage_variables(from_disk), from_disk["app_name"], aws_port)
    ssm = boto3.client("ssm", config=Config(retries={"total_max_attempts": 1}))
    try:
        ssm.put_parameter(Name=NAME, Value=key, Type="SecureString", Overwrite=True)
    except (BotoCoreError, ClientError) as error:
        raise StartError(
            f"No stack answers on AWS_PORT {aws_port}: start one with make run PAYMENTS=stripe."
        ) from error
