"""Each fault does what it says: a harness that strikes nothing would find nothing."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from tests.support.aws_calls import Killed
from tests.support.faults import FAULTS, Life, MortalFake, life, life_with, strike
from tests.support.stage import Stage
from tests.support.world import World

SAYS: dict[str, tuple[type[BaseException] | None, int, bool]] = {
    "dropped": (EndpointConnectionError, 3, False),
    "lost": (ReadTimeoutError, 3, True),
    "lost once": (None, 2, True),
    "late": (ReadTimeoutError, 3, False),
    "throttled": (ClientError, 3, False),
    "failed": (ClientError, 3, False),
    "conflict": (ClientError, 1, False),
    "killed before": (Killed, 0, False),
    "killed after": (Killed, 1, True),
}
"""What is raised, after how many attempts, and whether it took effect."""


class Mortal:
    def __init__(self, stage: Stage) -> None:
        self.life = Life()
        self.stage = stage
        self.dynamodb = World(stage, "faults", rate=0).client()
        self.attempts = 0
        self.dynamodb.meta.events.register("request-created", self._count)
        strike(self.dynamodb, self)

    def _count(self, **_: object) -> None:
        self.attempts += 1

    def put(self) -> None:
        item: Any = {"productId": {"S": "p1"}}
        self.dynamodb.put_item(TableName=self.stage["INVENTORY_TABLE"], Item=item)

    def transact(self) -> None:
        put: Any = {"Put": {"TableName": self.stage["INVENTORY_TABLE"], "Item": {"productId": {"S": "p1"}}}}
        self.dynamodb.transact_write_items(TransactItems=[put])

    def has_effect(self) -> bool:
        return self.stage.items("INVENTORY_TABLE") != []


def raised_by(call: Any) -> BaseException | None:
    try:
        call()
    except BaseException as raised:  # noqa: BLE001 - Killed too
        return raised
    return None


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_strikes_below_botocore_as_it_says(real_tables: Stage, fault: str) -> None:
    mortal = Mortal(real_tables)
    mortal.life = life(fault, 1)
    mortal.dynamodb.list_tables()
    assert mortal.life.struck == 0
    mortal.attempts = 0
    raised = raised_by(mortal.put)
    kind, attempts, effect = SAYS[fault]
    assert isinstance(raised, kind) if kind else raised is None
    assert (mortal.attempts, mortal.has_effect()) == (attempts, effect)
    assert (mortal.life.struck, mortal.life.made) == (1, 2)
    mortal.life.land()
    assert mortal.has_effect() == (effect or fault == "late")
    if kind is Killed:
        assert isinstance(raised_by(mortal.put), Killed), "the dead make no calls"


def test_a_transaction_in_conflict_has_a_reason_for_each_action(real_tables: Stage) -> None:
    mortal = Mortal(real_tables)
    mortal.life = life("conflict", 0)
    raised = raised_by(mortal.transact)
    assert isinstance(raised, mortal.dynamodb.exceptions.TransactionCanceledException)
    response: Any = raised.response
    assert [reason["Code"] for reason in response["CancellationReasons"]] == ["TransactionConflict"]


def test_a_read_meets_no_conflict_and_a_fake_repeats_nothing(real_tables: Stage) -> None:
    mortal = Mortal(real_tables)
    mortal.life = life_with({0: "conflict", 1: "lost once", 2: "throttled"})
    mortal.dynamodb.list_tables()
    queue = MortalFake(World(real_tables, "fakes", rate=0).queue, mortal)
    queue.send_message(QueueUrl="q", MessageBody="{}")
    assert mortal.life.struck == 0
    assert isinstance(raised_by(lambda: queue.send_message(QueueUrl="q", MessageBody="{}")), ClientError)
