"""Least privilege: each function may do what it does when it is run through the app's entry points, and no more."""

import json
import re
import string
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

import app as entry
from chalicelib.adapters import clients
from chalicelib.deadline import NO_DEADLINE
from chalicelib.entrypoints import saga_steps
from chalicelib.service import Service, compose
from chalicelib.settings import Settings
from chalicelib.use_cases.letters import Kind
from chalicelib.use_cases.ports import Message
from deploy import policies
from deploy.stages import CHALICE, DEPLOYED, FUNCTIONS, functions_of, stage_config
from deploy.tables import table_names
from tests.deploy.support.iam import ACCOUNT, REGION, allows, filled
from tests.support.aws_calls import AwsCalls
from tests.support.customer import Reply
from tests.support.events import Clock, FakeLambdaContext
from tests.support.permissions import SETTINGS, Permission, granted, permissions
from tests.support.shop import Shop, opened
from tests.support.stage import Stage
from tests.support.step_functions import step_functions
from tests.support.stripe_fake import SECRET_KEY, StripeFake
from tests.support.stripe_server import serving
from tests.support.tables import forget_order
from tests.support.walker import DEFINITION, Execution

SCHEDULED = {"version": "0", "account": "123456789012", "region": "us-east-1", "detail": {}, "resources": []} | {
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "time": "2026-01-15T12:00:00Z",
    "id": "1",
}


def drive_api(shop: Shop) -> None:
    """Every route, and the ways through it that call something else."""
    keyed = shop.place(key="k1")
    shop.place(shop.order(customerId="CUST-2"))
    shop.get(f"/orders/{keyed.order_id}")
    shop.get("/customers/CUST-1/orders")
    shop.get("/customers/CUST-1/orders?idempotencyKey=k1")
    shop.get("/products")
    shop.get("/health")
    shop.ask("POST", f"/orders/{keyed.order_id}/cancel")
    confirmed, shipped = shop.place(key="k2"), shop.place(key="k3")
    shop.run_queue()
    shop.ask("POST", f"/orders/{confirmed.order_id}/cancel")
    shop.ask("POST", f"/orders/{shipped.order_id}/ship")
    shop.ship(shipped.order_id, carrier="ACME")
    shop.ask("POST", f"/orders/{shipped.order_id}/deliver")
    # The product is removed after an order without a key: its replay is found by its claim.
    shop.set_product("PROD-001", price=None)
    shop.clock.advance(minutes=2)
    shop.place(shop.order(customerId="CUST-2"))


def drive_consumer(shop: Shop, card: Callable[[], str] = lambda: "any") -> None:
    """Orders of clients and producers, each kind of end, a refund, and messages that fail once or for good."""

    def place(key: str, product: str = "PROD-001") -> Reply:
        return shop.place(shop.order(product, paymentMethod=card()), key=key)

    stocked = place("k1")
    shop.produce(shop.event("p1", paymentMethod=card()), shop.event("p2", totalAmount=1), "not JSON")
    shop.run_queue()
    shop.ask("POST", f"/orders/{stocked.order_id}/cancel")
    shop.run_queue()
    shop.set_product("PROD-002", stock=0)
    place("k2", "PROD-002")
    shop.run_queue()
    place("k3")
    shop.produce(shop.event("p3", paymentMethod=card()))
    shop.calls.refuse("InternalServerError", "PutEvents", status=500)
    shop.run_queue()
    place("k4")
    (refused,) = shop.receive()
    shop.consume([refused | {"Body": refused["Body"].replace('"quantity": 1', '"quantity": 0')}])


def drive_recover(shop: Shop) -> None:
    """Orders whose message was lost; and two dead letters, one of which is replayed without a person."""
    shop.place(key="k1")
    shop.place(key="k2")
    shop.lose_messages()
    for kind in (Kind.RETRY, Kind.NEVER):
        shop.service.dead_letters.keep(Message("m1", "", "x", 14, 0, {}), kind, "why")
    shop.clock.now = (datetime.now(UTC) + timedelta(hours=2)).replace(minute=0)
    entry.recover(SCHEDULED, FakeLambdaContext("recover"))
    assert len(shop.messages()) == 3


def drive_monitor(shop: Shop) -> None:
    """Dead letters that somebody is notified of."""
    shop.produce("not JSON")
    shop.run_queue()
    entry.dead_letter_monitor(SCHEDULED, FakeLambdaContext("dead_letter_monitor"))


def drive_replay(shop: Shop) -> None:
    """Dead letters, one of which is wanted."""
    shop.produce("not JSON", shop.event("p1", items=[]))
    shop.run_queue()
    answer = entry.replay_dead_letters({"orderId": "p1"}, FakeLambdaContext("replay_dead_letters"))
    assert answer["replayed"] == 1


DRIVERS: Mapping[str, Callable[[Shop], None]] = {
    "api_handler": drive_api,
    "order_consumer": drive_consumer,
    "recover": drive_recover,
    "dead_letter_monitor": drive_monitor,
    "replay_dead_letters": drive_replay,
}


class Usage:
    """What each function has called, as permissions. Every invocation is a cold start."""

    def __init__(self, shop: Shop, patch: pytest.MonkeyPatch) -> None:
        self.shop = shop
        self.of: dict[str, set[Permission]] = defaultdict(set)
        patch.setattr(entry, "service", self._cold)
        patch.setattr(shop, "ask", self._recorded("api_handler", shop.ask), raising=False)
        patch.setattr(shop, "consume", self._recorded("order_consumer", shop.consume), raising=False)
        for function in ("recover", "dead_letter_monitor", "replay_dead_letters"):
            patch.setattr(entry, function, self._recorded(function, getattr(entry, function)))

    def _cold(self) -> Service:
        aws = clients.dynamodb(), clients.sqs(), clients.events(), clients.sns()
        return compose(Settings.from_environment(self.settings), *aws, clock=self.shop.clock)

    @property
    def settings(self) -> Mapping[str, str]:
        return self.shop.stage.settings

    def _recorded(self, function: str, invoke: Callable[..., Any]) -> Callable[..., Any]:
        def invoked(*args: Any, **kwargs: Any) -> Any:
            before = len(self.shop.calls.made)
            try:
                return invoke(*args, **kwargs)
            finally:
                for call in self.shop.calls.made[before:]:
                    self.of[function] |= set(permissions(call, self.shop.stage))

        return invoked


class UsageWithStepFunctions(Usage):
    """The same with a state machine, which runs what was started as soon as the consumer has returned."""

    def __init__(self, shop: Shop, patch: pytest.MonkeyPatch) -> None:
        super().__init__(shop, patch)
        shop.calls.watch(clients.stepfunctions())
        role = "arn:aws:iam::123456789012:role/saga"
        self._states = boto3.client("stepfunctions")
        self._machine = self._states.create_state_machine(
            name="orderonce-test-saga", definition=json.dumps(DEFINITION), roleArn=role
        )["stateMachineArn"]
        consume = shop.consume

        def consume_and_run(*args: Any, **kwargs: Any) -> Any:
            consumed = consume(*args, **kwargs)
            self._run()
            return consumed

        patch.setattr(shop, "consume", consume_and_run, raising=False)

    @property
    def settings(self) -> Mapping[str, str]:
        return {**super().settings, "ENGINE": "step-functions", "STATE_MACHINE": self._machine}

    def _run(self) -> None:
        step = self._recorded("saga_step", self._step)
        for each in self._states.list_executions(stateMachineArn=self._machine, statusFilter="RUNNING")["executions"]:
            started = self._states.describe_execution(executionArn=each["executionArn"])
            Execution(each["name"], started["input"]).run(step)
            self._states.stop_execution(executionArn=each["executionArn"])

    def _step(self, event: Any) -> Any:
        return saga_steps.saga_step(self._cold(), event, NO_DEADLINE)


def never_used(used: set[Permission], allowed: frozenset[Permission]) -> dict[str, set[Permission]]:
    return {"missing": used - allowed, "never used": set(allowed - used)}


def drive_steps(shop: Shop) -> None:
    """The ends of sagas: confirmed, declined, out of stock, cancelled before they are through."""
    drive_consumer(shop)
    declined = shop.place(key="declined")
    with patch.dict(shop.stage.settings, FAIL_PAYMENT_PERCENT="100"):
        shop.run_queue()
    assert shop.status(declined.order_id) == "FAILED"
    cancelled = shop.place(key="cancelled")
    shop.ask("POST", f"/orders/{cancelled.order_id}/cancel")
    shop.run_queue()
    # The table was restored to before a paid order, which cannot be made again: its money goes back.
    paid = shop.place(key="paid")
    (message,) = shop.receive()
    shop.consume([message])
    forget_order(shop.stage, paid.order_id)
    shop.set_product("PROD-001", price=1)
    shop.consume([message])
    assert shop.status(paid.order_id) == "FAILED"
    # A saga that cannot be started has its message tried again, and its order looked after once that comes no more.
    shop.place(shop.order("PROD-003"), key="throttled")
    shop.calls.refuse("ThrottlingException", "StartExecution", times=None)
    (message,) = shop.receive()
    shop.consume([message])
    shop.consume([message | {"Attributes": message["Attributes"] | {"ApproximateReceiveCount": "14"}}])


@pytest.mark.parametrize("function", ["order_consumer", "saga_step"])
def test_with_a_state_machine_the_consumer_and_the_steps_share_the_work(
    function: str, aws: Stage, aws_calls: AwsCalls, clock: Clock
) -> None:
    settings = {"ENGINE": "step-functions"}
    with opened(aws, aws_calls, clock, settings=settings) as shop, pytest.MonkeyPatch.context() as patched:
        usage = UsageWithStepFunctions(shop, patched)
        drive_steps(shop)
    lambdas_own = {(SETTINGS[resource], action) for resource, action in policies.LAMBDAS_OWN.get(function, ())}
    used = usage.of[function] | lambdas_own
    assert never_used(used, granted(function, aws, "step-functions")) == {"missing": set(), "never used": set()}


@pytest.mark.parametrize("function", list(DRIVERS))
def test_each_function_may_do_what_it_does_and_nothing_else(
    function: str, aws: Stage, aws_calls: AwsCalls, clock: Clock
) -> None:
    with opened(aws, aws_calls, clock) as shop, pytest.MonkeyPatch.context() as patched:
        usage = Usage(shop, patched)
        DRIVERS[function](shop)
    lambdas_own = {(SETTINGS[resource], action) for resource, action in policies.LAMBDAS_OWN.get(function, ())}
    used = usage.of[function] | lambdas_own
    assert never_used(used, granted(function, aws)) == {"missing": set(), "never used": set()}


@pytest.mark.parametrize("place", ["secretsmanager:orderonce/test/stripe", "ssm:/orderonce/test/stripe"])
def test_a_consumer_that_asks_stripe_may_do_what_it_does_and_nothing_else(
    place: str, aws: Stage, aws_calls: AwsCalls, clock: Clock
) -> None:
    fake, (store, _, name) = StripeFake(), place.partition(":")
    secretsmanager, ssm = clients.secretsmanager(), clients.ssm()
    if store == "ssm":
        ssm.put_parameter(Name=name, Value=SECRET_KEY, Type="SecureString")
    else:
        secretsmanager.create_secret(Name=name, SecretString=SECRET_KEY)
    with serving(fake) as url:
        aws.settings |= {"PAYMENTS": "stripe", "STRIPE_KEY": place, "STRIPE_URL": url}
        with opened(aws, aws_calls, clock) as shop, pytest.MonkeyPatch.context() as patched:
            aws_calls.watch(secretsmanager, ssm)
            usage = Usage(shop, patched)
            drive_consumer(shop, fake.add_method)
            paid = [intent["status"] for intent in fake.intents.values()]
    assert paid.count("succeeded") >= 3, "as customers pay"
    used = usage.of["order_consumer"] | {(SETTINGS[r], action) for r, action in policies.LAMBDAS_OWN["order_consumer"]}
    assert used == granted("order_consumer", aws)


def test_the_files_are_what_the_table_says() -> None:
    """`python -m deploy policies` writes them."""
    on_disk = {path.name: path.read_text(encoding="utf-8") for path in CHALICE.glob("policy-*.json")}
    assert on_disk == dict(policies.files())


@pytest.mark.parametrize("stage", DEPLOYED)
def test_each_function_names_its_own_file_and_there_is_no_policy_to_fall_back_to(stage: str) -> None:
    configured = stage_config(stage)
    assert configured["autogen_policy"] is False
    assert "iam_policy_file" not in configured
    named = {name: function["iam_policy_file"] for name, function in configured["lambda_functions"].items()}
    assert named == {function: f"policy-{stage}-{function}.json" for function in FUNCTIONS}


def every_statement() -> Iterator[Any]:
    """Of either engine."""
    for engine in (nullcontext, step_functions):
        for stage in DEPLOYED:
            with engine(stage):
                for function in functions_of(stage):
                    for policy in (policies.static_policy(function, stage), policies.packaged_policy(function, stage)):
                        for statement in policy["Statement"]:
                            yield pytest.param(statement, id=f"{function}-{statement['Action'][0]}")


@pytest.mark.parametrize("statement", list(every_statement()))
def test_no_policy_is_open(statement: Mapping[str, Any]) -> None:
    assert statement["Effect"] == "Allow"
    assert set(statement) == {"Effect", "Action", "Resource"}
    assert not any("*" in action for action in statement["Action"])
    tracing = all(action.startswith("xray:") for action in statement["Action"])
    assert (statement["Resource"] == "*") is tracing


@pytest.mark.parametrize("stage", DEPLOYED)
def test_no_stage_reaches_into_another(stage: str) -> None:
    for function in policies.GRANTS:
        text = json.dumps(policies.static_policy(function, stage))
        for other in set(DEPLOYED) - {stage}:
            assert f"orderonce-{other}" not in text


# --- the key of a payment provider ---

OTHERS = dict.fromkeys([*(f"{name}.Arn" for name in SETTINGS), "AlertsTopic", "AWS::StackName"], "something else")
NAMES = st.text(string.ascii_letters + string.digits + "/_.-", min_size=1, max_size=40)


@given(service=st.sampled_from(["secretsmanager", "ssm"]), name=NAMES, other=NAMES)
def test_only_who_asks_stripe_may_read_its_key_and_no_other_secret(service: str, name: str, other: str) -> None:
    def arn(name: str) -> str:
        ending = f"secret:{name}-AbC123" if service == "secretsmanager" else f"parameter/{name.removeprefix('/')}"
        return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{ending}"

    action = {"secretsmanager": "secretsmanager:GetSecretValue", "ssm": "ssm:GetParameter"}[service]
    with patch.dict(stage_config("dev")["environment_variables"], STRIPE_KEY=f"{service}:{name}"):
        for function in FUNCTIONS:
            both = policies.static_policy(function, "dev"), policies.packaged_policy(function, "dev")
            for policy in (both[0], filled(both[1], OTHERS)):
                asks = function in policies.WITH_STRIPE
                assert allows([policy], action, arn(name)) is asks
                assert allows([policy], action, arn(other)) is (asks and arn(other) == arn(name))
                assert not allows([policy], action, arn(name + other)), "nor one whose name begins like it"


@pytest.mark.parametrize("stage", DEPLOYED)
def test_without_a_key_no_function_may_read_a_secret_or_the_ledger(stage: str) -> None:
    for function in FUNCTIONS:
        text = json.dumps([policies.static_policy(function, stage), policies.packaged_policy(function, stage)])
        assert not re.search("secret|ssm|kms", text)
        assert "dynamodb:GetItem" not in actions_on_payments(function, stage)


def actions_on_payments(function: str, stage: str) -> set[str]:
    ledger = f"arn:*:dynamodb:*:*:table/orderonce-{stage}-payments"
    statements = policies.static_policy(function, stage)["Statement"]
    return {action for each in statements if each["Resource"] == ledger for action in each["Action"]}


@pytest.mark.parametrize("stage", DEPLOYED)
def test_the_files_are_of_the_tables_that_the_configuration_names(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So restored tables are used by `chalice deploy` once config.json names them."""
    names = table_names(stage, "-monday")
    variables = stage_config(stage)["environment_variables"]
    monkeypatch.setattr(policies, "stage_config", lambda _: {"environment_variables": variables | names})
    document = json.dumps([policies.static_policy(function, stage) for function in FUNCTIONS])
    tables = set(re.findall(r"table/([^\"/]*)", document))
    assert tables == {*names.values(), f"orderonce-{stage}-payments"}
    assert f"table/orderonce-{stage}-orders-monday/index/OutboxIndex" in document
