"""Where an option belongs that was typed in another place of a command line."""

from collections.abc import Iterator

import click


def place_of(root: click.Group, program: str, fault: click.NoSuchOption) -> str:
    """A sentence or two: whether the option comes before the command, or which commands have it; and where help is."""
    if _has(root, fault.option_name):
        return f"It comes before the command: {program} {fault.option_name} NAME COMMAND. (See {program} --help.)"
    owners = [words for words, command in _commands(root) if _has(command, fault.option_name)]
    where = fault.ctx.command_path if fault.ctx else program
    known = f"It comes after the command that has it: {', '.join(owners)}. " if owners else ""
    return f"{known}(See {where} --help.)"


def _commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Each command in the group and in those within it, by the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def _has(command: click.Command, option: str) -> bool:
    return any(option in parameter.opts for parameter in command.params)
