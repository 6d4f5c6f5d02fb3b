"""A rule: what it says, how binding it is and for whom it says so, and the check that shows whether an API keeps it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from conformance.trial import Trial
from conformance.wire import Exchange


class Level(StrEnum):
    """MUST and SHOULD as the source has them (BCP 14), in capitals there; advice is everything else."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    ADVICE = "advice"


class Result(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Rule:
    """`check` returns if the rule is kept; it raises Failed or NotApplicable, and sends at most `requests` requests."""

    id: str
    level: Level
    source: str
    text: str
    requests: int
    check: Callable[[Trial], None]


@dataclass(frozen=True)
class Verdict:
    """What a rule found. `exchanges` are the requests that show it, with their answers."""

    rule: Rule
    result: Result
    reason: str
    exchanges: tuple[Exchange, ...]


def rule(level: Level, source: str, text: str, requests: int) -> Callable[[Callable[[Trial], None]], Rule]:
    """Make a rule of its check; its id is the check's name. Hooks count as requests."""

    def made(check: Callable[[Trial], None]) -> Rule:
        return Rule(check.__name__.replace("_", "-"), level, source, text, requests, check)

    return made


DRAFT = "draft-ietf-httpapi-idempotency-key-header-07"
OUTAGES = "outages teach"


def draft(section: str) -> str:
    return f"{DRAFT}, section {section}"


def rfc(number: int, section: str) -> str:
    return f"RFC {number}, section {section}"
