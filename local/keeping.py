"""Keeps moto's rows and messages in DATA, and puts them back at the next start."""

from collections.abc import Iterator

from moto.dynamodb.models import dynamodb_backends
from moto.sqs.models import sqs_backends

from local.data import Change, Data
from local.faults import StartError
from local.invoking import ACCOUNT, region
from local.moto_queues import IndexedQueue
from local.moto_tables import IndexedTable

DYNAMODB, SQS = "dynamodb", "sqs"


class Keeper:
    """Without data it keeps nothing."""

    def __init__(self, data: Data | None = None) -> None:
        self._data = data

    def keep(self, service: str) -> None:
        """Write what has changed. Raises sqlite3.Error, and writes it next time then.

        To be called in the service's turn, before its answer leaves.
        """
        kept = dict(_tables_or_queues(service))
        if self._data:
            changes: list[Change] = [
                (service, name, key, document) for name, one in kept.items() for key, document in one.changes()
            ]
            if changes:
                self._data.save(changes)
        for one in kept.values():
            one.changed.clear()

    def restore(self) -> bool:
        """Put back what there is; whether there was anything.

        Raises StartError if it does not fit the tables and queues of this release.
        """
        if self._data is None:
            return False
        names = self._data.names()
        for service, name in sorted(names):
            one = dict(_tables_or_queues(service)).get(name)
            try:
                if one is None:
                    raise LookupError(f"{name} does not exist")
                for document in self._data.load(service, name):
                    one.restore(document)
                one.changed.clear()
            except Exception as error:
                reason = " ".join(str(error).split())
                raise StartError(
                    f"DATA cannot be used, {self._data.path}: it does not fit this release"
                    f" ({name}: {reason}). Nothing in it was changed."
                ) from error
        return bool(names)


def _tables_or_queues(service: str) -> Iterator[tuple[str, IndexedTable | IndexedQueue]]:
    tables, queues = dynamodb_backends[ACCOUNT][region()].tables, sqs_backends[ACCOUNT][region()].queues
    for name, one in (tables if service == DYNAMODB else queues).items():
        if isinstance(one, IndexedTable | IndexedQueue):
            yield name, one
