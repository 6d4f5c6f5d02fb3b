"""`python -m ops`: ends with status 0, 1 (refused or failed: one sentence says why), 2 (misspelt), 130 (Ctrl-C)."""

import sys


def main() -> None:
    """Run one command; never returns."""
    try:
        # The imports take half a second, and Ctrl-C ends them without a traceback too.
        from ops.cli import ops
    except KeyboardInterrupt:
        sys.exit(130)
    ops(prog_name="python -m ops")


if __name__ == "__main__":
    main()
