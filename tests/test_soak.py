"""The soak asks what it says, and notices what is wrong."""

from benchmarks.soak import Soak
from tests.support.laptop import running_laptop


def test_a_soak_of_some_seconds_keeps_every_promise_and_notices_what_is_broken() -> None:
    with running_laptop(LOG_LEVEL="ERROR") as laptop:
        soak = Soak(laptop, minutes=0.07, clients=2)
        soak.run()
        soak.settle()
        assert [text for text, kept in soak.checks() if not kept] == []
        assert sum(len(minute.times) for minute in soak.table) > 5
        assert len(list(soak.rows())) == 3

        lost = next(iter(soak.seen.order_ids))
        soak.dynamodb.delete_item(TableName=soak.names["ORDERS_TABLE"], Key={"orderId": {"S": lost}})
        soak.seen.poison += 1
        soak.seen.wrong.append("a key got two answers")
        broken = [text.split(":")[0] for text, kept in soak.checks() if not kept]
        assert "every order that was answered 201 or sent as an event is stored once" in broken
        assert "equal requests got equal answers" in broken
        assert "each poison message, and nothing else, is a dead letter of kind never" in broken
