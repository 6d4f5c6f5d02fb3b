"""OrderOnce is deployed as an operator does it, to an emulator of AWS, and used: with the package, roles, settings and
mappings that Chalice made from the configuration. The policies are enforced.

What the emulator cannot do, and where it is shown instead: its REST API answers nothing (the API is run by `chalice
local` against the deployed tables and queue), it has no metric-maths alarms and no saved queries (left out of the
stack; tests of the template), and its speed and limits are not those of AWS.

The tests use one deployment and run in this order: the last one deletes it.
"""

import json
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import boto3
import pytest

from tests.deploy.support.deployed_shop import STOCK, DeployedShop, deployed, event
from tests.deploy.support.deployment import APP, FUNCTIONS, STAGE
from tests.deploy.test_policies import SCHEDULED
from tests.support.snippets import commands, snippet
from tests.support.stripe_fake import StripeFake
from tests.support.stripe_server import serving
from tests.support.tables import books_in, stock_in

pytestmark = [pytest.mark.deploy, pytest.mark.slow]

SCHEDULE_SECONDS = 100
"""A schedule runs every minute, and the emulator looks at it every ten seconds."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeployedShop]:
    to_run = 'REQUIRE_EMULATOR=1 make test ARGS="-n 0 -x -m deploy"'
    with deployed(tmp_path_factory.mktemp("deploy"), to_run) as shop:
        yield shop


def test_every_function_of_the_app_is_there_with_a_role_and_a_trigger_of_its_own(shop: DeployedShop) -> None:
    lambdas = shop.deployment.lambdas
    functions = {function["FunctionName"]: function for function in lambdas.list_functions()["Functions"]}
    assert functions.keys() == {f"{APP}-{STAGE}", *map(shop.deployment.named, FUNCTIONS)}
    assert len({function["Role"] for function in functions.values()}) == len(functions)

    [mapping] = lambdas.list_event_source_mappings()["EventSourceMappings"]
    assert mapping["FunctionArn"] == functions[shop.deployment.named("order_consumer")]["FunctionArn"]
    assert mapping["EventSourceArn"].endswith(f":{shop.stage['ORDER_QUEUE']}")
    assert (mapping["BatchSize"], mapping["State"]) == (10, "Enabled")

    rules = {rule["Name"]: rule["ScheduleExpression"] for rule in shop.stage.events.list_rules()["Rules"]}
    assert rules == {
        f"{shop.deployment.named(name)}-event": "rate(1 minute)" for name in ("recover", "dead_letter_monitor")
    }


def test_the_operator_loads_the_catalogue_and_checks_the_stage_as_the_readme_says(shop: DeployedShop) -> None:
    lines = commands(snippet("README.md", "make resources STAGE=dev"))
    assert f".venv/bin/chalice deploy --stage {STAGE}" in lines  # as the fixture has done
    load, check = (shop.deployment.ops(line) for line in lines if line.startswith(".venv/bin/python -m ops "))
    assert load.stdout == "11 products loaded: 0 new, 11 known (their stock is unchanged).\n", load.stderr
    # The fixture's stage declines no payment by chance, and runs on this machine's processor. Roles are fitted to the
    # emulator too, and it has neither the alarms nor the API as AWS has them.
    rows = [line.split(maxsplit=3) for line in check.stdout.splitlines() if line.startswith("differs")]
    differences = {(kind, text) for _, kind, _, remark in rows for text in remark.split("; ")}
    unlike_aws = {"alarm", "API", "role", "log"}
    processor = {"arm64": "arm64", "aarch64": "arm64"}.get(platform.machine(), "x86_64")
    fitted = {("function", f"architecture: {processor}, should be arm64")} if processor != "arm64" else set()
    assert {(kind, text) for kind, text in differences if kind not in unlike_aws} == fitted | {
        ("function", "FAIL_PAYMENT_PERCENT: '0', should be '20'")
    }, check.stdout


def test_a_good_event_is_fulfilled_by_the_deployed_consumer(shop: DeployedShop) -> None:
    before = stock_in(shop.stage)["PROD-100"]
    shop.send(event("good", "PROD-100", 2))
    [order] = shop.once_confirmed("good")
    assert [entry["status"] for entry in order["history"]] == ["PENDING", "RESERVED", "CONFIRMED"]
    assert stock_in(shop.stage)["PROD-100"] == before - 2
    charged = books_in(shop.stage)[order["paymentKey"]]
    assert (charged["state"], charged["amount"]) == ("CHARGED", Decimal("299.98"))
    published, *_ = shop.published_of("good")
    assert published["detail-type"] == "OrderPlaced"
    assert published["detail"]["correlationId"] == "corr-good"
    shop.once_worked_off()


def test_the_queue_of_a_consumer_to_copy_receives_the_events(shop: DeployedShop) -> None:
    outputs = shop.deployment.create_stack(
        "my-consumer", snippet("docs/events.md", "Parameters:").text, EventBus=shop.stage["EVENT_BUS"]
    )
    shop.send(event("consumed", "PROD-008"))
    received = shop.deployment.eventually(
        "an event on the consumer's queue",
        lambda: shop.stage.sqs.receive_message(QueueUrl=outputs["Queue"], WaitTimeSeconds=1).get("Messages"),
    )
    assert received
    arrived = json.loads(received[0]["Body"])
    assert (arrived["detail-type"], arrived["detail"]["orderId"]) == ("OrderPlaced", "consumed")
    assert arrived.keys() == json.loads(snippet("docs/events.md", '"version": "0"').text).keys()
    shop.once_worked_off()


def test_a_duplicate_changes_nothing_whatever_its_time(shop: DeployedShop) -> None:
    shop.send(event("twice", "PROD-001"))
    [order] = shop.once_confirmed("twice")
    shop.once_worked_off()
    stock, books = stock_in(shop.stage), books_in(shop.stage)

    shop.send(event("twice", "PROD-001"), event("twice", "PROD-001", createdAt="2026-11-20T08:00:00Z"))
    shop.once_worked_off()

    assert shop.order("twice") == order
    assert (stock_in(shop.stage), books_in(shop.stage)) == (stock, books)
    assert len({each["detail"]["eventId"] for each in shop.published_of("twice")}) == 1


def test_a_poisonous_message_is_a_dead_letter_that_says_why(shop: DeployedShop) -> None:
    no_quantity = event("poison", "PROD-001") | {"items": [{"productId": "PROD-001"}]}
    garbled, incomplete = shop.send("{not JSON", no_quantity)

    letter = shop.dead_letter(garbled)
    assert letter["body"] == "{not JSON"
    assert "line 1, column 2" in letter["reason"]
    assert letter["receiveCount"] == "1"
    assert abs(int(letter["firstSentAt"]) / 1000 - datetime.now(UTC).timestamp()) < 300

    letter = shop.dead_letter(incomplete)
    assert json.loads(letter["body"]) == no_quantity
    assert letter["orderId"] == "poison"
    assert "#/items/0/quantity" in letter["reason"]
    shop.once_worked_off()
    assert not shop.order("poison")


def test_each_message_of_a_mixed_batch_ends_where_it_belongs(shop: DeployedShop) -> None:
    shop.send(event("old", "PROD-002"))
    [old] = shop.once_confirmed("old")
    shop.once_worked_off()
    before = stock_in(shop.stage)
    with shop.intake_paused():
        *_, one, other, garbled, nothing_ordered = shop.send(
            event("new", "PROD-001", 3),
            event("new", "PROD-001", 3, createdAt="2026-11-20T08:00:00Z"),
            event("also-new", "PROD-003"),
            event("old", "PROD-002"),
            event("too-many", "PROD-009", STOCK["PROD-009"] + 1),
            event("too-cheap", "PROD-002", totalAmount=0.01),
            event("quarrel", "PROD-006", 1),
            event("quarrel", "PROD-006", 2),
            "garbled",
            event("nothing", "PROD-001") | {"items": []},
        )
    shop.once_worked_off()

    shop.once_confirmed("new", "also-new")
    assert shop.order("old") == old
    assert {
        name: (shop.order(name)["status"], shop.order(name)["failureReason"]) for name in ("too-many", "too-cheap")
    } == {"too-many": ("FAILED", "OUT_OF_STOCK"), "too-cheap": ("FAILED", "TOTAL_MISMATCH")}
    # Of two orders with one id the first to be written is kept. The other was delivered again, and then recognized.
    [quarrel] = shop.once_confirmed("quarrel")
    loser = shop.dead_letter(other if quarrel["items"][0]["quantity"] == 1 else one)
    assert (loser["orderId"], loser["reason"]) == ("quarrel", "an order with this id and different contents exists")
    assert loser["receiveCount"] == "2"
    assert shop.dead_letter(garbled)["body"] == "garbled"
    assert shop.dead_letter(nothing_ordered)["orderId"] == "nothing"
    taken = {"PROD-001": 3, "PROD-002": 0, "PROD-003": 1, "PROD-006": quarrel["items"][0]["quantity"], "PROD-009": 0}
    after = stock_in(shop.stage)
    assert {product_id: before[product_id] - after[product_id] for product_id in taken} == taken


def test_a_dead_letter_is_replayed_by_the_deployed_function(shop: DeployedShop) -> None:
    shop.stage.sqs.send_message(  # as SQS itself puts it there after its reader died six times
        QueueUrl=shop.stage.queue_url("ORDER_DEAD_LETTERS"), MessageBody=json.dumps(event("crashed", "PROD-007"))
    )
    replayed = shop.deployment.eventually(
        "the replay of a dead letter",  # the monitor may be looking at it just now
        lambda: shop.deployment.invoke("replay_dead_letters", {"orderId": "crashed"})["orderIds"],
    )
    assert replayed == ["crashed"]
    shop.once_confirmed("crashed")


def test_an_order_placed_by_the_api_is_fulfilled_and_found_by_one_correlation_id(shop: DeployedShop) -> None:
    body = {"customerId": "CUST-7", "items": [{"productId": "PROD-005", "quantity": 1}], "totalAmount": 199.99}
    headers = {"Idempotency-Key": "double-click", "X-Correlation-Id": "corr-of-the-click"}
    with shop.deployment.api() as port:
        first, again = (shop.post(port, "/orders", body, headers) for _ in range(2))
    assert (first.status, again.status) == (201, 201)
    assert (first.body, again.headers["Idempotent-Replayed"]) == (again.body, "true")
    order_id = json.loads(first.body)["orderId"]
    shop.once_confirmed(order_id)

    published, *_ = shop.published_of(order_id)
    assert published["detail"]["correlationId"] == "corr-of-the-click"
    logged = shop.deployment.eventually(
        "the consumer's log of the order",
        lambda: [
            line
            for line in shop.deployment.logged("order_consumer", "corr-of-the-click")
            if line.get("message") == "order confirmed"
        ],
    )
    assert [line["orderId"] for line in logged] == [order_id]


def test_a_function_may_do_its_own_work_and_nothing_else(shop: DeployedShop) -> None:
    queue = {"QueueUrl": shop.stage.queue_url("ORDER_QUEUE")}
    forged = {"TableName": shop.stage["ORDERS_TABLE"], "Item": {"orderId": {"S": "forged"}}}
    may = shop.deployment.may
    assert may("api_handler", "sqs", "send_message", {**queue, "MessageBody": json.dumps(event("sent", "PROD-001"))})
    assert not may("api_handler", "sqs", "receive_message", queue)
    assert not may("dead_letter_monitor", "dynamodb", "put_item", forged)
    assert not shop.order("forged")
    shop.once_confirmed("sent")


def test_a_redeployment_with_messages_under_way_loses_and_doubles_nothing(shop: DeployedShop) -> None:
    reporting = shop.deployment.project / "chalicelib" / "use_cases" / "reporting.py"
    code = reporting.read_text("utf-8")
    assert '"order confirmed"' in code
    reporting.write_text(code.replace('"order confirmed"', '"order confirmed by new code"'), "utf-8")

    with shop.intake_paused():
        waiting = [f"waiting-{n}" for n in range(30)]
        for start in range(0, 30, 10):
            shop.send(*(event(order_id, "P-STREAM") for order_id in waiting[start : start + 10]))
    with shop.sending() as sent:
        shop.deployment.redeploy()
        shop.deployment.eventually(
            "an order fulfilled by the new code", lambda: shop.deployment.logged("order_consumer", "by new code")
        )
    # The emulator ends a consumer in the middle of a batch, which is left to the next one, a visibility timeout later.
    orders = shop.once_confirmed(*waiting, *sent, seconds=120)
    shop.once_worked_off()
    assert len({*waiting, *sent}) == len(orders)
    assert stock_in(shop.stage)["P-STREAM"] == STOCK["P-STREAM"] - len(orders)
    books = books_in(shop.stage)
    assert {books[order["paymentKey"]]["paymentId"] for order in orders} == {order["paymentId"] for order in orders}
    assert {books[order["paymentKey"]]["state"] for order in orders} == {"CHARGED"}

    old = {line["orderId"] for line in shop.deployment.logged("order_consumer", '"order confirmed"')}
    new = {line["orderId"] for line in shop.deployment.logged("order_consumer", '"order confirmed by new code"')}
    assert old & {*waiting, *sent}
    assert new & {*sent}


def test_an_order_whose_message_was_never_sent_is_recovered_by_the_schedule(shop: DeployedShop) -> None:
    shop.once_confirmed("forgotten", seconds=SCHEDULE_SECONDS)
    assert "forgotten" in {line.get("orderId") for line in shop.deployment.logged("recover", "order recovered")}


def test_the_operator_is_alerted_of_dead_letters_by_the_schedule(shop: DeployedShop) -> None:
    [alert, *_] = shop.deployment.eventually("an alert", shop.alerts, SCHEDULE_SECONDS)
    notification = json.loads(alert)
    assert notification["Subject"].startswith(f"OrderOnce {STAGE}: ")
    assert f"python -m ops --stage {STAGE} dead-letters list" in notification["Message"]
    assert shop.deployment.logged("dead_letter_monitor", "dead letters are waiting")


def test_all_stock_and_all_money_is_where_it_should_be(shop: DeployedShop) -> None:
    shop.once_worked_off()
    shop.check_conserved()


def test_a_stage_that_is_switched_to_stripe_is_paid_and_refunds_where_it_was_paid(shop: DeployedShop) -> None:
    """With the roles of the functions that read the key, and with the library that is put beside them."""
    fake = StripeFake(datetime.now(UTC))
    with serving(fake) as url:
        shop.deployment.pay_by_stripe(url)
        shop.send(event("by-card", "PROD-001", paymentMethod=fake.add_method()))
        [order] = shop.once_confirmed("by-card", seconds=90)
        [intent] = fake.of_key(order["paymentKey"])
        assert (intent["id"], intent["status"], intent["amount"]) == (order["paymentId"], "succeeded", 2999)
        with shop.deployment.api() as port:
            for order_id in ("by-card", "good"):
                assert shop.post(port, f"/orders/{order_id}/cancel", {}, {}).status == 200
        shop.once_worked_off()
        shop.deployment.invoke("reconcile_payments", SCHEDULED)
    assert shop.deployment.logged("reconcile_payments", '"PaymentDifferences":[0.0]')
    assert [refund["payment_intent"] for refund in fake.refunds.values()] == [intent["id"]]
    assert books_in(shop.stage)[shop.order("good")["paymentKey"]]["state"] == "REFUNDED"


def test_deleting_takes_the_functions_and_leaves_tables_and_queues(shop: DeployedShop) -> None:
    orders = shop.stage.items("ORDERS_TABLE")

    shop.deployment.chalice("delete")

    assert shop.deployment.lambdas.list_functions()["Functions"] == []
    assert shop.deployment.lambdas.list_event_source_mappings()["EventSourceMappings"] == []
    assert shop.stage.events.list_rules()["Rules"] == []
    iam: Any = boto3.client("iam")
    assert [role["RoleName"] for role in iam.list_roles()["Roles"] if role["RoleName"].startswith(APP)] == []

    assert shop.stage.items("ORDERS_TABLE") == orders
    shop.send(event("afterwards", "PROD-001"))
    [kept] = shop.stage.receive("ORDER_QUEUE")
    assert json.loads(kept["Body"])["orderId"] == "afterwards"
