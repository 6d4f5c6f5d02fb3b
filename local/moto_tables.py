"""Moto's DynamoDB tables with real indexes, which also remember what changed.

Measured on moto 5.2.5: each query sorts the whole table and looks at every row. Only safe because all requests to
DynamoDB take turns.
"""

import inspect
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from moto.dynamodb import models
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType, Item
from moto.dynamodb.models.table import Table
from moto.dynamodb.models.utilities import dynamo_json_dump

Key = tuple[DynamoType, DynamoType | None]
_QUERY = inspect.signature(Table.query)


class IndexedTable(Table):
    """A table that finds the rows of a query by their hash key, in the table as in an index."""

    def __init__(self, *args: Any, **properties: Any) -> None:
        super().__init__(*args, **properties)
        # For each index and hash key, its rows; and for each row, where it is listed.
        self._rows: defaultdict[tuple[str, DynamoType], dict[Key, Item]] = defaultdict(dict)
        self._listed: dict[Key, list[tuple[str, DynamoType]]] = {}
        self._candidates: list[Item] | None = None
        self.changed: set[Key] = set()
        """The keys of the rows that were written or deleted; whoever reads them clears them."""

    def row_changed(self, key: Key) -> None:
        """To be called after each change of a row: the row may have moved within the indexes."""
        self.changed.add(key)
        for place in self._listed.pop(key, ()):
            self._rows[place].pop(key, None)
            if not self._rows[place]:
                del self._rows[place]
        item = self.get_item(*key)
        if item is None:
            return
        self._listed[key] = [(name, item.attrs[attr]) for name, attr in self._hash_keys() if attr in item.attrs]
        for place in self._listed[key]:
            self._rows[place][key] = item

    def changes(self) -> Iterator[tuple[str, str | None]]:
        """Each changed key, and its row as it is now, in DynamoDB's JSON; None: deleted."""
        for key in self.changed:
            item = self.get_item(*key)
            text = dynamo_json_dump([part.to_json() for part in key if part])
            yield text, dynamo_json_dump(item.to_json()["Attributes"]) if item else None

    def restore(self, document: str) -> None:
        """Put a row back, as `changes` gave it. Raises ValueError or moto's own error if it does not fit."""
        self.put_item(json.loads(document))

    def put_item(self, *args: Any, **options: Any) -> Item:
        """As moto does."""
        item = super().put_item(*args, **options)
        self.row_changed((item.hash_key, item.range_key))
        return item

    def delete_item(self, hash_key: DynamoType, range_key: DynamoType | None) -> Item | None:
        """As moto does."""
        item = super().delete_item(hash_key, range_key)
        self.row_changed((hash_key, range_key))
        return item

    def query(self, *args: Any, **options: Any) -> Any:
        """As moto does, on the rows with this hash key alone."""
        given = _QUERY.bind(self, *args, **options).arguments
        self._candidates = self._with_hash_key(
            given.get("index_name"), given["hash_key"], dict(given.get("hash_key_conditions") or [])
        )
        try:
            return super().query(*args, **options)
        finally:
            self._candidates = None

    def all_items(self) -> list[Item]:
        """All rows; within a query those that it may find."""
        return super().all_items() if self._candidates is None else self._candidates

    def _with_hash_key(
        self, index_name: str | None, hash_key: DynamoType | None, conditions: dict[str, DynamoType]
    ) -> list[Item] | None:
        """In any order: moto sorts them. None: moto is to look at all rows."""
        if index_name is None:
            if self.has_range_key or hash_key is None:
                return None
            item = self.get_item(hash_key)
            return [item] if item else []
        for name, attr in self._hash_keys():
            if name == index_name and attr in conditions:
                return list(self._rows.get((name, conditions[attr]), {}).values())
        return None

    def _hash_keys(self) -> list[tuple[str, str]]:
        """Each index and the attribute that is its hash key."""
        return [
            (index.name, next(part["AttributeName"] for part in index.schema if part["KeyType"] == "HASH"))
            for index in self.all_indexes()
        ]


def _updating(update: Callable[..., Item]) -> Callable[..., Item]:
    def update_item(backend: DynamoDBBackend, table_name: str, key: dict[str, Any], *args: Any, **options: Any) -> Item:
        """Moto changes the row where it is."""
        try:
            return update(backend, table_name, key, *args, **options)
        finally:
            table = backend.tables.get(table_name)
            if isinstance(table, IndexedTable) and all(name in key for name in table.table_key_attrs):
                table.row_changed(backend.get_keys_value(table, key))

    return update_item


@contextmanager
def indexed_tables() -> Iterator[None]:
    """Inside the block every table that moto makes is indexed."""
    with (
        patch.object(models, "Table", IndexedTable),
        patch.object(DynamoDBBackend, "update_item", _updating(DynamoDBBackend.update_item)),
    ):
        yield
