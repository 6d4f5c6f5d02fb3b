"""The drill of docs/deploying.md: orders flow, a table is damaged, and every command of the page is run.

The tables are DynamoDB Local's. It cannot restore: a restore copies the items that the tables had at that second. All
else is moto's: the functions of `prod`, whose settings say which tables are in use, their mapping and their schedules.
"""

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.session import Session
from click.testing import CliRunner, Result
from moto.sqs.models import sqs_backends

import app as entry
from chalicelib import service
from chalicelib.adapters import clients
from chalicelib.settings import Settings
from deploy import __main__ as deploying
from deploy.stacks import Stacks
from deploy.tables import RESTORABLE, table_names
from deploy.template import merge_template
from tests.ops.live_stage import ACCOUNT, REGION, live_stage, operate
from tests.support.aws_calls import AwsCalls
from tests.support.conservation import check_conserved
from tests.support.customer import Reply
from tests.support.events import Clock
from tests.support.shop import Shop, opened
from tests.support.snippets import commands, snippet
from tests.support.stage import Stage
from tests.support.tables import Snapshot, books_in, create_like, forget_order, snapshot_of, stock_in
from tests.support.template import Template, create_tables

RECIPE = commands(snippet("docs/deploying.md", ".venv/bin/python -m ops --stage prod intake pause"))
SECOND = datetime(2026, 11, 22, 2, 59, tzinfo=UTC)
"""Of the page."""

BEFORE = ("confirmed", "to-be-cancelled", "to-be-damaged", "waiting")
"""The keys of orders before that second; the last one's message is still in the queue."""
GONE = ("deleted", "deleted-and-never-repeated")
AFTER = ("confirmed-later", "never-repeated", *GONE, "redelivered")
REPEATED = (*BEFORE, "confirmed-later", "deleted", "redelivered", "cancelled-at-once", "unfinished")
"""The keys whose clients send their request again in the end."""

pytestmark = pytest.mark.usefixtures("quiet")


class Drill:
    """A shop on `prod`. It takes and works on orders only while moto's functions, mapping and schedule would."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.stage = shop, shop.stage
        self.then: Snapshot = {}
        self.first: dict[str, str] = {}

    def order(self, key: str) -> Reply | None:
        """A client's request, the same each time; None: the API is paused."""
        lambdas = boto3.client("lambda")
        if lambdas.get_function_concurrency(FunctionName=_function("app.app"))["ReservedConcurrentExecutions"] == 0:
            return None
        reply = self.shop.place(self.shop.order({"p1": 1 + len(key) % 3}, customerId=key.replace(" ", "-")), key)
        self.first.setdefault(key, reply.order_id)
        return reply

    def work(self) -> bool:
        """What Lambda does with the queue, and the schedule; False: they are paused."""
        (mapping,) = boto3.client("lambda").list_event_source_mappings()["EventSourceMappings"]
        (rule,) = [r for r in boto3.client("events").list_rules()["Rules"] if "Recover" in r["Name"]]
        assert (mapping["State"] == "Enabled") == (rule["State"] == "ENABLED")
        if mapping["State"] != "Enabled":
            return False
        self.shop.recover_later()
        self.shop.run_queue()
        return True

    def use(self, tables: Mapping[str, str]) -> None:
        """What a deployment does: the functions have other tables."""
        lambdas: Any = boto3.client("lambda")
        for each in lambdas.list_functions()["Functions"]:
            variables = each["Environment"]["Variables"] | tables
            lambdas.update_function_configuration(
                FunctionName=each["FunctionName"], Environment={"Variables": variables}
            )
        self.stage.settings |= tables
        made = (clients.dynamodb(), clients.sqs(), clients.events(), clients.sns())
        self.shop.calls.watch(*made)
        settings, (dynamodb, sqs, events, sns) = Settings.from_environment(self.stage.settings), made
        self.shop.service = service.compose(
            settings,
            dynamodb,
            sqs,
            events,
            sns,
            self.shop.payments,
            self.shop.clock,
            self.shop.slept.append,
            payment_timeout=60,
        )

    # --- what an operator types ---

    def types(self, command: str) -> Result:
        """The command as it is on the page."""
        program, *words = shlex.split(command)
        with pytest.MonkeyPatch.context() as patch:
            for name in (*self.stage.settings, "RESTORED"):
                patch.delenv(name, raising=False)
            if program == "make":
                given = dict(word.split("=") for word in words[1:])
                patch.setenv("RESTORED", given["RESTORED"])
                arguments = [{"deploy": "stack"}[words[0]], "--stage", given["STAGE"], "--bucket", given["BUCKET"]]
                result = CliRunner().invoke(deploying.main, arguments, catch_exceptions=False)
                self.use(self.tables_of_the_stack())
            else:
                assert (program, words[:2]) == (".venv/bin/python", ["-m", "ops"])
                result = operate(*words[2:], typed="prod\n")
        assert result.exit_code == 0, f"{command}: {result.output}"
        return result

    def tables_of_the_stack(self) -> dict[str, str]:
        """What the template tells the functions with the parameters of the deployed stack."""
        (stack,) = boto3.client("cloudformation").describe_stacks(StackName="orderonce-prod")["Stacks"]
        given = {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}
        told = merge_template("prod")["Resources"]["APIHandler"]["Properties"]["Environment"]["Variables"]
        found: dict[str, str] = {}
        for setting in RESTORABLE.values():
            found[setting] = told[setting]["Fn::Sub"]
            for name in ("Stage", "RestoredTables"):
                found[setting] = found[setting].replace(f"${{{name}}}", given[name])
        return found

    # --- what DynamoDB Local lacks ---

    def restored(self, params: Any, **_: Any) -> Any:
        """RestoreTableToPointInTime: a table like the source, with the items of that second."""
        request = json.loads(params["body"])
        assert request["RestoreDateTime"] == SECOND.timestamp()
        (setting,) = [s for s, name in table_names("prod").items() if name == request["SourceTableName"]]
        create_like(self.stage.dynamodb, request["SourceTableName"], request["TargetTableName"])
        with patch.dict(self.stage.settings, {setting: request["TargetTableName"]}):
            for item in self.then[setting]:
                self.stage.put_item(setting, item)
        return _done()


def _done(**_: Any) -> Any:
    answered: Any = AWSResponse
    return answered("", 200, {}, None), {"Tags": []}


def _function(handler: str) -> str:
    (name,) = [
        f["FunctionName"] for f in boto3.client("lambda").list_functions()["Functions"] if f["Handler"] == handler
    ]
    return str(name)


@pytest.fixture
def drill(dynamodb_local: str, aws_calls: AwsCalls, monkeypatch: pytest.MonkeyPatch) -> Iterator[Drill]:
    with live_stage("prod", packaged=True):
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb_local)
        stage = Stage("prod", dynamodb_endpoint=dynamodb_local)
        for name, value in stage.settings.items():
            monkeypatch.setenv(name, value)
        service.reset()
        boto3.client("cloudformation").create_stack(StackName="orderonce-prod", TemplateBody=json.dumps(_parameters()))
        # moto's mapping would take the messages: here the test is Lambda.
        sqs_backends[ACCOUNT][REGION].queues[stage["ORDER_QUEUE"]].lambda_event_source_mappings.clear()
        create_tables(stage.dynamodb, Template.load({"Stage": "prod"}))
        key: Any = {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}], "BillingMode": "PAY_PER_REQUEST"}
        stage.dynamodb.create_table(
            TableName="orderonce-prod-operations",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            **key,
        )
        try:
            with (
                opened(stage, aws_calls, Clock(datetime(2026, 11, 22, 2, 0, tzinfo=UTC))) as shop,
                _local(shop) as made,
                pytest.MonkeyPatch.context() as own,
            ):
                own.setattr(entry, "service", lambda: shop.service)
                uploaded: Any = ({"TemplateBody": json.dumps(_parameters())}, "")
                own.setattr(deploying, "_uploaded", lambda *_: uploaded)
                own.setattr(Stacks, "protect", lambda *_: None)  # moto has none
                yield made
        finally:
            for table in stage.dynamodb.list_tables()["TableNames"]:
                stage.dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
                stage.dynamodb.delete_table(TableName=table)
            service.reset()


@contextmanager
def _local(shop: Shop) -> Iterator[Drill]:
    """DynamoDB Local with what it lacks."""
    drill, make = Drill(shop), Session.create_client

    def completed(session: Session, name: str, *args: Any, **options: Any) -> Any:
        client = make(session, name, *args, **options)
        if name == "dynamodb":
            client.meta.events.register_first("before-call.dynamodb.RestoreTableToPointInTime", drill.restored)
            for lacking in ("UpdateContinuousBackups", "ListTagsOfResource"):
                client.meta.events.register_first(f"before-call.dynamodb.{lacking}", _done)
        return client

    with patch.object(Session, "create_client", completed):
        yield drill


def _parameters() -> dict[str, Any]:
    """A stack with the parameters of the real one. moto cannot transform that, and its resources exist."""
    return {
        "Parameters": merge_template("prod")["Parameters"] | {"CodeBucket": {"Type": "String", "Default": ""}},
        "Resources": {"Only": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "only"}}},
    }


def test_nothing_is_lost_and_nobody_is_charged_twice(drill: Drill) -> None:
    shop, stock, first = drill.shop, stock_in(drill.stage), drill.first
    for key in BEFORE[:-1]:
        drill.order(key)
    drill.work()
    drill.order(BEFORE[-1])
    shop.clock.now = SECOND
    drill.then = snapshot_of(drill.stage)

    shop.clock.advance(seconds=1)
    shop.produce(shop.event("web-1", {"p2": 1}, createdAt=None))
    for key in AFTER:
        drill.order(key)
    (message,) = [m for m in shop.messages() if first["redelivered"] in m["Body"]]
    drill.work()
    shop.ship(first["confirmed"])
    drill.order("cancelled-at-once")
    for key in ("to-be-cancelled", "cancelled-at-once"):
        shop.cancel(first[key])
    drill.work()
    drill.order("unfinished")
    shop.lose_messages()
    # The damage; and a message comes again, as any may.
    for key in ("deleted", "deleted-and-never-repeated", "redelivered"):
        forget_order(drill.stage, first[key])
    shop.change_stored(first["to-be-damaged"], status="FAILED", totalAmount=0)
    attributes = {name: each["StringValue"] for name, each in message["MessageAttributes"].items()}
    shop.produce(message["Body"], attributes=attributes)

    run = iter(RECIPE)
    drill.types(next(run))  # pause
    assert drill.order("confirmed") is None
    assert not drill.work()
    drill.types(next(run))  # restore
    drill.types(next(run))  # swap
    assert "open" not in drill.types(next(run)).stdout
    drill.types(next(run))  # resume the consumer
    assert drill.order("confirmed") is None
    drill.work()
    shown = [line.split()[0] for line in drill.types(next(run)).stdout.splitlines()[1:]]
    mended = ("to-be-cancelled", "confirmed-later", "never-repeated", "cancelled-at-once", "unfinished")
    assert set(shown) == {*(first[key] for key in (*mended, *GONE)), "web-1"}
    reconcile = next(run)
    drill.types(reconcile)
    drill.work()
    assert drill.types(reconcile).stdout.splitlines()[1:] == []
    drill.types(next(run))  # open
    assert next(run, None) is None

    replayed = {key: answer.replayed for key in REPEATED if (answer := drill.order(key))}
    assert replayed == {key: key != "deleted" for key in REPEATED}
    drill.work()
    expected = {first[key] for key in first if key != "deleted-and-never-repeated"} | {"web-1"}
    statuses = check_conserved(drill.stage, stock, expected)
    assert statuses == {"CONFIRMED": len(expected) - 2, "CANCELLED": 1, "FAILED": 1}
    assert shop.status(first["cancelled-at-once"]) == "FAILED"
    charged = Counter(key.partition(".")[0] for key, row in books_in(drill.stage).items() if row["state"] == "CHARGED")
    assert set(charged.values()) == {1}
