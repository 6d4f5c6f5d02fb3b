"""`dead-letters`: look at the messages that could not be handled, and send them again."""

from itertools import islice

import click

from chalicelib import times
from chalicelib.exact_json import InvalidJson, loads
from chalicelib.service import Service
from chalicelib.use_cases.dead_letters import MAX_REPLAYED
from chalicelib.use_cases.letters import DeadLetter
from ops import output, selection
from ops.audit import audited
from ops.export import export, purge
from ops.interrupts import finishing
from ops.selection import Wanted
from ops.stages import on_stage

_LOOK_VISIBILITY_TIMEOUT = 30
_REPLAY_VISIBILITY_TIMEOUT = 120
"""Seconds for which nobody else sees the messages that a command has received."""


@click.group("dead-letters")
def dead_letters() -> None:
    """Messages that could not be handled."""


dead_letters.add_command(export)
dead_letters.add_command(purge)


@dead_letters.command("list")
@selection.options
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Show at most this many.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@on_stage
def list_(service: Service, wanted: Wanted, limit: int, as_json: bool) -> None:
    """Show a sample of them, with the reason and the present status of their orders.

    They are received and released at once: SQS cannot peek, and does not promise any order.
    """
    now = times.utc_now()
    with service.dead_letters.receiving(_LOOK_VISIBILITY_TIMEOUT) as in_flight:
        found = list(islice(selection.matching(in_flight, wanted, now), limit))
    if as_json:
        orders = selection.orders_of(found, service.orders)
        output.as_json([selection.document(letter, orders.get(letter.order_id)) for letter in found])
    else:
        selection.show(found, service.orders, now)
        output.hint(f"{len(found)} shown of about {_depth(service)}.")


@dead_letters.command()
@click.argument("message_id", metavar="ID")
@on_stage
def show(service: Service, message_id: str) -> None:
    """Show one of them with its body. ID is the message id, or the beginning of it."""
    now = times.utc_now()
    wanted = Wanted(ids=(message_id,))
    with service.dead_letters.receiving(_LOOK_VISIBILITY_TIMEOUT) as in_flight:
        letter = next(selection.matching(in_flight, wanted, now), None)
    if letter is None:
        raise click.ClickException(_not_seen([message_id]))
    selection.show([letter], service.orders, now)
    output.say()
    try:
        print(output.pretty(loads(letter.body)))
    except InvalidJson as fault:
        output.hint(f"The body is not JSON that this service accepts ({fault}). It is shown as it was received:")
        output.say(letter.body)


@dead_letters.command()
@click.argument("ids", metavar="[ID]...", nargs=-1)
@selection.options
@click.option(
    "--limit", type=click.IntRange(1), default=MAX_REPLAYED, show_default=True, help="Replay at most this many."
)
@click.option("--yes", is_flag=True, help="Really do it.")
@on_stage
def replay(service: Service, wanted: Wanted, limit: int, yes: bool) -> None:
    """Send them to the order queue again. A dry run, unless --yes.

    Always safe: each is sent before it is deleted here, and an order that is complete already stays as it is.
    """
    replayed, refused = (_replay if yes else _dry_run)(service, wanted, limit)
    seen = {wanted.named_by(letter) for letter in [*replayed, *refused]}
    missing = [given for given in wanted.ids if given not in seen] if len(replayed) < limit else []
    if yes:
        output.say(f"{output.counted(len(replayed), 'message')} replayed.")
    else:
        output.say(f"Nothing was sent: with --yes, {output.counted(len(replayed), 'message')} would be replayed.")
    if refused:
        named = ", ".join(letter.message_id for letter in refused)
        raise click.ClickException(
            f"The order queue refuses these messages, so they stay among the dead letters: {named}."
        )
    if missing:
        raise click.ClickException(_not_seen(missing))


def _dry_run(service: Service, wanted: Wanted, limit: int) -> tuple[list[DeadLetter], list[DeadLetter]]:
    now = times.utc_now()
    with service.dead_letters.receiving(_LOOK_VISIBILITY_TIMEOUT) as in_flight:
        found = list(islice(selection.matching(in_flight, wanted, now), limit))
    selection.show(found, service.orders, now)
    return found, []


def _replay(service: Service, wanted: Wanted, limit: int) -> tuple[list[DeadLetter], list[DeadLetter]]:
    replayed: list[DeadLetter] = []
    refused: list[DeadLetter] = []
    total = min(limit, len(wanted.ids) or limit, _depth(service))
    with (
        audited(service, "dead-letters replay") as record,
        service.dead_letters.receiving(_REPLAY_VISIBILITY_TIMEOUT) as in_flight,
        output.progress("Replaying", total) as step,
    ):
        for letter in selection.matching(in_flight, wanted, times.utc_now()):
            with finishing():
                sent = service.dead_letters.replay(in_flight, letter)
                (replayed if sent else refused).append(letter)
                if sent:
                    record.ids.append(letter.message_id)
            step()
            if len(replayed) == limit:
                break
    return replayed, refused


def _depth(service: Service) -> int:
    depth = service.dead_letters.queue.depth()
    return depth.waiting + depth.in_flight


def _not_seen(ids: list[str]) -> str:
    return f"Not seen among the dead letters just now: {', '.join(ids)}."
