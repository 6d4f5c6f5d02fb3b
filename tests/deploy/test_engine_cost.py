"""docs/engines.md: the calls and the states that it counts are counted here."""

from collections import Counter
from decimal import Decimal

from deploy import cost, engine_cost
from deploy.alarms import alarms
from deploy.names import Names
from deploy.stages import functions_of
from tests.deploy.test_cost import calls
from tests.support.aws_calls import AwsCalls
from tests.support.events import Clock
from tests.support.shop import Shop, opened
from tests.support.stage import Stage
from tests.support.step_functions import step_functions

SETTINGS = {"ENGINE": "step-functions"}


def run(shop: Shop) -> list[tuple[str, ...]]:
    """The states that each order enters from now on."""
    shop.machine.executions.clear()
    shop.run_queue()
    return [tuple(execution.entered) for execution in shop.machine.executions.values()]


def test_an_order_makes_the_calls_that_its_cost_is_computed_from(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> None:
    with opened(aws, aws_calls, clock, settings=SETTINGS) as shop:
        shop.warm_up()
        for number in range(cost.BATCH_SIZE):
            shop.place(shop.order(), key=f"k{number}")
        calls(shop)
        states = run(shop)
        tasks = sum(execution.calls for execution in shop.machine.executions.values())
        (transaction, *_) = shop.calls.of("TransactWriteItems")
        index_writes = sum("outboxDueAt" in str(update.params) for update in shop.calls.of("UpdateItem"))
        made = calls(shop)
        assert shop.statuses() == {"CONFIRMED": cost.BATCH_SIZE}
    starts = {"StartExecution": len(states)}
    steps = {name: cost.BATCH_SIZE * number for name, number in engine_cost.STEPS.items()}
    assert made + Counter(starts) == Counter(engine_cost.START) + Counter(steps)
    assert set(states) == {engine_cost.TRANSITIONS["confirmed"]}
    assert tasks == engine_cost.TASKS * cost.BATCH_SIZE
    assert len(transaction.params["TransactItems"]) == 2, "the order and its product"
    # Of the two writes of an order that touch the entry, one moves it (taken out, and put in again), one removes it.
    assert index_writes == 2 * cost.BATCH_SIZE
    assert engine_cost.INDEX_WRITES == 2 + 1


def test_an_order_enters_the_states_that_are_counted_on_its_way_to_each_end(
    aws: Stage, aws_calls: AwsCalls, clock: Clock
) -> None:
    with opened(aws, aws_calls, clock, settings=SETTINGS) as shop:
        shop.set_product("PROD-002", stock=0)
        shop.place(shop.order("PROD-002"), key="k1")
        assert run(shop) == [engine_cost.TRANSITIONS["out of stock"]]
        shop.provider.decline_percent = 100
        shop.place(key="k2")
        assert run(shop) == [engine_cost.TRANSITIONS["declined"]]


def test_the_page_is_computed_from_the_prices() -> None:
    text = engine_cost.DOCUMENT.read_text(encoding="utf-8")
    assert engine_cost.updated(text) == text
    price = cost.prices(cost.DOCUMENT.read_text(encoding="utf-8"))
    dearer = price | {"state-transition": 2 * price["state-transition"]}
    assert cost.dollars(engine_cost.order_bill(), dearer) - cost.dollars(engine_cost.order_bill(), price) == Decimal(
        "0.00015"
    )
    assert engine_cost.computed(dearer) not in text


def test_a_state_machine_costs_ten_times_as_much_as_the_page_of_costs_says() -> None:
    text = cost.DOCUMENT.read_text(encoding="utf-8")
    queue, machine = (cost.dollars(bill, cost.prices(text)) for bill in (cost.order_bill(), engine_cost.order_bill()))
    assert round(machine / queue) == 10
    assert "cost ten times as much" in text


def test_the_page_says_how_many_metrics_more_alarms_look_at() -> None:
    def metrics(stage: str) -> int:
        found = alarms(Names(packaged=True, functions=functions_of(stage)), stage).values()
        watching = [alarm["Properties"].get("Metrics", [{"MetricStat": True}]) for alarm in found]
        return sum("MetricStat" in metric for metrics in watching for metric in metrics)

    before = metrics("prod")
    with step_functions("prod"):
        more = metrics("prod") - before
    words = {5: "five"}
    assert f"look at {words[more]} more metrics, ${more / 10:.2f} a month" in engine_cost.DOCUMENT.read_text("utf-8")
