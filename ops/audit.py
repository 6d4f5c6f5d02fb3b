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
from chalicelib.domain.caller import Caller, Role
from chalicelib.service import Service
from chalicelib.settings import app_settings
from deploy.account import caller


@dataclass
class Record:
    """What one command has changed so far, and who runs it. If it has changed nothing, no line is written."""

    caller: Caller
    ids: list[str] = field(default_factory=list)
    details: dict[str, str] = field(default_factory=dict)


@contextmanager
def audited(service: Service, command: str) -> Iterator[Record]:
    """Add the id of each change to the record; the line is written however the command ends, on Ctrl-C and failure too.

    OPS_AUDIT_LOG names a file to append to. Raises ClickException, before any change, if that cannot be written.
    """
    identity = caller(app_settings().laptop_url)
    record = Record(Caller(Role.OPERATOR, identity.arn if identity else None))
    with ExitStack() as files:
        log = _open_log(files)
        try:
            yield record
        finally:
            if record.ids:
                line = _line(service.settings.stage, command, record)
                for file in filter(None, (sys.stderr, log)):
                    print(line, file=file, flush=True)


def _open_log(files: ExitStack) -> IO[str] | None:
    path = os.environ.get("OPS_AUDIT_LOG")
    if not path:
        return None
    try:
        return files.enter_context(Path(path).open("a", encoding="utf-8"))
    except OSError as fault:
        raise click.ClickException(
            f"The audit log {path} cannot be written ({fault.strerror}): nothing was done."
        ) from fault


def _line(stage: str, command: str, record: Record) -> str:
    identity = record.caller.name or "unknown"
    now = times.to_text(times.utc_now())
    who = {"audit": command, "at": now, "who": _user(), "identity": identity, "stage": stage}
    return json.dumps(who | record.details | {"count": len(record.ids), "ids": record.ids})


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())
