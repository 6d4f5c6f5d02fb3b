"""The root of the command line: its one option, and how errors are shown."""

import sys
from typing import Any

import click
from click.exceptions import NoArgsIsHelpError

from chalicelib.settings import BadSetting
from deploy.account import AWS_FAULTS, explained
from deploy.hints import place_of
from ops.catalogue import catalogue
from ops.checking import stage
from ops.dead_letters import dead_letters
from ops.intake import intake
from ops.keys import keys
from ops.orders import orders
from ops.output import clean
from ops.payments import payments
from ops.smoke import smoke
from ops.tables import tables

INTERRUPTED = 130


class Root(click.Group):
    """A group whose errors are one sentence on stderr and an exit status."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run a command and exit with its status."""
        sys.exit(self._status(*args, **extra))

    def _status(self, *args: Any, **extra: Any) -> int:
        try:
            super().main(*args, **{**extra, "standalone_mode": False})
        except (click.Abort, KeyboardInterrupt):
            return _failed("Interrupted: anything that was not reported as done was not done.", INTERRUPTED)
        except NoArgsIsHelpError as fault:
            click.echo(fault.ctx.get_help(), err=True)
            return fault.exit_code
        except click.NoSuchOption as fault:
            return _failed(f"{fault.format_message()} {place_of(self, 'python -m ops', fault)}", fault.exit_code)
        except click.UsageError as fault:
            where = fault.ctx.command_path if fault.ctx else extra.get("prog_name")
            return _failed(f"{fault.format_message()} (See {where} --help.)", fault.exit_code)
        except click.ClickException as fault:
            return _failed(fault.format_message(), fault.exit_code)
        except BadSetting as fault:
            return _failed(f"This stage cannot be reached: {fault}.")
        except AWS_FAULTS as fault:  # before the stage was entered
            return _failed(explained(fault))
        return 0


def _failed(sentence: str, status: int = 1) -> int:
    click.echo(clean(" ".join(sentence.split())).replace("..", "."), err=True)
    return status


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--stage", envvar="STAGE", default="local", show_default=True, help="Which OrderOnce: local, dev, prod.")
def ops(stage: str) -> None:
    """Operate OrderOnce. A command that changes something writes an audit line to stderr and to OPS_AUDIT_LOG."""


stage.add_command(smoke)
for group in (dead_letters, orders, keys, catalogue, intake, tables, payments, stage):
    ops.add_command(group)
