"""docs/cost.md: the calls that it counts are counted here."""

import json
from collections import Counter
from decimal import Decimal

import pytest

from chalicelib import telemetry
from chalicelib.adapters import clients
from chalicelib.domain.outcomes import Charged, Refunded
from deploy import cost
from deploy.stages import DEPLOYED
from deploy.template import merge_template, resources_template
from tests.support.aws_calls import AwsCalls
from tests.support.events import Clock
from tests.support.shop import Shop, opened
from tests.support.stage import Stage
from tests.support.stripe_fake import StripeFake
from tests.support.stripe_server import serving
from tests.support.stripe_shop import PAID, stripe_payments


def calls(shop: Shop) -> Counter[str]:
    """The calls since the last time, without the payment provider's own."""
    own_books = shop.stage["PAYMENTS_TABLE"]
    made = Counter(call.operation for call in shop.calls.made if own_books not in repr(call.params))
    shop.calls.forget()
    return made


def test_an_order_makes_the_calls_that_its_cost_is_computed_from(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> None:
    with opened(aws, aws_calls, clock) as shop:
        shop.warm_up()
        shop.place(shop.order(), key="k0")
        assert calls(shop) == cost.POST
        assert shop.place(shop.order(), key="k0").replayed
        assert calls(shop) == cost.DUPLICATE
        for number in range(1, cost.BATCH_SIZE):
            shop.place(shop.order(), key=f"k{number}")
        calls(shop)
        shop.run_queue()
        reserve, confirm = (len(c.params["TransactItems"]) for c in shop.calls.of("TransactWriteItems"))
        assert (reserve, confirm) == (cost.BATCH_SIZE + 1, cost.BATCH_SIZE)
        assert calls(shop) == cost.FULFIL
        assert shop.statuses() == {"CONFIRMED": cost.BATCH_SIZE}
        shop.clock.advance(minutes=1)  # the dead letters are looked at every quarter of an hour
        shop.recover()
        assert calls(shop) == cost.RECOVER
        shop.get("/products")
        assert calls(shop) == cost.PRODUCTS
        shop.get("/products")
        assert calls(shop) == {}


def test_a_payment_by_stripe_makes_the_calls_that_its_cost_is_computed_from(aws: Stage, aws_calls: AwsCalls) -> None:
    fake = StripeFake()
    with serving(fake) as url:
        payments = stripe_payments(aws, url)
        aws_calls.watch(clients.dynamodb())
        paid = payments.charge("key-1", PAID, "USD", method=fake.add_method("succeeds"), customer_id="CUST-1")
        assert isinstance(paid, Charged)
        assert Counter(aws_calls.operations()) == cost.STRIPE
        assert len(fake.requests) == cost.STRIPE_REQUESTS
        aws_calls.forget()
        assert payments.refund("key-1") == Refunded(paid.payment_id)
        assert aws_calls.operations() == ["PutItem", "UpdateItem"]
        assert len(fake.requests) == cost.STRIPE_REQUESTS + 4


def test_an_order_is_one_write_unit_from_its_creation_to_its_end(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> None:
    """Up to 1 KB of names and values (Amazon DynamoDB Developer Guide, "DynamoDB item sizes")."""
    with opened(aws, aws_calls, clock) as shop:
        shop.place(shop.order(), key="k1")
        placed = sum(len(str(part)) for item in shop.orders() for part in _parts(item))
        shop.run_queue()
        confirmed = sum(len(str(part)) for item in shop.orders() for part in _parts(item))
    assert 400 < placed < confirmed < 1024


def _parts(value: object) -> list[object]:
    """Names and values, however deep; each container adds four characters."""
    if isinstance(value, dict):
        return ["----", *(part for name, inner in value.items() for part in (name, *_parts(inner)))]
    if isinstance(value, list):
        return ["----", *(part for inner in value for part in _parts(inner))]
    return [value]


def test_the_page_is_computed_from_its_prices() -> None:
    text = cost.DOCUMENT.read_text(encoding="utf-8")
    assert cost.updated(text) == text
    dearer = text.replace("| `api-request` | 3.50 |", "| `api-request` | 4.50 |")
    assert (
        cost.dollars(cost.order_bill(), cost.prices(dearer)) - cost.dollars(cost.order_bill(), cost.prices(text))
        == cost.prices(dearer)["api-request"] - cost.prices(text)["api-request"]
    )
    assert cost.updated(dearer) != dearer


def test_the_metrics_that_are_billed_are_those_of_the_alarms() -> None:
    """An alarm is billed by the metrics that it looks at."""
    alarms = [
        resource["Properties"]
        for resource in resources_template("prod")["Resources"].values()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    ]
    metrics = sum(sum("MetricStat" in query for query in alarm.get("Metrics", ())) or 1 for alarm in alarms)
    assert metrics == cost.ALARM_METRICS


def test_the_metrics_that_are_billed_are_those_that_the_service_reports(small_shop: Shop) -> None:
    """Of a minute in which nothing happens, and of one in which an order comes and is confirmed."""
    small_shop.warm_up()
    small_shop.recover()
    with telemetry.invocation():
        small_shop.service.monitor.watch("123456789012")
    assert sorted(small_shop.metrics) == sorted(cost.IDLE_METRICS)
    small_shop.metrics.clear()
    small_shop.place(small_shop.order(), key="k1")
    small_shop.run_queue()
    assert sorted(small_shop.metrics) == sorted(cost.ORDER_METRICS)


@pytest.mark.parametrize(
    ("rate", "share"), [("0.001", "1"), ("0.4", "1"), ("1", "1"), ("2", "0.525"), ("21", "0.0952"), ("1000", "0.0510")]
)
def test_the_first_request_of_a_second_is_traced_and_a_twentieth_of_the_others(rate: str, share: str) -> None:
    assert cost.traced(Decimal(rate)).quantize(Decimal("0.0001")) == Decimal(share).quantize(Decimal("0.0001"))


@pytest.mark.parametrize("stage", DEPLOYED)
def test_no_detailed_metric_of_the_api_is_paid_for_that_nothing_looks_at(stage: str) -> None:
    """Alarms and dashboard look at the API as a whole: a detailed metric has the dimension Method too."""
    template = merge_template(stage)["Resources"]
    assert not [
        setting for setting in template["RestAPI"]["Properties"]["MethodSettings"] if "MetricsEnabled" in setting
    ]
    watching = [r for r in template.values() if r.get("Type", "").startswith("AWS::CloudWatch::")]
    assert watching
    assert '"Method"' not in json.dumps(watching).replace("\\", "")
