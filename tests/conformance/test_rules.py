"""Every rule is kept by a careful service, and broken by one that does what the rule is about."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from conformance.profile import Profile
from conformance.reading import read_profile
from conformance.rule import Level, Result, Rule
from conformance.rules import ALL, documentation, failures, keys, problems, races
from conformance.run import Run, run
from tests.conformance.careful import Careful
from tests.conformance.serving import serving

PROFILE = Path(__file__).parent / "careful.toml"
TOKENS = {"TOKEN_OF_ALICE": "token-of-alice", "TOKEN_OF_BOB": "token-of-bob"}

BROKEN = {
    "does not document the key": {"published", "expiry"},
    "does not document the end of a key": {"expiry"},
    "has no documentation": {"published", "expiry"},
    "answers a missing key with 422": {"missing-key"},
    "takes a request without a key": {"missing-key"},
    "does not link to documentation": {"missing-key-link", "reuse-link"},
    "takes only keys without quotes": {"string-key"},
    "ignores a key without quotes": {"bare-key"},
    "takes a parameter for a part of the key": {"key-parameters"},
    "takes an empty key": {"empty-key"},
    "takes a malformed key": {"malformed-key"},
    "takes the first of two keys": {"two-keys"},
    "cuts a key off": {"long-key"},
    "fails on a long key": {"long-key"},
    "splits a key at a comma": {"comma-in-key"},
    "takes a key in any case": {"case-of-key"},
    "knows a request by its contents": {"new-key", "case-of-key"},
    "shares keys among callers": {"keys-of-callers"},
    "answers a retry with 200": {"replay-result", "replay-after-change", "reuse-harmless"},
    "answers a retry without its Location": {"replay-fields"},
    "writes a retry's answer otherwise": {"replay-bytes"},
    "does not mark a retry": {"replay-marked"},
    "marks every answer as a retry's": {"replay-marked"},
    "makes one more order for a retry": {"replay-one-effect", "concurrent-one-effect", "lost-answer"},
    "answers a retry with the order of now": {"replay-after-change"},
    "refuses an invalid request otherwise each time": {"replay-refusal"},
    "answers a reused key with 409": {"reuse"},
    "answers a second refusal with the order": {"refused-again"},
    "takes a second request without a key": {"refused-again"},
    "forgets a key that is used again": {"refused-again", "reuse-harmless"},
    "takes a key that is used again": {"reuse", "reuse-harmless"},
    "uses up the key of a GET": {"safe-methods"},
    "answers a GET by its key": {"safe-methods"},
    "uses up the key of an invalid request": {"invalid-frees-key"},
    "fails on a request without content": {"empty-content"},
    "remembers its failures": {"failure-forgotten"},
    "fails with 500": {"failure-says-when"},
    "does not say when to try again": {"failure-says-when"},
    "creates without a Location": {"created-location"},
    "gives a Location that leads nowhere": {"location-resolves"},
    "answers 405 without Allow": {"allow"},
    "allows another method": {"allow"},
    "sends content after HEAD": {"head-content"},
    "answers HEAD as another type": {"head-fields"},
    "refuses who is unknown without a challenge": {"challenge"},
    "sends content without a Content-Type": {"content-type"},
    "says to try again soon": {"retry-after"},
    "says to try again at a date of old": {"retry-after"},
    "says to try again at no date": {"retry-after"},
    "has errors that are not problems": {"problem-documents"},
    "says another status in its problems": {"problem-status"},
    "has a number as the detail of its problems": {"problem-members"},
    "has a text as the status of its problems": {"problem-members", "problem-status"},
    "has types of problems that are not URIs": {"problem-members"},
    "has a list as its problems": {"problem-members"},
    "has relative types of problems": {"problem-type"},
    "changes the titles of its problems": {"problem-title"},
    "has titles of its own for about:blank": {"problem-phrase"},
    "does not say whether to try again": {"problem-promised"},
}
"""What a service does wrong, and which rules it breaks by that: these and no other."""

BROKEN_IN_RACES = {
    "does not lock a key": {"concurrent-answers", "concurrent-one-effect", "lost-answer"},
    "says nothing with a 409": {"concurrent-conflict"},
    "answers 409 to all": {"concurrent-answers"},
    "fails on a key that is being processed": {"concurrent-answers", "lost-answer"},
}
"""The same for services that take their time; only the rules about races are tried."""

ALLOWED = (
    "takes a key of any length",
    "takes any key as it is",
    "answers 200 without a Location",
    "links by the header Link",
    "links in a detail",
    "says to try again at a date",
)
"""What a service may do as well."""


OPTIONAL = (
    "invalid_body",
    "second_caller",
    "wrong_method",
    "id_pointer",
    "count_path",
    "change",
    "fail",
    "recover",
    "documentation",
    "expiry",
    "replay_header",
)
"""What a profile may do without."""


@pytest.fixture(scope="module")
def profile() -> Profile:
    return read_profile(PROFILE, TOKENS)


def tried(profile: Profile, fault: str, rules: Sequence[Rule] = ALL) -> Run:
    with serving(Careful(fault)) as url:
        return run(profile, url, rules, time_limit=60)


def all_of(module: ModuleType) -> list[Rule]:
    return [rule for rule in vars(module).values() if isinstance(rule, Rule)]


def with_result(found: Run, result: Result) -> set[str]:
    return {one.rule.id for one in found.verdicts if one.result is result}


def test_a_careful_service_keeps_every_rule(profile: Profile) -> None:
    found = tried(profile, "")
    assert {one.rule.id: one.reason for one in found.verdicts if one.result is Result.FAIL} == {}
    assert with_result(found, Result.NOT_APPLICABLE) == {"concurrent-conflict"}  # it answers all of them alike
    assert not found.failed(strict=True)


def test_a_service_may_answer_409_in_the_meantime(profile: Profile) -> None:
    found = tried(profile, "answers 409 in the meantime", all_of(races))
    assert with_result(found, Result.PASS) == {rule.id for rule in all_of(races)}


@pytest.mark.parametrize("fault", ALLOWED)
def test_what_a_service_may_do_breaks_no_rule(profile: Profile, fault: str) -> None:
    assert with_result(tried(profile, fault), Result.FAIL) == set()


@pytest.mark.parametrize("fault", BROKEN)
def test_a_fault_breaks_the_rules_that_are_about_it_and_no_other(profile: Profile, fault: str) -> None:
    assert with_result(tried(profile, fault), Result.FAIL) == BROKEN[fault]


@pytest.mark.parametrize("fault", BROKEN_IN_RACES)
def test_a_fault_between_two_requests_is_found(profile: Profile, fault: str) -> None:
    assert with_result(tried(profile, fault, all_of(races)), Result.FAIL) == BROKEN_IN_RACES[fault]


def test_what_the_profile_does_not_say_is_not_applicable(profile: Profile) -> None:
    """Nothing but the request. (Without `resource.id`, Location names the resource.)"""
    nothing = dict.fromkeys(OPTIONAL, None)
    poor = replace(profile, key_required=False, credentials=(), problem_members=(), **nothing)  # type: ignore[arg-type]
    found = tried(poor, "takes a request without a key")
    assert with_result(found, Result.FAIL) == set()
    assert with_result(found, Result.NOT_APPLICABLE) == {
        "published",
        "expiry",
        "missing-key",
        "missing-key-link",
        "keys-of-callers",
        "replay-marked",
        "replay-one-effect",
        "replay-after-change",
        "concurrent-conflict",
        "concurrent-one-effect",
        "lost-answer",
        "replay-refusal",
        "invalid-frees-key",
        "failure-forgotten",
        "failure-says-when",
        "challenge",
        "retry-after",
        "problem-promised",
    }


def test_what_the_profile_says_wrongly_is_not_applicable(profile: Profile) -> None:
    useless = replace(profile, invalid_body=profile.body, fail=profile.recover, id_pointer="/none")
    found = tried(useless, "", [keys.case_of_key, keys.new_key, keys.keys_of_callers, *all_of(failures)])
    assert with_result(found, Result.PASS) == {"empty-content"}
    assert with_result(found, Result.FAIL) == set()


@pytest.mark.parametrize(
    ("rules", "not_applicable"),
    [
        ([problems.problem_documents], {"problem-documents"}),
        ([documentation.missing_key, problems.problem_documents, problems.problem_phrase], {"problem-phrase"}),
    ],
    ids=["no errors", "no error without a type of its own"],
)
def test_problems_that_did_not_come_up_are_not_judged(
    profile: Profile, rules: list[Rule], not_applicable: set[str]
) -> None:
    assert with_result(tried(profile, "", rules), Result.NOT_APPLICABLE) == not_applicable


def test_a_failure_that_is_remembered_is_seen_without_counting(profile: Profile) -> None:
    found = tried(replace(profile, count_path=None), "remembers its failures", [failures.failure_forgotten])
    assert with_result(found, Result.FAIL) == {"failure-forgotten"}


def test_every_rule_can_be_broken() -> None:
    broken = set().union(*BROKEN.values(), *BROKEN_IN_RACES.values())
    assert broken == {rule.id for rule in ALL}


def test_a_rule_says_where_it_is_from() -> None:
    assert len({rule.id for rule in ALL}) == len(ALL)
    for rule in ALL:
        assert rule.text.endswith((".", ".)")), rule.id
        if rule.level is not Level.ADVICE:
            assert rule.source.startswith(("draft-ietf-httpapi-idempotency-key-header-07, section ", "RFC 9"))
