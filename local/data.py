"""DATA: what the embedded AWS keeps, in one SQLite file.

A change is committed before the answer to it leaves. So what was answered is there after a SIGKILL; nothing is synced,
so a power cut may lose the last seconds.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Self

from local.faults import StartError

FILE = "orderonce.sqlite3"
APPLICATION_ID = 0x4F4E4345  # "ONCE"
VERSION = 1
"""Of the file's format; another one is refused."""

Change = tuple[str, str, str, str | None]
"""Service, name of the table or queue, key, document; None: deleted."""


class Data:
    """Documents of tables and queues, by service, name and key."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.path = path

    @classmethod
    @contextmanager
    def opened(cls, folder: Path) -> Iterator[Self]:
        """The data of a folder, which is made if it is missing.

        Raises StartError for what is not whole data of this version, or in use; then nothing was written.
        """
        path = folder / FILE
        with ExitStack() as ending:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                if not _is_new(path):
                    _check(path)
                connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
                ending.callback(connection.close)
                _prepare(connection)
            except (OSError, sqlite3.Error) as error:
                reason = getattr(error, "strerror", None) or str(error)
                if "locked" in reason:
                    reason = "another stack is using it"
                raise StartError(f"DATA cannot be used, {path}: {reason}. Nothing in it was changed.") from error
            yield cls(connection, path)

    def load(self, service: str, name: str) -> list[str]:
        """All documents of a table or queue."""
        found = self._connection.execute("SELECT document FROM kept WHERE service = ? AND name = ?", (service, name))
        return [document for (document,) in found]

    def names(self) -> set[tuple[str, str]]:
        """Each service and name that has documents."""
        return set(self._connection.execute("SELECT DISTINCT service, name FROM kept"))

    def save(self, changes: Iterable[Change]) -> None:
        """All of the changes, or none of them. Raises sqlite3.Error."""
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            for service, name, key, document in changes:
                if document is None:
                    self._connection.execute(
                        "DELETE FROM kept WHERE service = ? AND name = ? AND key = ?", (service, name, key)
                    )
                else:
                    self._connection.execute("REPLACE INTO kept VALUES (?, ?, ?, ?)", (service, name, key, document))


def _is_new(path: Path) -> bool:
    """Whether there is nothing yet. An empty file beside a log of changes is not new, but damaged."""
    log = path.with_name(path.name + "-wal")
    return not (path.exists() and path.stat().st_size) and not (log.exists() and log.stat().st_size)


def _check(path: Path) -> None:
    """Raises sqlite3.Error for anything but whole data of this version. Read-only, so that nothing is changed."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", timeout=0, uri=True)) as connection:
        made_by, version = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if made_by != APPLICATION_ID and (made_by, version, tables) != (0, 0, 0):
            raise sqlite3.DatabaseError("it is not data of OrderOnce")
        if made_by and version != VERSION:
            raise sqlite3.DatabaseError(f"it has version {version}, and this release reads version {VERSION}")
        found = connection.execute("PRAGMA quick_check").fetchone()[0]
        if found != "ok" or not path.stat().st_size:
            raise sqlite3.DatabaseError("it is damaged")


def _prepare(connection: sqlite3.Connection) -> None:
    """Lock the file against other stacks, and make the table if it is new."""
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    if connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID:
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute(
            "CREATE TABLE kept (service TEXT, name TEXT, key TEXT, document TEXT NOT NULL,"
            " PRIMARY KEY (service, name, key)) WITHOUT ROWID"
        )
