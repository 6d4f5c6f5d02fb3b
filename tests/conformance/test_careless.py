"""A naive service and one as Powertools' documentation teaches it break exactly the rules that they should."""

from dataclasses import replace

import pytest

from conformance.profile import Hook, Profile
from conformance.reading import DEFAULT, read_profile
from conformance.rule import Result
from conformance.rules import ALL
from conformance.run import Run, run
from tests.conformance.careless import Naive, OrderRoutes, Usual
from tests.conformance.serving import serving
from tests.support.stage import Stage

BOTH = {
    "key-parameters",  # they do not read the key as a structured field
    "empty-key",
    "malformed-key",
    "two-keys",
    "empty-content",
    "failure-says-when",  # 502, without a word of when to try again
    "created-location",
    "problem-documents",
}
NAIVE = BOTH | {
    "bare-key",
    "replay-result",
    "replay-bytes",
    "replay-one-effect",
    "replay-after-change",
    "reuse",
    "reuse-harmless",
    "concurrent-answers",
    "concurrent-one-effect",
    "lost-answer",
}
NAIVE_KEEPS = {
    "string-key",  # it does not look at it
    "long-key",
    "comma-in-key",
    "case-of-key",
    "new-key",
    "keys-of-callers",
    "replay-fields",
    "safe-methods",
    "replay-refusal",
    "invalid-frees-key",
    "failure-forgotten",
    "content-type",
}
USUAL = BOTH | {
    "keys-of-callers",  # the key alone names the record
    "reuse-link",
    "failure-forgotten",  # the order was written and its message was not sent: the retry writes a second one
}


@pytest.fixture
def profile() -> Profile:
    """They have OrderOnce's routes, and promise nothing."""
    nothing = {"documentation": None, "expiry": None, "replay_header": None}
    outage = {"fail": Hook(url="/outage/begins"), "recover": Hook(url="/outage/ends")}
    return replace(read_profile(DEFAULT, {}), **nothing, **outage)  # type: ignore[arg-type]


def tried(service: OrderRoutes, profile: Profile) -> Run:
    with serving(service) as url:
        return run(profile, url, ALL, time_limit=60)


def with_result(found: Run, result: Result) -> set[str]:
    return {one.rule.id for one in found.verdicts if one.result is result}


def test_a_service_without_keys_breaks_every_rule_about_retries(profile: Profile) -> None:
    found = tried(Naive(), profile)
    assert with_result(found, Result.FAIL) == NAIVE
    assert with_result(found, Result.PASS) == NAIVE_KEEPS


def test_the_usual_design_breaks_the_rules_of_its_weak_points(
    aws: Stage, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDER_QUEUE", aws.queue_url("ORDER_QUEUE"))
    assert with_result(tried(Usual(aws), profile), Result.FAIL) == USUAL
