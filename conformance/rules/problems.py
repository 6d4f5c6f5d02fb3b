"""Errors as problem documents (RFC 9457). These rules send nothing: they look at every answer of the run."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from conformance.rule import OUTAGES, Level, rfc, rule
from conformance.trial import Failed, NotApplicable, Trial
from conformance.wire import Answered

MEDIA_TYPE = "application/problem+json"
_NEWER_PHRASES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""RFC 9110 renamed two; the older names, Python's own, are taken too."""


@rule(
    Level.ADVICE,
    f"{rfc(9457, '3')}; the draft's examples",
    f"Every error with content is a problem document, {MEDIA_TYPE}.",
    requests=0,
)
def problem_documents(trial: Trial) -> None:
    errors = [one for one in trial.seen() if one.answer.status >= 400 and one.answer.body]
    if not errors:
        raise NotApplicable("no answer was an error")
    for one in errors:
        if one.answer.media_type != MEDIA_TYPE:
            raise Failed(f"an answer {one.answer.status} is {one.answer.media_type or 'without a Content-Type'}", one)


@rule(
    Level.MUST,
    rfc(9457, "3.1.2"),
    "A problem's `status`, if there is one, is the status of the answer.",
    requests=0,
)
def problem_status(trial: Trial) -> None:
    for one, problem in _problems(trial):
        if "status" in problem and problem["status"] != one.answer.status:
            raise Failed(f"an answer {one.answer.status} says that its status is {problem['status']}", one)


@rule(
    Level.ADVICE,
    rfc(9457, "3.1"),
    "A problem is a JSON object whose members have their types: `type` and `instance` are URI references, "
    "`title` and `detail` strings, `status` is a number. (Clients ignore what has another type.)",
    requests=0,
)
def problem_members(trial: Trial) -> None:
    found = [one for one in trial.seen() if one.answer.media_type == MEDIA_TYPE and one.request.method != "HEAD"]
    if not found:
        raise NotApplicable("no answer was a problem document")
    for one in found:
        problem = one.answer.document
        if not isinstance(problem, dict):
            raise Failed("a problem document is not a JSON object", one)
        for name in ("type", "title", "detail", "instance"):
            if not isinstance(problem.get(name, ""), str):
                raise Failed(f"`{name}` is not a string", one)
        for name in ("type", "instance"):
            if not _is_uri_reference(problem.get(name, "")):
                raise Failed(f"`{name}` is not a URI reference", one)
        status = problem.get("status", 0)
        if not isinstance(status, int) or isinstance(status, bool):
            raise Failed("`status` is not a number", one)


@rule(Level.SHOULD, rfc(9457, "3.1.1"), "A problem's `type` is an absolute URI, or about:blank.", requests=0)
def problem_type(trial: Trial) -> None:
    for one, problem in _problems(trial):
        if not urlsplit(str(problem.get("type", "about:blank"))).scheme:
            raise Failed(f"`type` is {problem['type']!r}", one)


@rule(Level.SHOULD, rfc(9457, "3.1.3"), "Problems of one `type` have one `title`.", requests=0)
def problem_title(trial: Trial) -> None:
    titles: dict[str, Any] = {}
    for one, problem in _problems(trial):
        kind = problem.get("type", "about:blank")
        if kind != "about:blank" and titles.setdefault(str(kind), problem.get("title")) != problem.get("title"):
            raise Failed(f"the type {kind} has the titles {titles[kind]!r} and {problem.get('title')!r}", one)


@rule(
    Level.SHOULD,
    rfc(9457, "4.2.1"),
    "The `title` of a problem of the type about:blank is HTTP's own phrase for its status.",
    requests=0,
)
def problem_phrase(trial: Trial) -> None:
    blank = [(one, problem) for one, problem in _problems(trial) if problem.get("type", "about:blank") == "about:blank"]
    if not blank:
        raise NotApplicable("no problem was of the type about:blank")
    for one, problem in blank:
        status = one.answer.status
        known = status in {known.value for known in HTTPStatus}
        phrases = {_NEWER_PHRASES.get(status, ""), HTTPStatus(status).phrase} if known else set()
        if "title" in problem and known and problem["title"] not in phrases:
            raise Failed(f"`title` is {problem['title']!r} for the status {status}", one)


@rule(
    Level.ADVICE,
    OUTAGES,
    "Every problem has the members that the profile promises, such as one that says whether to try again.",
    requests=0,
)
def problem_promised(trial: Trial) -> None:
    if not trial.profile.problem_members:
        raise NotApplicable("the profile has no promises.problem_members")
    for one, problem in _problems(trial):
        if missing := [name for name in trial.profile.problem_members if name not in problem]:
            raise Failed(f"a problem has no `{missing[0]}`", one)


def _problems(trial: Trial) -> Iterator[tuple[Answered, dict[str, Any]]]:
    """Every problem document of the run that is one, with its exchange. Raises NotApplicable if there is none."""
    found = [
        (one, one.answer.document)
        for one in trial.seen()
        if one.answer.media_type == MEDIA_TYPE and isinstance(one.answer.document, dict)
    ]
    if not found:
        raise NotApplicable("no answer was a problem document")
    yield from found


def _is_uri_reference(text: str) -> bool:
    try:
        urlsplit(text)
    except ValueError:
        return False
    return not any(character.isspace() or character in '<>"{}|\\^`' for character in text)
