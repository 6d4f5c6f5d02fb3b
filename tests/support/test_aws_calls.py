"""The faults that other tests rely on are what they say, on both engines."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from tests.support.aws_calls import AwsCalls, Killed
from tests.support.stage import Stage

RETRIES = Config(retries={"mode": "standard", "total_max_attempts": 3})


@pytest.fixture
def client(each_aws: Stage, aws_calls: AwsCalls) -> Any:
    """A client of the code under test, watched."""
    watched = boto3.client("dynamodb", config=RETRIES)
    aws_calls.watch(watched)
    return watched


def put(client: Any, stage: Stage, product: str = "p1", **more: Any) -> Any:
    return client.put_item(
        TableName=stage["INVENTORY_TABLE"],
        Item={"productId": {"S": product}},
        ConditionExpression="attribute_not_exists(productId)",
        ReturnValuesOnConditionCheckFailure="ALL_OLD",
        **more,
    )


def stored(stage: Stage) -> list[str]:
    return sorted(item["productId"] for item in stage.items("INVENTORY_TABLE"))


def test_each_call_is_recorded_with_its_parameters(client: Any, each_aws: Stage, aws_calls: AwsCalls) -> None:
    put(client, each_aws)
    client.get_item(TableName=each_aws["INVENTORY_TABLE"], Key={"productId": {"S": "p1"}})

    assert aws_calls.operations() == ["PutItem", "GetItem"]
    first = aws_calls.made[0]
    assert (first.service, first.attempts) == ("dynamodb", 1)
    assert first.params["Item"] == {"productId": {"S": "p1"}}
    assert aws_calls.of("GetItem") == aws_calls.made[1:]


def test_a_refused_call_raises_the_clients_own_class_and_takes_no_effect(
    client: Any, each_aws: Stage, aws_calls: AwsCalls
) -> None:
    reasons = [{"Code": "TransactionConflict"}]
    aws_calls.refuse("TransactionCanceledException", "PutItem", CancellationReasons=reasons)

    with pytest.raises(client.exceptions.TransactionCanceledException) as refused:
        put(client, each_aws)

    assert refused.value.response["CancellationReasons"] == reasons
    assert stored(each_aws) == []
    assert aws_calls.made[0].attempts == 0
    put(client, each_aws)
    assert stored(each_aws) == ["p1"]


def test_only_the_nth_matching_call_is_spoilt(client: Any, each_aws: Stage, aws_calls: AwsCalls) -> None:
    aws_calls.refuse("ThrottlingException", "PutItem", nth=2, when=lambda call: "Item" in call.params)

    put(client, each_aws, "p1")
    with pytest.raises(ClientError, match="ThrottlingException"):
        put(client, each_aws, "p2")
    put(client, each_aws, "p3")

    assert stored(each_aws) == ["p1", "p3"]


def test_a_lost_answer_took_effect_and_botocores_retry_meets_it(
    client: Any, each_aws: Stage, aws_calls: AwsCalls
) -> None:
    aws_calls.lose_answer("PutItem")

    with pytest.raises(client.exceptions.ConditionalCheckFailedException) as refused:
        put(client, each_aws)

    assert refused.value.response["Item"] == {"productId": {"S": "p1"}}
    assert [call.attempts for call in aws_calls.made] == [2]


def test_a_dropped_request_took_no_effect_and_is_retried(client: Any, each_aws: Stage, aws_calls: AwsCalls) -> None:
    aws_calls.drop_request("PutItem", attempts=2)
    put(client, each_aws)
    assert (stored(each_aws), aws_calls.made[0].attempts) == (["p1"], 3)


@pytest.mark.parametrize(
    ("spoil", "fault", "effect"),
    [(AwsCalls.lose_answer, ReadTimeoutError, ["p1"]), (AwsCalls.drop_request, EndpointConnectionError, [])],
    ids=["lose_answer", "drop_request"],
)
def test_what_is_down_for_every_attempt_is_down_until_it_is_healed(
    client: Any, each_aws: Stage, aws_calls: AwsCalls, spoil: Any, fault: type[Exception], effect: list[str]
) -> None:
    spoil(aws_calls, attempts=None, times=None)
    for _ in range(2):
        with pytest.raises(fault):
            put(client, each_aws)
    assert (stored(each_aws), aws_calls.made[0].attempts) == (effect, 3)

    aws_calls.heal()
    put(client, each_aws, "p2")
    assert stored(each_aws) == [*effect, "p2"]


@pytest.mark.parametrize(("moment", "effect"), [("before", []), ("after", ["p1"])])
def test_a_killed_process_makes_no_further_call_until_it_is_revived(
    client: Any, each_aws: Stage, aws_calls: AwsCalls, moment: str, effect: list[str]
) -> None:
    kill = aws_calls.kill_before if moment == "before" else aws_calls.kill_after
    kill("PutItem")

    def process() -> None:
        try:
            put(client, each_aws, "p1")
        except Exception:  # noqa: BLE001 - this is what must not see it
            pytest.fail("a dead process handles no exception")
        finally:
            put(client, each_aws, "p2")

    with pytest.raises(Killed):
        process()
    assert stored(each_aws) == effect
    assert aws_calls.operations() == ["PutItem"]

    aws_calls.revive()
    put(client, each_aws, "p3")
    assert stored(each_aws) == [*effect, "p3"]


@pytest.mark.parametrize("after", [False, True])
def test_something_else_can_happen_meanwhile_and_is_not_recorded(
    client: Any, each_aws: Stage, aws_calls: AwsCalls, after: bool
) -> None:
    seen: list[list[str]] = []

    def another() -> None:
        seen.append(stored(each_aws))
        put(client, each_aws, "p2")

    aws_calls.meanwhile(another, "PutItem", after=after)
    put(client, each_aws, "p1")

    assert seen == [["p1"] if after else []]
    assert aws_calls.operations() == ["PutItem"]
    assert stored(each_aws) == ["p1", "p2"]


def test_under_threads_exactly_one_call_is_the_nth(client: Any, each_aws: Stage, aws_calls: AwsCalls) -> None:
    aws_calls.refuse("ThrottlingException", "PutItem", nth=20)

    def try_to_put(number: int) -> bool:
        try:
            put(client, each_aws, f"p{number:02}")
        except ClientError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(try_to_put, range(40)))

    assert results.count(False) == 1
    assert len(stored(each_aws)) == 39
    assert len(aws_calls.made) == 40


def test_an_unwatched_client_is_as_it_was(client: Any, each_aws: Stage, aws_calls: AwsCalls) -> None:
    aws_calls.refuse("ThrottlingException", times=None)
    aws_calls.watch(client)
    aws_calls.unwatch()

    put(client, each_aws)

    assert aws_calls.made == []
    assert stored(each_aws) == ["p1"]
