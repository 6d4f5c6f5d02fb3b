"""What the suite must know of an API. docs/conformance.md has every key of a profile; `reading.py` reads one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

PLACEHOLDER = re.compile(r"\$(?:\{([a-z][a-z0-9_]*)\}|([a-z][a-z0-9_]*))")


class ProfileError(Exception):
    """The profile cannot be used; the text is one sentence that says why."""


@dataclass(frozen=True)
class Hook:
    """Something that is done to the service: a command, or else an HTTP request. `url` may be a path of the API."""

    command: tuple[str, ...] = ()
    method: str = "POST"
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


@dataclass(frozen=True)
class Caller:
    """Somebody who sends requests: headers and placeholders in place of, or besides, those of the request."""

    headers: Mapping[str, str]
    values: Mapping[str, str]


@dataclass(frozen=True)
class Profile:
    """One API. What is None or empty, the suite cannot try: the rules that need it are not applicable."""

    name: str
    method: str
    path: str
    body: str
    headers: Mapping[str, str]
    values: Mapping[str, str]
    key_required: bool
    other_payload: Mapping[str, str]
    invalid_body: str | None = None
    second_caller: Caller | None = None
    credentials: tuple[str, ...] = ()
    wrong_method: str | None = None
    id_pointer: str | None = None
    count_path: str | None = None
    count_pointer: str = ""
    wait_seconds: float = 0
    change: Hook | None = None
    fail: Hook | None = None
    recover: Hook | None = None
    documentation: str | None = None
    expiry: str | None = None
    replay_header: str | None = None
    problem_members: tuple[str, ...] = ()
    timeout_seconds: float = 10
    secrets: frozenset[str] = frozenset()


def fill(template: str, values: Mapping[str, str]) -> str:
    """A template with its placeholders, `$name` or `${name}`, replaced. An unknown one stays as it is."""
    return PLACEHOLDER.sub(lambda found: values.get(found[1] or found[2], found[0]), template)
