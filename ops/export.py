"""`dead-letters export` and `purge`: dead letters into a file, and out of the queue."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import click

from chalicelib import times
from chalicelib.service import Service
from chalicelib.use_cases.in_flight import InFlight
from chalicelib.use_cases.letters import DeadLetter
from chalicelib.use_cases.ports import BATCH_SIZE
from ops import output, selection
from ops.audit import audited
from ops.interrupts import finishing
from ops.selection import Wanted
from ops.stages import on_stage

_VISIBILITY_TIMEOUT = 600


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@selection.options
@on_stage
def export(service: Service, wanted: Wanted, file: Path) -> None:
    """Write them to a new FILE as JSON Lines, bodies included. The file appears once it is complete."""
    with service.dead_letters.receiving(_VISIBILITY_TIMEOUT) as in_flight, _new_file(file) as lines:
        written = _write(in_flight, wanted, lines)
    output.say(f"{output.counted(len(written), 'message')} written to {file}.")


@click.command()
@click.option("--to", "file", type=click.Path(dir_okay=False, path_type=Path), help="The export; a new file.")
@selection.options
@on_stage
def purge(service: Service, wanted: Wanted, file: Path | None) -> None:
    """Delete them for good, after you have typed the queue's name. They are exported first.

    What was not exported is not deleted: a message that arrives meanwhile stays. An order that a deleted message was
    about is retried by recovery, so nothing is lost with the message.
    """
    name = service.dead_letters.queue.url.rsplit("/", 1)[-1]
    file = file or Path(f"dead-letters-{service.settings.stage}-{times.utc_now():%Y%m%dT%H%M%SZ}.jsonl")
    print(f"Type the name of the queue to delete its messages for good ({name}): ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != name:
        raise click.ClickException("That is not the queue's name: nothing was deleted.")
    with (
        audited(service, "dead-letters purge") as record,
        service.dead_letters.receiving(_VISIBILITY_TIMEOUT) as in_flight,
    ):
        record.details["export"] = str(file)
        with _new_file(file) as lines:
            written = _write(in_flight, wanted, lines)
        output.hint(f"{output.counted(len(written), 'message')} written to {file}.")
        with output.progress("Deleting", len(written)) as step:
            for start in range(0, len(written), BATCH_SIZE):
                batch = written[start : start + BATCH_SIZE]
                with finishing():
                    purged = service.dead_letters.purge(in_flight, batch)
                    record.ids += [letter.message_id for letter in purged]
                for _ in batch:
                    step()
        kept = len(written) - len(record.ids)
    output.say(f"{output.counted(len(record.ids), 'message')} deleted.")
    if kept:
        raise click.ClickException(
            f"{output.counted(kept, 'message')} kept: their orders could not be handed over to recovery. Try again."
        )


def _write(in_flight: InFlight, wanted: Wanted, lines: IO[str]) -> list[DeadLetter]:
    written = []
    for letter in selection.matching(in_flight, wanted, times.utc_now()):
        document = {**selection.document(letter, None), "body": letter.body}
        del document["orderStatus"]
        lines.write(json.dumps(document) + "\n")
        written.append(letter)
    return written


@contextmanager
def _new_file(file: Path) -> Iterator[IO[str]]:
    """A file that only its owner may read; it gets its name once it is complete on disk. Raises ClickException."""
    if file.exists():
        raise click.ClickException(f"{file} already exists: name another file.")
    try:
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    except OSError as fault:
        raise click.ClickException(f"{file} cannot be written: {fault.strerror}.") from fault
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as lines:
            yield lines
            lines.flush()
            os.fsync(lines.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
