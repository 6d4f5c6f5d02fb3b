"""`python -m local`: the laptop stack until Ctrl-C or SIGTERM; `python -m local token`: an access token for it.

`python -m local stripe-key` gives it a Stripe test key.

Environment: PORT (8000), HOST (127.0.0.1), AWS_PORT (8010), DATA (a folder; without it all is in memory), LOG_FORMAT
(text or json), and any setting of the app. Ends with status 0 if it was asked to end, 1 if it cannot start.
"""

import argparse
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


def main(arguments: list[str]) -> int:
    """Run the stack, or print a token of the one that runs, or give it a key; the exit status."""
    asked = _parser().parse_args(arguments)
    try:
        # Before the other imports, which take a second: Ctrl-C ends them without a traceback too.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _request_stop)
        from local.settings import Settings

        settings = Settings.read(os.environ)
        if asked.command == "token":
            from local.tokens import print_token

            print_token(settings.aws_port, asked)
            return 0
        if asked.command == "stripe-key":
            from local.stripe_key import give_key

            give_key(settings.aws_port)
            return 0
        from local.stack import running

        with running(settings) as banner:
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description="The laptop stack, until Ctrl-C.")
    commands = parser.add_subparsers(dest="command")
    token = commands.add_parser("token", help="print an access token of the stack that runs with AUTH=cognito")
    whose = token.add_mutually_exclusive_group(required=True)
    whose.add_argument("--customer", metavar="NAME", help="of a customer, whose id is the name")
    whose.add_argument("--operator", metavar="NAME", nargs="?", const="operator", help="of an operator")
    whose.add_argument("--service", action="store_true", help="of a service, which may name any customer")
    commands.add_parser(
        "stripe-key", help="give the stack that runs with PAYMENTS=stripe a test key, which it asks for"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
