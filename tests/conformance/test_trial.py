"""What a rule reads from an answer, and what ends a run in the middle."""

import time

import pytest

from conformance.reading import read_profile
from conformance.trial import NotApplicable, Trial, at_pointer
from conformance.wire import Answer, Unreachable, Wire
from tests.conformance.test_rules import PROFILE, TOKENS
from tests.support.network import free_port

API = "http://api.example:81/v1"


def a_trial(url: str = API, budget: int = 9) -> Trial:
    profile = read_profile(PROFILE, TOKENS)
    return Trial(profile, Wire(url, 1), quoted=True, budget=budget, deadline=time.monotonic() + 60, earlier=())


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/v1/orders/1", "/v1/orders/1"),
        ("orders/1?a=b", "/v1/orders/1?a=b"),
        (f"{API}/orders/1", "/v1/orders/1"),
        ("http://api.example/v1/orders/1", None),
        ("https://api.example:81/v1/orders/1", None),
        ("//elsewhere.example/orders/1", None),
    ],
)
def test_a_location_leads_to_a_path_of_the_api_or_nowhere(location: str, path: str | None) -> None:
    assert a_trial().location(Answer(201, (("Location", location),), b"")) == path


@pytest.mark.parametrize(
    ("pointer", "found"),
    [("", {"a": [{"b/c": 1}]}), ("/a/0/b~1c", 1), ("/a/1", None), ("/a/x", None), ("/b", None), ("/b/c", None)],
)
def test_a_pointer_leads_to_a_part_of_a_document_or_nowhere(pointer: str, found: object) -> None:
    assert at_pointer({"a": [{"b/c": 1}]}, pointer) == found


def test_an_answer_that_names_no_resource_ends_the_rule() -> None:
    with pytest.raises(NotApplicable, match="does not say which resource"):
        a_trial().named(Answer(201, (("Location", "/orders/1"),), b'{"number": 1}'))


def test_an_api_that_went_away_ends_the_run() -> None:
    with pytest.raises(Unreachable):
        a_trial(f"http://127.0.0.1:{free_port()}").place("k")


def test_a_rule_that_sends_more_than_it_says_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="more requests than it says"):
        a_trial(budget=0).place("k")
