"""`python -m conformance URL --yes-it-creates-orders`: does this API keep the rules of the Idempotency-Key header?

Ends with status 0 if no MUST (with --strict: no SHOULD either) is broken, 1 if one is, and 2 if nothing can be said.
"""

import argparse
import os
import sys
from pathlib import Path

from conformance import reports
from conformance.profile import ProfileError
from conformance.reading import DEFAULT, read_profile
from conformance.rules import ALL
from conformance.run import Unusable, max_requests, run
from conformance.wire import Unreachable, Wire

TIME_LIMIT_SECONDS = 300


def main(words: list[str] | None = None) -> int:
    """Run the suite; the exit status."""
    given = parser().parse_args(words)
    if not given.yes_it_creates_orders:
        return _unusable(
            f"This would send up to {max_requests(ALL)} requests to {given.url}, and create what they ask for, such as "
            "orders: give --yes-it-creates-orders if that is what you want."
        )
    try:
        profile = read_profile(given.profile, os.environ)
        print(
            f"Up to {max_requests(ALL)} requests ({profile.method} {profile.path} and others) go to {given.url}, "
            f"for at most {given.time_limit:g} seconds. They create what they ask for.",
            file=sys.stderr,
        )
        found = run(profile, given.url, ALL, given.time_limit)
        report = reports.FORMATS[given.format](found, given.strict)
        if given.out:
            given.out.write_text(report, "utf-8")
        else:
            sys.stdout.write(report)
    except (ProfileError, Unreachable, Unusable, OSError) as error:
        return _unusable(str(error))
    return 1 if found.failed(given.strict) else 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m conformance",
        allow_abbrev=False,  # nobody says yes by a typing mistake
        description="Does an API keep the rules of the Idempotency-Key header? docs/conformance.md lists them.",
    )
    made.add_argument("url", metavar="URL", type=_address, help="of the API, such as http://127.0.0.1:8000")
    made.add_argument("--yes-it-creates-orders", action="store_true", help="required: the requests have effects")
    made.add_argument("--profile", type=Path, default=DEFAULT, metavar="FILE", help="of the API; default: OrderOnce's")
    made.add_argument("--format", choices=sorted(reports.FORMATS), default="text")
    made.add_argument("--out", type=Path, metavar="FILE", help="write the report there")
    made.add_argument("--strict", action="store_true", help="a SHOULD that is not kept counts as well")
    made.add_argument("--time-limit", type=float, default=TIME_LIMIT_SECONDS, metavar="SECONDS")
    return made


def _address(text: str) -> str:
    try:
        return Wire(text, 1).url
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _unusable(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
