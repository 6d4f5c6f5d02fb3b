"""`90s`, `30m`, `1h`, `2d` on the command line."""

import re
from datetime import timedelta
from typing import Any

import click

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Duration(click.ParamType[timedelta]):
    """A whole number and a unit."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The duration that a text means."""
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(r"([0-9]{1,5})([smhd])", str(value))
        if not match:
            self.fail(f"{value!r} is not a duration such as 90s, 30m, 1h or 2d.", param, ctx)
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
