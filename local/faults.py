"""Exceptions that end the laptop stack."""


class StartError(Exception):
    """The stack cannot start. Its text is one sentence for the person who started it."""


class Stopped(BaseException):
    """The stack was asked to end, by Ctrl-C or SIGTERM.

    A BaseException, so that no `except Exception` takes it for a failure.
    """
