"""What cannot be undone is done once its stage is named."""

import sys

import click

from chalicelib.settings import PRODUCTION


class NotConfirmed(click.ClickException):
    """Nothing was done."""


def confirm_in_production(what: str, stage: str, given: str | None) -> None:
    """As `confirm`, but in other stages than prod nobody is asked. Raises NotConfirmed."""
    if stage == PRODUCTION or given is not None:
        confirm(what, stage, given)


def confirm(what: str, stage: str, given: str | None) -> None:
    """Return if `given`, or what is typed, is the stage's name. Raises NotConfirmed, without a question if given."""
    if given is None:
        click.echo(f"Type the name of the stage to {what} ({stage}): ", nl=False, err=True)
        given = sys.stdin.readline().strip()
    if given != stage:
        raise NotConfirmed(f"{given!r} is not the name of the stage ({stage}): nothing was done.")
