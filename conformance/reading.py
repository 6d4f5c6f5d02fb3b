"""A profile from its file, in TOML; `profile.schema.json` says what may be in it."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from conformance.profile import PLACEHOLDER, Caller, Hook, Profile, ProfileError

DEFAULT = Path(__file__).parent / "profiles" / "orderonce.toml"
SCHEMA: dict[str, Any] = json.loads((Path(__file__).parent / "profile.schema.json").read_text("utf-8"))

_FROM_ENVIRONMENT = re.compile(r"\$(?:\{([A-Z][A-Z0-9_]*)\}|([A-Z][A-Z0-9_]*))")
_GIVEN = {"unique", "id", "location"}


def read_profile(path: Path, environment: Mapping[str, str]) -> Profile:
    """The profile in a file. `$NAME` is an environment variable, whose value is never shown. Raises ProfileError."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ProfileError(f"The profile {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"The profile {path} is not TOML: {error}.") from error
    if wrong := best_match(Draft202012Validator(SCHEMA).iter_errors(document)):
        where = "".join(f"{part}: " for part in (".".join(map(str, wrong.absolute_path)),) if part)
        raise ProfileError(f"The profile {path}: {where}{wrong.message}.")
    secrets: set[str] = set()
    try:
        _check_placeholders(document)
        document = _with_environment(document, environment, secrets)
    except ProfileError as error:
        raise ProfileError(f"The profile {path}: {error}") from error
    return _profile(document, frozenset(secrets), path.parent)


def _profile(document: Mapping[str, Any], secrets: frozenset[str], folder: Path) -> Profile:
    request = document["request"]
    resource, hooks, promises = (document.get(table, {}) for table in ("resource", "hooks", "promises"))
    second = document.get("second_caller")
    return Profile(
        name=document["name"],
        timeout_seconds=document.get("timeout_seconds", 10),
        method=request.get("method", "POST"),
        path=request["path"],
        body=request["body"],
        headers=request.get("headers", {}),
        credentials=tuple(request.get("credentials", ())),
        values=request.get("values", {}),
        key_required=request["key_required"],
        other_payload=request["other_payload"],
        invalid_body=request.get("invalid_body"),
        wrong_method=request.get("wrong_method"),
        second_caller=Caller(second.get("headers", {}), second.get("values", {})) if second else None,
        id_pointer=resource.get("id"),
        count_path=resource.get("count_path"),
        count_pointer=resource.get("count_pointer", ""),
        wait_seconds=resource.get("wait_seconds", 0),
        change=_hook(hooks.get("change")),
        fail=_hook(hooks.get("fail")),
        recover=_hook(hooks.get("recover")),
        documentation=_address(promises.get("documentation"), folder),
        expiry=promises.get("expiry"),
        replay_header=promises.get("replay_header"),
        problem_members=tuple(promises.get("problem_members", ())),
        secrets=secrets,
    )


def _hook(given: Mapping[str, Any] | None) -> Hook | None:
    return Hook(**{**given, "command": tuple(given.get("command", ()))}) if given else None


def _address(documentation: str | None, folder: Path) -> str | None:
    """A file is named from the folder of the profile."""
    if documentation is None or "://" in documentation or documentation.startswith("/"):
        return documentation
    return (folder / documentation).resolve().as_uri()


def _check_placeholders(document: Mapping[str, Any]) -> None:
    request, second = document["request"], document.get("second_caller", {})
    known = _GIVEN | request.get("values", {}).keys()
    used = {name or bare for text in _texts(document) for name, bare in PLACEHOLDER.findall(text)}
    if unknown := (used | request["other_payload"].keys() | second.get("values", {}).keys()) - known:
        raise ProfileError(f"`${min(unknown)}` is not one of request.values.")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


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
        if not (given.isprintable() and given.isascii()):
            raise ProfileError(f"the environment variable {name} has characters that no header may have.")
        secrets.add(given)
        return given

    return _FROM_ENVIRONMENT.sub(replaced, value)
