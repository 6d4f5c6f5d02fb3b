"""The tables of the embedded AWS: moto's answers, without a look at every row."""

import copy
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from moto.dynamodb.exceptions import ConditionalCheckFailed, TransactionCanceledException
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType

from local.moto_fixes import Guards
from local.moto_tables import IndexedTable
from tests.local.calls import calls_of

TABLE, INDEX = "rows", "ByColour"
Row = dict[str, Any]


def backend_with_table() -> DynamoDBBackend:
    backend = DynamoDBBackend("eu-west-1", "123456789012")
    schema = [{"AttributeName": "colour", "KeyType": "HASH"}, {"AttributeName": "size", "KeyType": "RANGE"}]
    backend.create_table(
        TABLE,
        schema=[{"AttributeName": "id", "KeyType": "HASH"}],
        attr=[{"AttributeName": name, "AttributeType": "S"} for name in ("id", "colour", "size")],
        global_indexes=[{"IndexName": INDEX, "KeySchema": schema, "Projection": {"ProjectionType": "KEYS_ONLY"}}],
        throughput=None, indexes=None, streams=None, billing_mode="PAY_PER_REQUEST", sse_specification=None, tags=[],
        deletion_protection_enabled=False, warm_throughput=None,
    )  # fmt: skip
    return backend


def row(number: int, **attributes: str) -> Row:
    return {"id": {"S": str(number)}, **{name: {"S": value} for name, value in attributes.items()}}


def of_colour(backend: DynamoDBBackend, colour: str, limit: int = 100, start: Any = None) -> Any:
    condition = [("colour", {"S": colour})]
    items, count, last = backend.query(
        TABLE, {"S": colour}, None, [], limit, start, True, None, INDEX, hash_key_conditions=condition
    )
    return [item.to_json() for item in items], count, last


def with_id(backend: DynamoDBBackend, number: int) -> Any:
    items, count, _ = backend.query(TABLE, {"S": str(number)}, None, [], 10, None, True, None)  # type: ignore[arg-type]
    return [item.to_json() for item in items], count


@pytest.fixture
def dynamodb() -> Iterator[DynamoDBBackend]:
    with Guards().installed():
        yield backend_with_table()


@pytest.mark.parametrize("index", [True, False])
def test_a_query_costs_the_same_however_large_the_table(dynamodb: DynamoDBBackend, index: bool) -> None:
    def cost() -> int:
        return calls_of(lambda: of_colour(dynamodb, "red") if index else with_id(dynamodb, 1))

    dynamodb.put_item(TABLE, row(1, colour="red", size="S"))
    dynamodb.put_item(TABLE, row(2, colour="red", size="M"))
    cost()  # the first call of some functions does more
    before = cost()
    for number in range(3, 300):
        dynamodb.put_item(TABLE, row(number, colour="blue", size="S"))
    # A look at each of the new rows would be hundreds of calls; a few more or less are Python's own memory at work.
    assert cost() < before + 50


COLOURS, SIZES = st.sampled_from(["red", "blue"]), st.sampled_from(["S", "M"])
IDS = st.integers(1, 5)


class LikeMoto(RuleBasedStateMachine):
    """Every query is answered as by a table of moto's own, whatever was written before."""

    def __init__(self) -> None:
        super().__init__()
        self.moto = backend_with_table()
        self._installed = Guards().installed()
        self._installed.__enter__()
        self.indexed = backend_with_table()
        self.backends = (self.moto, self.indexed)

    @rule(number=IDS, colour=st.none() | COLOURS, size=st.none() | SIZES)
    def put(self, number: int, colour: str | None, size: str | None) -> None:
        given = {name: value for name, value in (("colour", colour), ("size", size)) if value}
        for backend in self.backends:
            backend.put_item(TABLE, row(number, **given))

    @rule(number=IDS, colour=COLOURS, remove=st.booleans(), must_exist=st.booleans())
    def update(self, number: int, colour: str, remove: bool, must_exist: bool) -> None:
        for backend in self.backends:
            with suppress(ConditionalCheckFailed):
                backend.update_item(
                    TABLE,
                    row(number),
                    "REMOVE colour" if remove else "SET colour = :colour",
                    expression_attribute_names={},
                    expression_attribute_values={} if remove else {":colour": {"S": colour}},
                    condition_expression="attribute_exists(id)" if must_exist else None,
                )

    @rule(number=IDS)
    def delete(self, number: int) -> None:
        for backend in self.backends:
            backend.delete_item(TABLE, row(number))

    @rule(numbers=st.lists(IDS, min_size=2, max_size=3, unique=True), colour=COLOURS)
    def transact(self, numbers: list[int], colour: str) -> None:
        """The last one must exist: otherwise all the others are as before."""
        *others, last = numbers
        update = {"UpdateExpression": "SET colour = :colour", "ExpressionAttributeValues": {":colour": {"S": colour}}}
        condition = {"ConditionExpression": "attribute_exists(id)"}
        actions = [{"Update": {"TableName": TABLE, "Key": row(number), **update}} for number in others]
        actions.append({"Delete": {"TableName": TABLE, "Key": row(last), **condition}})
        for backend in self.backends:
            with suppress(TransactionCanceledException):
                backend.transact_write_items(copy.deepcopy(actions))

    @invariant()
    def both_answer_alike(self) -> None:
        for colour in ("red", "blue"):
            assert of_colour(self.indexed, colour) == of_colour(self.moto, colour)
            page = of_colour(self.moto, colour, limit=1)
            assert of_colour(self.indexed, colour, limit=1) == page
            if page[2]:
                assert of_colour(self.indexed, colour, 1, page[2]) == of_colour(self.moto, colour, 1, page[2])
        for number in range(1, 6):
            assert with_id(self.indexed, number) == with_id(self.moto, number)

    @invariant()
    def what_changed_is_known(self) -> None:
        table = self.indexed.tables[TABLE]
        assert isinstance(table, IndexedTable)
        rows = {str(number): table.get_item(DynamoType({"S": str(number)})) for number in range(1, 6)}
        now = {number: item and item.to_json() for number, item in rows.items()}
        differs = {number for number in now if now[number] != getattr(self, "before", {}).get(number)}
        assert differs <= {hash_key.value for hash_key, _ in table.changed}
        table.changed.clear()
        self.before = copy.deepcopy(now)

    def teardown(self) -> None:
        self._installed.__exit__(None, None, None)


TestLikeMoto = LikeMoto.TestCase
TestLikeMoto.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
