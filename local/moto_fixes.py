"""What moto needs to stand in for AWS under threads. All of it is undone when the stack ends.

Measured on moto 5.2.5: its DynamoDB is not isolated (sixteen threads oversell one stock), it copies the whole table for
each action of a transaction, its SQS loses a message that is sent while another one is deleted, and a long poll cannot
be cut short. `moto_queues.py` and `moto_tables.py` are about what grows with the number of messages and rows.
"""

import copy
import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import jsonpath_ng.ext.parser
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType, Item
from moto.dynamodb.models.table import Table
from moto.sqs.models import Message, SQSBackend

from local.keeping import DYNAMODB, SQS, Keeper
from local.moto_queues import indexed_queues, receive_now
from local.moto_tables import IndexedTable, Key, indexed_tables

POLL_SLICE_SECONDS = 0.2
"""How often a long poll checks whether to end. A message that is sent ends the wait at once."""


class Guards:
    """The locks that make moto's requests take turns, what is kept after each, and the end of its long polls."""

    def __init__(self, keeper: Keeper | None = None) -> None:
        self.closing = threading.Event()
        self._keeper = keeper or Keeper()
        self._locks = {DYNAMODB: threading.Lock(), SQS: threading.Lock()}

    def turn(self, target: str) -> AbstractContextManager[Any]:
        """The turn that a request with this X-Amz-Target waits for; at its end what it changed is kept.

        One lock for each service, and none around ReceiveMessage: that one takes turns by itself, between its waits.
        Otherwise a long poll of ten seconds would block every write.
        """
        if target.startswith("DynamoDB"):
            return self._turn_of(DYNAMODB)
        if target.startswith("AmazonSQS.") and target != "AmazonSQS.ReceiveMessage":
            return self._turn_of(SQS)
        return nullcontext()

    @contextmanager
    def _turn_of(self, service: str) -> Iterator[None]:
        with self._locks[service]:
            yield
            self._keeper.keep(service)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Moto with the fixes in place, for as long as the context lasts."""
        transact = _transact(DynamoDBBackend.transact_write_items)
        with (
            indexed_queues(),
            indexed_tables(),
            patch.object(SQSBackend, "receive_message", self._receive()),
            patch.object(DynamoDBBackend, "transact_write_items", transact),
            # EventBridge parses the eight paths of a target for each event, 25 ms in all.
            patch("jsonpath_ng.ext.parse", functools.cache(jsonpath_ng.ext.parser.parse)),
        ):
            yield

    def _receive(self) -> Callable[..., list[Message]]:
        def receive_message(
            backend: SQSBackend, queue_name: str, count: int, wait_seconds_timeout: int,
            visibility_timeout: int, message_attribute_names: list[str] | None = None,
        ) -> list[Message]:  # fmt: skip
            until = time.monotonic() + wait_seconds_timeout
            while True:
                with self._turn_of(SQS):
                    received = receive_now(backend, queue_name, count, visibility_timeout, message_attribute_names)
                left = until - time.monotonic()
                if received or left <= 0 or self.closing.is_set():
                    return received
                wait_for_messages: Callable[[float], None]
                wait_for_messages = backend.get_queue(queue_name).wait_for_messages  # type: ignore[assignment]
                wait_for_messages(min(left, POLL_SLICE_SECONDS))

        return receive_message


def _transact(transact: Callable[..., None]) -> Callable[..., None]:
    def transact_write_items(backend: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
        """All or nothing, at the cost of the named rows and not of the table."""
        with _copied_by_row(backend, transact_items):
            transact(backend, transact_items)

    return transact_write_items


@contextmanager
def _copied_by_row(backend: DynamoDBBackend, actions: list[dict[str, Any]]) -> Iterator[None]:
    """Inside the block a table's copy is the table itself; after a refusal the named rows are restored.

    Moto's own rollback, which replaces the table by the copy, then does nothing. Only safe because all requests to
    DynamoDB take turns.
    """
    rows = [row for action in actions for row in _rows_of(backend, action)]
    tables = {table.name: table for table, _, _ in rows}.values()
    for table in tables:
        table.__deepcopy__ = lambda memo, table=table: table  # type: ignore[attr-defined]
    try:
        yield
    except BaseException:
        for table, key, before in rows:
            _restore(table, key, before)
        raise
    finally:
        for table in tables:
            del table.__deepcopy__  # type: ignore[attr-defined]


def _rows_of(backend: DynamoDBBackend, action: dict[str, Any]) -> Iterator[tuple[Table, Key, Item | None]]:
    """The row that an action names, as it is now; nothing if moto will refuse the action."""
    details: dict[str, Any] = next(iter(action.values()), {})
    table = backend.tables.get(details.get("TableName", ""))
    key = details.get("Key") or details.get("Item") or {}
    # A stream is written with the rows: such a table keeps moto's own copy.
    if table is None or table.stream_shard is not None:
        return
    if not all(name in key for name in table.table_key_attrs):
        return
    hash_key = DynamoType(key[table.hash_key_attr])
    range_key = DynamoType(key[table.range_key_attr]) if table.range_key_attr else None
    yield table, (hash_key, range_key), copy.deepcopy(table.get_item(hash_key, range_key))


def _restore(table: Table, key: Key, before: Item | None) -> None:
    hash_key, range_key = key
    if before is None:
        table.delete_item(hash_key, range_key)
    elif range_key is None:
        table.items[hash_key] = before  # type: ignore[assignment]
    else:
        table.items[hash_key][range_key] = before
    if isinstance(table, IndexedTable):
        table.row_changed(key)
