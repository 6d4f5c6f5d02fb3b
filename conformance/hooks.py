"""What is done to the service beside its API: a command, or an HTTP request."""

import subprocess
from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlsplit

from conformance.profile import Hook, ProfileError, fill
from conformance.wire import Answered, Exchange, NoAnswer, Request, Wire

MAX_SECONDS = 60


def run_hook(hook: Hook, values: Mapping[str, str], wire: Wire) -> list[Exchange]:
    """Do what the hook says, its placeholders filled; a path is one of the API. Raises ProfileError if it fails."""
    if hook.command:
        _run([fill(word, values) for word in hook.command])
        return []
    wire, target = address_of(fill_target(hook.url, values), wire)
    headers = tuple((name, fill(value, values)) for name, value in hook.headers.items())
    request = Request(hook.method, target, headers, fill(hook.body, values).encode())
    try:
        answer = wire.send(request)
    except NoAnswer as error:
        raise ProfileError(f"the hook {hook.method} {hook.url} had no answer: {error}.") from error
    if not answer.accepted:
        raise ProfileError(f"the hook {hook.method} {hook.url} was answered {answer.status}.")
    return [Answered(request, answer, of_api=False)]


def address_of(url: str, wire: Wire) -> tuple[Wire, str]:
    """The way to a URL's host and the path there; a path alone is one of the API."""
    if "://" not in url:
        return wire, wire.base + url
    parts = urlsplit(url)
    return Wire(f"{parts.scheme}://{parts.netloc}", wire.timeout), parts.path + (
        f"?{parts.query}" if parts.query else ""
    )


def fill_target(template: str, values: Mapping[str, str]) -> str:
    """A path or URL with its placeholders replaced, percent-encoded where they must be."""
    return fill(template, {name: quote(value) for name, value in values.items()})


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=MAX_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProfileError(f"the hook `{command[0]}` cannot be run ({type(error).__name__}).") from error
    if done.returncode != 0:
        raise ProfileError(f"the hook `{command[0]}` ended with status {done.returncode}.")
