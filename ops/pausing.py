"""What a pause closes, and the record of what was there before: it is written first, and resumed to.

The record has a table of its own. A restore swaps those of orders, stock and claims, which would lose the record or
bring an old one back; and the payments are the provider's books.
"""

import uuid
from collections.abc import Callable, Collection, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import click

from chalicelib.adapters.dynamodb.items import from_item, to_item
from ops.interrupts import finishing

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True)
class Valve:
    """One thing that is closed and opened by giving it a state: a function, a mapping, a rule.

    `part` is how the operator calls it, `name` how AWS does; `shown` is its state for people. `configured` is its state
    by .chalice/config.json, `closed` the one in which nothing passes.
    """

    part: str
    name: str
    state: str
    closed: str
    configured: str
    shown: str
    turn: Callable[[str], object]

    @property
    def is_open(self) -> bool:
        """Whether anything passes."""
        return self.state != self.closed


@dataclass(frozen=True, slots=True)
class Before:
    """The states before a pause, by the valve's name; none: nothing is paused. `version` changes with each write."""

    states: Mapping[str, str]
    version: str | None = None


class Record(Protocol):
    """Where the states before a pause are kept. Both methods raise ClientError, BotoCoreError."""

    def read(self) -> Before:
        """What is recorded now."""
        ...

    def replace(self, before: Before, states: Mapping[str, str]) -> None:
        """Record these states in place of `before`; none: forget it. Raises MeanwhileChanged, and nothing changes."""
        ...


@dataclass(frozen=True, slots=True)
class Resumed:
    """What a resume met: closed valves that no pause had recorded, and valves that were closed before the pause."""

    unrecorded: Sequence[Valve]
    left_closed: Sequence[Valve]


class MeanwhileChanged(click.ClickException):
    """Somebody else paused or resumed at the same time."""


def pause(valves: Sequence[Valve], parts: Collection[str], record: Record, changed: MutableSequence[str]) -> None:
    """Record the valves of these parts, then close them; add the part to `changed` once it is closed. Safe to repeat.

    What is open now is recorded as it is now. What is closed already keeps its record: a second pause does not record
    what the first one made.
    """
    before = record.read()
    chosen = [valve for valve in valves if valve.part in parts]
    kept = {valve.name: before.states[valve.name] for valve in valves if valve.name in before.states}
    now = {valve.name: valve.state for valve in chosen if valve.is_open or valve.name not in kept}
    record.replace(before, kept | now)
    for valve in chosen:
        with finishing():
            valve.turn(valve.closed)
            changed.append(valve.part)


def resume(valves: Sequence[Valve], parts: Collection[str], record: Record, changed: MutableSequence[str]) -> Resumed:
    """Give the valves of these parts their recorded state, the last one first. Safe to repeat.

    Without a record, what is closed gets its configured state, and what is open stays as it is. The record is forgotten
    once all of it has succeeded.
    """
    before = record.read()
    chosen = [valve for valve in reversed(valves) if valve.part in parts]
    for valve in chosen:
        with finishing():
            valve.turn(before.states.get(valve.name, valve.state if valve.is_open else valve.configured))
            changed.append(valve.part)
    left = {valve.name for valve in valves if valve.part not in parts}
    record.replace(before, {name: state for name, state in before.states.items() if name in left})
    return Resumed(
        [valve for valve in chosen if valve.name not in before.states and not valve.is_open],
        [valve for valve in chosen if before.states.get(valve.name) == valve.closed],
    )


_KEY: Any = {"id": {"S": "intake"}}


@dataclass(frozen=True)
class RecordTable:
    """The record as one item: `states` by name, and `version`."""

    client: "DynamoDBClient"
    table: str

    def read(self) -> Before:
        """As the protocol says."""
        answer = self.client.get_item(TableName=self.table, Key=_KEY, ConsistentRead=True)
        values = from_item(answer.get("Item", {}))
        return Before(values["states"], values["version"]) if values else Before({})

    def replace(self, before: Before, states: Mapping[str, str]) -> None:
        """As the protocol says."""
        if not states and before.version is None:
            return
        version = str(uuid.uuid4())
        seen = {":seen": before.version} if before.version else {}
        condition: dict[str, Any] = {
            "TableName": self.table,
            "ConditionExpression": "version = :seen" if seen else "attribute_not_exists(id)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            **({"ExpressionAttributeValues": to_item(seen)} if seen else {}),
        }
        try:
            if states:
                self.client.put_item(Item=_KEY | to_item({"states": states, "version": version}), **condition)
            else:
                self.client.delete_item(Key=_KEY, **condition)
        except self.client.exceptions.ConditionalCheckFailedException as refused:
            response: Any = refused.response
            found = from_item(response.get("Item", {})).get("version")
            # One's own first try, its answer lost, looks like this too.
            if found != (version if states else None):
                raise MeanwhileChanged(
                    "Somebody else paused or resumed at the same time: look at `intake status`, and repeat this."
                ) from refused
