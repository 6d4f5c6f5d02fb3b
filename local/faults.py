"""What ends the laptop stack before or after its time."""


class StartError(Exception):
    """The stack cannot come up. Its text is one sentence for the person who started it."""


class Stopped(BaseException):
    """Somebody asked for the end, by Ctrl-C or SIGTERM.

    A BaseException, so that no `except Exception` on the way out takes it for a failure.
    """
