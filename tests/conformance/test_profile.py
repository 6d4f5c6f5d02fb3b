"""A profile says what is wrong with it in one sentence, and its templates are filled with care."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.hooks import fill_target
from conformance.profile import ProfileError, fill
from conformance.reading import DEFAULT, SCHEMA, read_profile
from conformance.template import Payload, Template
from tests.conformance.test_rules import PROFILE, TOKENS

SMALL = """
name = "small"
[request]
path = "/orders"
body = '{"n": $n}'
key_required = false
values = {n = "1"}
other_payload = {n = "2"}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "profile.toml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("name = ", "is not TOML", id="not TOML"),
        pytest.param("name = 'x'", "'request' is a required property", id="no request"),
        pytest.param(SMALL + "colour = 'red'", "request: .*'colour' was unexpected", id="unknown key"),
        pytest.param(SMALL.replace("false", "'no'"), "request.key_required: 'no' is not of type", id="wrong type"),
        pytest.param(SMALL.replace("$n", "$m"), r"`\$m` is not one of request.values", id="unknown placeholder"),
        pytest.param(SMALL.replace('n = "2"', 'k = "2"'), r"`\$k` is not one of request.values", id="other payload"),
        pytest.param(SMALL + "headers = {A = '$NOT_SET'}", "variable NOT_SET is not set", id="no variable"),
        pytest.param(SMALL + "headers = {A = '$BAD'}", "variable BAD has characters", id="variable with a line end"),
        pytest.param(SMALL + "[hooks.fail]\nurl = '/fail'", "'recover' is a dependency", id="no end of a failure"),
        pytest.param(SMALL + "[hooks.change]\nmethod = 'POST'", "hooks.change: ", id="a hook that does nothing"),
    ],
)
def test_a_mistake_in_a_profile_is_one_sentence_that_names_it(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ProfileError, match=said):
        read_profile(written(tmp_path, text), {"BAD": "a\nb"})


def test_a_profile_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot be read: No such file"):
        read_profile(tmp_path / "none.toml", {})


def test_the_profiles_of_this_project_are_valid() -> None:
    for path in DEFAULT.parent.glob("*.toml"):
        assert read_profile(path, {"CUSTOMER": "alice", "TOKEN": "a", "ANOTHER_TOKEN": "b"}).name
    assert read_profile(PROFILE, TOKENS).secrets == set(TOKENS.values())


def test_payloads_differ_as_the_profile_says_and_bodies_are_json() -> None:
    template = Template(read_profile(DEFAULT, {}), "/base", quoted=True)
    first, other, invalid = (
        template.request(["k"], payload) for payload in (Payload.FIRST, Payload.OTHER, Payload.INVALID)
    )
    assert {request.target for request in (first, other, invalid)} == {"/base/orders"}
    assert json.loads(first.body)["items"] != json.loads(other.body)["items"]
    assert json.loads(first.body)["customerId"] == json.loads(other.body)["customerId"]
    assert json.loads(invalid.body)["items"] == []
    second = template.request(["k"], second_caller=True)
    assert json.loads(second.body)["customerId"] != json.loads(first.body)["customerId"]
    assert template.request([], Payload.EMPTY).body == b""
    assert first.headers[-1] == ("Idempotency-Key", "k")


def test_a_request_without_content_has_no_content_type() -> None:
    bare = Template(read_profile(PROFILE, TOKENS), "", quoted=False).bare("/orders/1", "k", "GET")
    assert dict(bare.headers) == {"Authorization": "Bearer token-of-alice", "Idempotency-Key": "k"}


def test_what_is_put_into_a_path_is_encoded() -> None:
    assert fill_target("/orders/$id?of=$who", {"id": "a b?", "who": "ü&"}) == "/orders/a%20b%3F?of=%C3%BC%26"


def test_requests_of_two_rules_are_never_the_same() -> None:
    profile = read_profile(DEFAULT, {})
    one, another = (Template(profile, "", quoted=True).request([]) for _ in range(2))
    assert one.body != another.body


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]*", fullmatch=True), st.text(), min_size=1), st.booleans())
def test_a_placeholder_is_filled_once_and_json_around_it_stays(values: dict[str, str], braces: bool) -> None:
    template = "".join(f"{{{f'${{{name}}}' if braces else f'${name}'}}}" for name in values)
    assert fill(template, values) == "".join(f"{{{value}}}" for value in values.values())


def test_every_key_of_a_profile_is_read() -> None:
    code = (Path(DEFAULT).parents[1] / "reading.py").read_text("utf-8")
    for table in ("request", "resource", "hooks", "promises", "second_caller"):
        for key in SCHEMA["properties"][table]["properties"]:
            assert re.search(rf'[\[(]"{key}"', code), key
