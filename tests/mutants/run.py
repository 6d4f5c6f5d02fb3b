"""`make mutants`: put mistakes into the code that keeps the promises, and see whether a test fails for each.

Two kinds of mutants: the project's own (`own.py`), and those that mutmut makes of each function in some folders
(`meeting.MEET`). Each meets
the tests that run the changed statement (one of its own: the tests that its row names), until one fails. A mutant that
survives and is not in `equivalents.txt` counts against the ratio, killed ÷ (all − equivalents).
"""

import argparse
import random
import sys
from collections.abc import Sequence
from itertools import groupby

from tests.mutants.equivalents import key_of, reasons
from tests.mutants.meeting import meet_generated, meet_own
from tests.mutants.mutant import Mutant
from tests.mutants.own import OWN
from tests.mutants.session import Verdict

GOAL = 0.98


def main(words: Sequence[str]) -> int:
    """0 if every own mutant is killed, and enough of the others."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--only", default="", help="the beginning of a path, or of path:function")
    parser.add_argument("--sample", type=int, help="so many, chosen by chance")
    parser.add_argument("--seed", default="0", help="of the sample")
    parser.add_argument("--again", action="store_true", help="only those that no test has killed yet")
    parser.add_argument("--own", action="store_true", help="only the own ones")
    options = parser.parse_args(words)
    own = [row for row in OWN if row.path.startswith(options.only.partition(":")[0])]
    if options.own and options.sample:
        print(f"{options.sample} of {len(own)} own mutants, seed {options.seed}")
        own = random.Random(options.seed).sample(own, options.sample)
    survived = [name for name, verdict in meet_own(own).items() if not verdict.test]
    for name in survived:
        print(f"survived: {name}")
    print(f"own mutants: {len(own)}, killed {len(own) - len(survived)}, survived {len(survived)}")
    if options.own:
        return 1 if survived else 0
    reached = report(meet_generated(options.only, options.sample, options.seed, options.again))
    return 0 if reached and not survived else 1


def report(verdicts: dict[Mutant, Verdict]) -> bool:
    """Print the survivors as rows for `equivalents.txt`, and a table by file and folder; False: below the goal."""
    listed = reasons()
    left = {mutant: verdict for mutant, verdict in verdicts.items() if key_of(mutant) not in listed}
    for mutant, verdict in left.items():
        if not verdict.test:
            print(f"\n{key_of(mutant)}")
    print(f"\n{'':44} {'all':>5} {'killed':>7} {'equivalent':>11} {'survived':>9} {'ratio':>8}")
    ratio = 1.0
    for _, files in groupby(sorted({mutant.path for mutant in verdicts}), lambda path: path.rpartition("/")[0]):
        paths = list(files)
        for path in paths:
            _row(path, [one for one in verdicts if one.path == path], left)
        _row(paths[0].rpartition("/")[0] + "/", [one for one in verdicts if one.path in paths], left)
    ratio = _row("all", list(verdicts), left)
    return ratio >= GOAL


def _row(name: str, mutants: list[Mutant], left: dict[Mutant, Verdict]) -> float:
    counted = [mutant for mutant in mutants if mutant in left]
    killed = sum(left[mutant].test is not None for mutant in counted)
    ratio = killed / len(counted) if counted else 1.0
    equivalent, survived = len(mutants) - len(counted), len(counted) - killed
    print(f"{name:44} {len(mutants):5} {killed:7} {equivalent:11} {survived:9} {ratio:8.1%}")
    return ratio


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
