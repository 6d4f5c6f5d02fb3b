"""`python -m local`: the laptop stack until Ctrl-C or SIGTERM.

Environment: PORT (8000), HOST (127.0.0.1), AWS_PORT (8010), DATA (a folder; without it all is in memory), LOG_FORMAT
(text or json), and any setting of the app. Ends with status 0 if it was asked to end, 1 if it cannot start.
"""

import os
import signal
import sys
import time
from types import FrameType

from local.faults import StartError, Stopped

_stop_requests: list[int] = []


def _request_stop(number: int, frame: FrameType | None) -> None:
    """Interrupt the main thread. Only once: the shutdown must not be interrupted too."""
    if not _stop_requests:
        _stop_requests.append(number)
        raise Stopped


def main() -> int:
    """Run the stack; the exit status."""
    try:
        # Before the other imports, which take a second: Ctrl-C ends them without a traceback too.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _request_stop)
        from local.settings import Settings
        from local.stack import running

        with running(Settings.read(os.environ)) as banner:
            print(banner, file=sys.stderr, flush=True)
            # Not one long wait: Python drops an exception raised by a signal in some callbacks.
            while not _stop_requests:
                time.sleep(0.2)
    except StartError as fault:
        print(fault, file=sys.stderr)
        return 1
    except Stopped:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
