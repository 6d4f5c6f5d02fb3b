"""`python -m local`: the laptop stack until Ctrl-C or SIGTERM.

Environment: PORT (8000), HOST (127.0.0.1), AWS_PORT (8010), LOG_FORMAT (text or json), and any
setting of the app. Ends with status 0 when it was asked to end, 1 when it cannot start.
"""

import os
import signal
import sys
import time
from types import FrameType

from local.faults import StartError, Stopped

_asked: list[int] = []


def _ask(number: int, frame: FrameType | None) -> None:
    """Leave whatever the main thread is at. Once: the way out is not to be interrupted again."""
    if not _asked:
        _asked.append(number)
        raise Stopped


def main() -> int:
    """Run the stack; the exit status."""
    try:
        # Before the imports of all the rest, which take a second: Ctrl-C is quiet there too.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _ask)
        from local.settings import Settings
        from local.stack import running

        with running(Settings.read(os.environ)) as told:
            print(told, file=sys.stderr, flush=True)
            # Not one long wait: Python drops an exception raised by a signal in some callbacks.
            while not _asked:
                time.sleep(0.2)
    except StartError as fault:
        print(fault, file=sys.stderr)
        return 1
    except Stopped:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
