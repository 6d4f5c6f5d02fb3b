"""A report says all that was found, is well-formed whatever was found, and shows no credentials."""

import json
from dataclasses import replace
from urllib.parse import quote
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.reading import read_profile
from conformance.reports import FORMATS, HIDDEN, as_json, as_junit, as_text
from conformance.rule import Level, Result, Rule, Verdict
from conformance.run import Run
from conformance.template import Template
from conformance.trial import Trial
from conformance.wire import Answer, Answered, Exchange, Request, Unanswered
from tests.conformance.test_rules import PROFILE, TOKENS

PROFILE_OF_ALICE = read_profile(PROFILE, TOKENS)
TEXTS = st.text(max_size=20)


def check(trial: Trial) -> None:
    """Not called here."""


def a_rule(level: Level, name: str = "a-rule") -> Rule:
    return Rule(name, level, "RFC 9110, section 1", "Something is so.", 1, check)


def a_run(*verdicts: Verdict) -> Run:
    return Run("http://api.example", PROFILE_OF_ALICE, verdicts)


FIELDS = st.lists(st.tuples(st.sampled_from(["X-Any", "Cookie", "Authorization"]), TEXTS), max_size=2).map(tuple)
REQUESTS = st.builds(Request, st.just("POST"), TEXTS, FIELDS, st.binary(max_size=20))
ANSWERS = st.builds(Answer, st.integers(200, 599), FIELDS, st.binary(max_size=20))
EXCHANGES: st.SearchStrategy[Exchange] = st.one_of(
    st.builds(Answered, REQUESTS, ANSWERS), st.builds(Unanswered, REQUESTS, TEXTS)
)
VERDICTS = st.builds(
    Verdict,
    st.sampled_from(Level).map(a_rule),
    st.sampled_from(Result),
    TEXTS,
    st.lists(EXCHANGES, max_size=2).map(tuple),
)


@given(st.lists(VERDICTS, max_size=4), st.booleans())
def test_json_has_every_rule_and_every_exchange(verdicts: list[Verdict], strict: bool) -> None:
    document = json.loads(as_json(a_run(*verdicts), strict))
    assert [rule["result"] for rule in document["rules"]] == [one.result for one in verdicts]
    assert [len(rule["exchanges"]) for rule in document["rules"]] == [len(one.exchanges) for one in verdicts]
    assert sum(document["summary"].values()) == len(verdicts)
    assert document["passed"] == (not a_run(*verdicts).failed(strict))


@given(st.lists(VERDICTS, max_size=4), st.booleans())
def test_junit_can_be_parsed_and_counts_what_the_run_fails_for(verdicts: list[Verdict], strict: bool) -> None:
    suite = ElementTree.fromstring(as_junit(a_run(*verdicts), strict))
    cases = suite.findall("testcase")
    assert len(cases) == len(verdicts) == int(suite.attrib["tests"])
    failures = [case.attrib["classname"] for case in cases if case.find("failure") is not None]
    assert failures == [f"conformance.{one.rule.level}" for one in a_run(*verdicts).failed(strict)]
    assert len(failures) == int(suite.attrib["failures"])
    passed = [case for case in cases if len(case) == 0]
    assert len(passed) == sum(one.result is Result.PASS for one in verdicts)


@pytest.mark.parametrize(
    ("level", "strict", "counts"),
    [
        (Level.MUST, False, True),
        (Level.SHOULD, False, False),
        (Level.SHOULD, True, True),
        (Level.ADVICE, True, False),
    ],
)
def test_a_must_always_counts_a_should_if_strict_and_advice_never(level: Level, strict: bool, counts: bool) -> None:
    broken = Verdict(a_rule(level), Result.FAIL, "it is not", ())
    run = a_run(broken, Verdict(a_rule(Level.MUST, "kept"), Result.PASS, "", ()))
    assert run.failed(strict) == ([broken] if counts else [])
    assert ("not conformant" in as_text(run, strict)) == counts


def test_the_text_shows_why_and_the_requests_that_show_it() -> None:
    request = Template(PROFILE_OF_ALICE, "", quoted=True).request(['"key-1"'])
    refused = Answered(request, Answer(409, (("Content-Type", "text/plain"),), b"too late"))
    silent = Unanswered(request, "no answer: timed out")
    run = a_run(
        Verdict(a_rule(Level.MUST), Result.FAIL, "it was answered 409", (refused, silent)),
        Verdict(a_rule(Level.ADVICE), Result.NOT_APPLICABLE, "there is no hook", ()),
    )
    text = as_text(run, strict=False)
    for line in (
        "it was answered 409",
        "source: RFC 9110, section 1",
        "> POST /orders",
        '> Idempotency-Key: "key-1"',
        "< 409",
        "< too late",
        "< no answer: timed out",
        "because there is no hook",
        "0 kept, 1 not applicable, not kept: 1 MUST. not conformant",
    ):
        assert line in text


@pytest.mark.parametrize("report", FORMATS)
@given(st.text("abc/ ?\"'<>&%\\é", min_size=6, max_size=12).filter(lambda text: text.strip() == text))
def test_no_report_shows_a_secret_wherever_it_comes_up(report: str, secret: str) -> None:
    profile = replace(PROFILE_OF_ALICE, name=f"of {secret}", secrets=frozenset({secret, "b"}))
    fields = (("Authorization", f"Bearer {secret}"), ("X-Echo", secret))
    request = Request("POST", f"/orders?token={quote(secret)}", fields, f"<{secret}>".encode())
    answer = Answer(500, (("Set-Cookie", "plain"), ("X-Echo", secret)), b"x" * 1995 + secret.encode())
    exchanges = (Answered(request, answer), Unanswered(request, f"no answer: {secret}"))
    verdicts = [Verdict(a_rule(Level.MUST), result, f"it said {secret}", exchanges) for result in Result]
    text = FORMATS[report](Run("http://api.example", profile, tuple(verdicts)), True)
    shown = text if report != "junit" else _all_text(ElementTree.fromstring(text))
    assert HIDDEN in shown
    for form in (secret, quote(secret), json.dumps(secret)[1:-1], "plain"):
        assert form not in shown


def _all_text(element: ElementTree.Element) -> str:
    attributes = [value for part in element.iter() for value in part.attrib.values()]
    return "\n".join([*attributes, *element.itertext()])


def test_a_secret_that_begins_like_another_hides_no_less_of_it() -> None:
    profile = replace(PROFILE_OF_ALICE, secrets=frozenset({"token", "token-of-alice"}))
    verdict = Verdict(a_rule(Level.MUST), Result.FAIL, "it said token-of-alice", ())
    assert "alice" not in as_text(Run("http://api.example", profile, (verdict,)), True)
