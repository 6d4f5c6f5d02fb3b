"""Which tests a mutant meets, and in which order."""

import hashlib
import json
import random
import sys
import sysconfig
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from itertools import groupby
from pathlib import Path

from tests.mutants.equivalents import key_of, reasons
from tests.mutants.mutant import Mutant
from tests.mutants.own import Own
from tests.mutants.session import Known, Session, Verdict, in_session, say
from tests.support.environments import python_with
from tests.support.template import ROOT

_REPORTS = "tests/use_cases/test_reports.py"
_DOMAIN = (
    *(f"tests/domain/test_{name}.py" for name in ("changes", "fields", "idempotency", "ids", "order", "pricing")),
    *(f"tests/domain/test_{name}.py" for name in ("payment_method", "pending_refunds", "reconciling", "request")),
    "tests/domain/test_shipments.py",
    *(f"tests/adapters/dynamodb/test_{name}.py" for name in ("items", "writes")),
    "tests/use_cases/test_completion.py",
)
_USE_CASES = {
    "committing": ("committing", "reports"),
    "transactions": ("transactions", "committing"),
    "completion": ("completion", "payment_keys", "reports"),
    "consuming": ("consuming", "reports"),
    "dead_letters": ("dead_letters", "reports"),
    "fulfilment": ("saga", "fulfilment", "consuming", "payment_keys", "reports"),
    "intake": ("intake",),
    "letters": ("letters",),
    "monitoring": ("notification", "monitoring", "reports"),
    "operations": ("operations", "shipping", "reports"),
    "paying": ("paying", "reports"),
    "placing": ("placing", "reports"),
    "ports": ("ports", "letters"),
    "reconciling": ("reconciling",),
    "recovery": ("recovery", "reports"),
    "reporting": ("fulfilment", "reports"),
    "saga": ("saga", "fulfilment", "consuming", "payment_keys", "reports"),
    "starting": ("starting",),
    "stepping": ("stepping",),
}
_DYNAMODB = {
    "attributes": ("tests/adapters/dynamodb/test_attributes.py", "tests/adapters/dynamodb/test_items.py"),
    "claims": ("tests/adapters/dynamodb/test_claims.py",),
    "hooks": ("tests/adapters/dynamodb/test_hooks.py",),
    "items": ("tests/adapters/dynamodb/test_items.py", "tests/adapters/dynamodb/test_repository.py"),
    "last_alert": ("tests/adapters/dynamodb/test_last_alert.py",),
    "payment_ledger": ("tests/use_cases/test_payments.py", "tests/adapters/test_stripe_payments.py"),
    "payment_rows": ("tests/use_cases/test_reconciling.py", "tests/ops/test_payments.py"),
    "reads": ("tests/adapters/dynamodb/test_reads.py",),
    "reasons": ("tests/adapters/dynamodb/test_writes.py",),
    "repository": ("tests/adapters/dynamodb/test_repository.py", _REPORTS),
    "update": ("tests/adapters/dynamodb/test_repository.py",),
    "writes": (
        *(f"tests/adapters/dynamodb/test_{name}.py" for name in ("writes", "repository")),
        *(f"tests/use_cases/test_{name}.py" for name in ("consuming", "dead_letters")),
    ),
}
MEET: dict[str, tuple[str, ...]] = {
    **{str(path.relative_to(ROOT)): _DOMAIN for path in sorted((ROOT / "chalicelib" / "domain").glob("*.py"))},
    **{
        f"chalicelib/use_cases/{name}.py": tuple(f"tests/use_cases/test_{test}.py" for test in tests)
        for name, tests in _USE_CASES.items()
    },
    **{f"chalicelib/adapters/dynamodb/{name}.py": tests for name, tests in _DYNAMODB.items()},
    "chalicelib/use_cases/in_flight.py": (
        "tests/use_cases/test_in_flight.py",
        f"{_REPORTS}::test_a_message_that_cannot_be_replayed_and_letters_that_cannot_be_released",
    ),
}
"""The files that mutmut makes mutants of, and the tests that those meet: the cheapest that can see all they do."""

BUDGET = 60.0
"""CPU seconds of tests for a mutant: one that the cheapest of its tests do not kill in that time has survived."""

CACHE = ROOT / ".cache" / "mutants"
_REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def meet_own(rows: Sequence[Own]) -> dict[str, Verdict]:
    """By name, what became of own mutants. Each meets all the tests that its row names, in that order."""
    verdicts: dict[str, Verdict] = {}

    def work(session: Session) -> None:
        def of(row: Own) -> list[str]:
            return [name for test in row.tests for name in session.items if name.partition("[")[0] == test]

        known = session.here(dict.fromkeys(name for row in rows for name in of(row)))
        if failing := [name for name, one in known.items() if one.failed]:
            raise SystemExit(f"These tests fail without a mutant: {failing}")
        for row in rows:
            verdicts[row.name] = session.meet(row.mutant(), of(row), lambda name: known[name].seconds)

    if rows:
        in_session(sorted({test for row in rows for test in row.tests}), work)
    return verdicts


def meet_generated(only: str, sample: int | None, seed: str, again: bool) -> dict[Mutant, Verdict]:
    """What became of mutmut's mutants; those that are listed as equivalents meet no test."""
    # After .venv's own packages, which come first.
    sys.path.append(sysconfig.get_path("purelib", vars={"base": str(_environment())}))
    from tests.mutants.generated import mutants_of

    chosen = [path for path in MEET if path.startswith(only.partition(":")[0])]
    mutants = [one for path in chosen for one in mutants_of(path) if f"{path}:{one.name}".startswith(only)]
    if sample is not None:
        say(f"a sample of {sample} out of {len(mutants)}, seed {seed}")
        mutants = random.Random(seed).sample(mutants, min(sample, len(mutants)))
    journal, listed = CACHE / "verdicts.jsonl", reasons()
    before = _read(journal) if again else {}
    verdicts = {one: before.get(_of(one), Verdict(None)) for one in mutants}
    todo = [one for one in mutants if not verdicts[one].test and key_of(one) not in listed]

    def meet(here: list[Mutant], session: Session) -> None:
        known = _known(session)
        session.warm_up(known)
        meeting = _Meeting(session, known)
        say(f"{len(here)} mutants meet {len(session.items)} tests")
        began = time.monotonic()
        for number, mutant in enumerate(here, 1):
            verdicts[mutant] = meeting.verdict(mutant)
            with journal.open("a") as file:
                file.write(json.dumps([*_of(mutant), asdict(verdicts[mutant])]) + "\n")
            if number % 50 == 0:
                survived = sum(not verdicts[one].test for one in here[:number])
                left = (time.monotonic() - began) / number * (len(here) - number) / 60
                say(f"{number} of {len(here)}, {survived} survived, about {left:.0f} minutes to go")

    for tests, found in groupby(todo, lambda one: MEET[one.path]):
        here = list(found)
        in_session(tests, partial(meet, here))
    return verdicts


class _Meeting:
    """Remembers which tests have killed: those are tried first, then the others from the cheapest on."""

    def __init__(self, session: Session, known: dict[str, Known]) -> None:
        self.session, self.known = session, known
        self.by_line: dict[tuple[str, int], set[str]] = defaultdict(set)
        for name, one in known.items():
            for path, lines in one.lines.items():
                for line in lines if not one.failed else ():
                    self.by_line[path, line].add(name)
        self.killers: list[str] = []

    def verdict(self, mutant: Mutant) -> Verdict:
        """What becomes of one."""
        seeing = set().union(*(self.by_line[mutant.path, line] for line in mutant.seen_on()))
        cheap = sorted(seeing, key=lambda name: (self.known[name].seconds, name))
        order = dict.fromkeys([*cheap[:2], *(name for name in self.killers if name in seeing), *cheap])
        chosen, seconds = list[str](), 0.0
        for name in order:
            seconds += self.known[name].seconds
            if chosen and seconds > BUDGET:
                break
            chosen.append(name)
        verdict = self.session.meet(mutant, chosen, lambda name: self.known[name].seconds)
        if verdict.test:
            self.killers = [verdict.test, *(name for name in self.killers if name != verdict.test)][:20]
        return verdict


def _known(session: Session) -> dict[str, Known]:
    """What the tests do without a mutant. Kept for each test file until it changes, or the code or what tests share."""
    shared = [*(ROOT / "chalicelib").rglob("*.py"), *(ROOT / "tests" / "support").glob("*.py")]
    shared += (ROOT / "tests").rglob("conftest.py")
    known: dict[str, Known] = {}
    for path, names in session.by_file().items():
        kept = CACHE / "known" / f"{_digest([path, *shared], *names)}.json"
        if not kept.exists():
            began = time.monotonic()
            found = session.without_mutant(names, list(MEET))
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps({name: asdict(one) for name, one in found.items()}), "utf-8")
            say(f"{path.relative_to(ROOT)}: {len(names)} tests, {time.monotonic() - began:.0f} s")
        known |= {name: Known(**one) for name, one in json.loads(kept.read_text("utf-8")).items()}
    for name, one in known.items():
        if one.failed:
            say(f"fails without a mutant, and is left out: {name}: {one.failed}")
    return known


def _digest(paths: Sequence[Path], *names: str) -> str:
    texts = [f"{path}\n{path.read_text('utf-8')}" for path in sorted(paths)]
    return hashlib.sha256("\n".join([*texts, *names]).encode()).hexdigest()[:16]


def _environment() -> Path:
    return python_with(_REQUIREMENTS, CACHE).parents[1]


def _of(mutant: Mutant) -> tuple[str, str]:
    """What a verdict is about: a mutant of this text of its file."""
    return key_of(mutant), hashlib.sha256(mutant.before.encode()).hexdigest()[:16]


def _read(journal: Path) -> dict[tuple[str, str], Verdict]:
    """The last verdict of each mutant that ever met its tests."""
    lines = journal.read_text("utf-8").splitlines() if journal.exists() else []
    return {(key, text): Verdict(**verdict) for key, text, verdict in map(json.loads, lines)}
