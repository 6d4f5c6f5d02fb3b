"""A profile: what the suite must know of an API, read from a TOML file. docs/conformance.md has every key."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

DEFAULT = Path(__file__).parent / "profiles" / "orderonce.toml"

_FROM_ENVIRONMENT = re.compile(r"\$(?:\{([A-Z][A-Z0-9_]*)\}|([A-Z][A-Z0-9_]*))")
_PLACEHOLDER = re.compile(r"\$(?:\{([a-z][a-z0-9_]*)\}|([a-z][a-z0-9_]*))")
_GIVEN = {"unique", "id", "location"}


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


def read_profile(path: Path, environment: Mapping[str, str]) -> Profile:
    """The profile in a file. `$NAME` is an environment variable, whose value is never shown. Raises ProfileError."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ProfileError(f"The profile {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"The profile {path} is not TOML: {error}.") from error
    secrets: set[str] = set()
    try:
        profile = _profile(_Table(path.name, _with_environment(document, environment, secrets)), secrets)
        _check_placeholders(profile)
    except ProfileError as error:
        raise ProfileError(f"The profile {path}: {error}") from error
    return _documentation_beside(profile, path)


def fill(template: str, values: Mapping[str, str]) -> str:
    """A template with its placeholders, `$name` or `${name}`, replaced. An unknown one stays as it is."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1] or found[2], found[0]), template)


class _Table:
    """A TOML table whose keys are taken one by one: one that is left over is a mistake of its writer."""

    def __init__(self, name: str, keys: Mapping[str, Any]) -> None:
        self._name = name
        self._left = dict(keys)

    def take(self, key: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        value = self._left.pop(key, default)
        if value is ...:
            raise ProfileError(f"`{key}` is missing in {self._name}.")
        if value is not default and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise ProfileError(f"`{key}` in {self._name} has the wrong type.")
        return value

    def table(self, key: str) -> "_Table":
        return _Table(f"[{key}]", self.take(key, dict, {}))

    def texts(self, key: str) -> dict[str, str]:
        """A table whose values are texts."""
        found = self.take(key, dict, {})
        if not all(isinstance(value, str) for value in found.values()):
            raise ProfileError(f"the values of `{key}` in {self._name} must be strings.")
        return dict(found)

    def list(self, key: str) -> tuple[str, ...]:
        found = self.take(key, list, [])
        if not all(isinstance(value, str) for value in found):
            raise ProfileError(f"`{key}` in {self._name} must be a list of strings.")
        return tuple(found)

    def end(self) -> None:
        if self._left:
            raise ProfileError(f"`{min(self._left)}` in {self._name} is not a key of a profile.")


def _profile(top: _Table, secrets: set[str]) -> Profile:
    request, resource, hooks, promises = (top.table(key) for key in ("request", "resource", "hooks", "promises"))
    second = top.table("second_caller")
    caller = Caller(second.texts("headers"), second.texts("values"))
    profile = Profile(
        name=top.take("name", str),
        timeout_seconds=float(top.take("timeout_seconds", (int, float), 10)),
        method=request.take("method", str, "POST"),
        path=request.take("path", str),
        body=request.take("body", str),
        headers=request.texts("headers"),
        credentials=request.list("credentials"),
        values=request.texts("values"),
        key_required=request.take("key_required", bool),
        other_payload=request.texts("other_payload"),
        invalid_body=request.take("invalid_body", str, None),
        wrong_method=request.take("wrong_method", str, None),
        second_caller=caller if caller.headers or caller.values else None,
        id_pointer=resource.take("id", str, None),
        count_path=resource.take("count_path", str, None),
        count_pointer=resource.take("count_pointer", str, ""),
        wait_seconds=float(resource.take("wait_seconds", (int, float), 0)),
        change=_hook(hooks, "change"),
        fail=_hook(hooks, "fail"),
        recover=_hook(hooks, "recover"),
        documentation=promises.take("documentation", str, None),
        expiry=promises.take("expiry", str, None),
        replay_header=promises.take("replay_header", str, None),
        problem_members=promises.list("problem_members"),
        secrets=frozenset(secrets),
    )
    for table in (top, request, resource, hooks, promises, second):
        table.end()
    if bool(profile.fail) != bool(profile.recover):
        raise ProfileError("[hooks] needs both `fail` and `recover`, or neither.")
    if not profile.other_payload:
        raise ProfileError("[request] needs `other_payload`: the placeholders of another payload.")
    return profile


def _hook(hooks: _Table, key: str) -> Hook | None:
    given = hooks.take(key, dict, None)
    if given is None:
        return None
    table = _Table(f"[hooks.{key}]", given)
    hook = Hook(
        table.list("command"),
        table.take("method", str, "POST"),
        table.take("url", str, ""),
        table.texts("headers"),
        table.take("body", str, ""),
    )
    table.end()
    if bool(hook.command) == bool(hook.url):
        raise ProfileError(f"[hooks.{key}] needs either `command` or `url`.")
    return hook


def _with_environment(value: Any, environment: Mapping[str, str], secrets: set[str]) -> Any:
    """The value with its environment variables put in; what they had is added to `secrets`."""
    if isinstance(value, dict):
        return {key: _with_environment(inner, environment, secrets) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_environment(inner, environment, secrets) for inner in value]
    if not isinstance(value, str):
        return value

    def replaced(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if not (given := environment.get(name)):
            raise ProfileError(f"the environment variable {name} is not set.")
        if not given.isprintable():
            raise ProfileError(f"the environment variable {name} has characters that no header may have.")
        secrets.add(given)
        return given

    return _FROM_ENVIRONMENT.sub(replaced, value)


def _check_placeholders(profile: Profile) -> None:
    known = _GIVEN | profile.values.keys()
    texts = [
        profile.path,
        profile.body,
        profile.invalid_body or "",
        profile.count_path or "",
        *profile.headers.values(),
    ]
    for hook in filter(None, (profile.change, profile.fail, profile.recover)):
        texts += [*hook.command, hook.url, hook.body, *hook.headers.values()]
    unknown = {name or bare for text in texts for name, bare in _PLACEHOLDER.findall(text)} - known
    others = {*profile.other_payload, *(profile.second_caller.values if profile.second_caller else ())} - known
    if unknown or others:
        raise ProfileError(f"`${min(unknown | others)}` is not one of [request.values].")


def _documentation_beside(profile: Profile, path: Path) -> Profile:
    """The documentation's address; a file is named from the folder of the profile."""
    given = profile.documentation
    if given is None or "://" in given or given.startswith("/"):
        return profile
    return replace(profile, documentation=(path.parent / given).resolve().as_uri())
