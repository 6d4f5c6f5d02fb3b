"""Who changed what: one JSON line on stderr for each command that changed something, and in a file if there is one."""

import getpass
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import click

from chalicelib import times
from chalicelib.service import Service


@dataclass
class Record:
    """What one command has changed so far. Nothing: no line."""

    done: list[str] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)


@contextmanager
def audited(service: Service, command: str) -> Iterator[Record]:
    """Within, note each id that is done; the line is written however it ends, Ctrl-C and failure included.

    OPS_AUDIT_LOG names the file, which is appended to. Raises ClickException where that cannot be, before any change.
    """
    record = Record()
    with ExitStack() as files:
        log = _opened(files)
        try:
            yield record
        finally:
            if record.done:
                line = _line(service.settings.stage, command, record)
                for file in filter(None, (sys.stderr, log)):
                    print(line, file=file, flush=True)


def _opened(files: ExitStack) -> IO[str] | None:
    path = os.environ.get("OPS_AUDIT_LOG")
    if not path:
        return None
    try:
        return files.enter_context(Path(path).open("a", encoding="utf-8"))
    except OSError as fault:
        raise click.ClickException(
            f"The audit log {path} cannot be written ({fault.strerror}): nothing done."
        ) from fault


def _line(stage: str, command: str, record: Record) -> str:
    who = {"audit": command, "at": times.to_text(times.utc_now()), "who": _user(), "stage": stage}
    return json.dumps(who | record.told | {"count": len(record.done), "ids": record.done})


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())
