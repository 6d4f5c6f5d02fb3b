"""HTTP itself, where it bears on a request that creates something (RFC 9110)."""

import re
from email.utils import parsedate_to_datetime

from conformance.rule import Level, rfc, rule
from conformance.trial import Failed, NotApplicable, Trial

_IMF_FIXDATE = re.compile(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT")


@rule(Level.SHOULD, rfc(9110, "9.3.3"), "The 201 of a POST has a Location, which names what was created.", requests=1)
def created_location(trial: Trial) -> None:
    answer = trial.accept(trial.new_key())
    if trial.profile.method != "POST" or answer.status != 201:
        raise NotApplicable(f"{trial.profile.method} was answered {answer.status}")
    if answer.header("Location") is None:
        raise Failed("the 201 has no Location")


@rule(Level.ADVICE, rfc(9110, "10.2.2"), "The Location leads to what was created: GET finds it there.", requests=2)
def location_resolves(trial: Trial) -> None:
    there = _created(trial)
    if not (found := trial.get(there)).accepted:
        raise Failed(f"GET {there} was answered {found.status}")


@rule(Level.MUST, rfc(9110, "15.5.6"), "A 405 has Allow, with the methods that there are.", requests=2)
def allow(trial: Trial) -> None:
    methods = [method for method in ("GET", trial.profile.wrong_method) if method]
    answers = [answer for method in methods if (answer := trial.get(trial.template.route, method=method)).status == 405]
    if not answers:
        raise NotApplicable(
            f"{' and '.join(methods)} of the route {'is' if len(methods) == 1 else 'are'} not answered 405"
        )
    for answer in answers:
        allowed = answer.header("Allow")
        if allowed is None:
            raise Failed("a 405 has no Allow")
        if trial.profile.method not in [method.strip() for method in allowed.split(",")]:
            raise Failed(f"the 405 allows {allowed or 'nothing'}, but not {trial.profile.method}")


@rule(Level.MUST, rfc(9110, "9.3.2"), "The answer to HEAD has no content.", requests=2)
def head_content(trial: Trial) -> None:
    if content := trial.content_after_head(_created(trial)):
        raise Failed(f"{len(content)} bytes came after the header fields of the answer to HEAD")


@rule(Level.SHOULD, rfc(9110, "9.3.2"), "HEAD is answered with the status and Content-Type of GET.", requests=3)
def head_fields(trial: Trial) -> None:
    there = _created(trial)
    got, head = trial.get(there), trial.get(there, method="HEAD")
    if head.status in (403, 404, 405, 501):
        raise NotApplicable(f"HEAD is not supported here ({head.status})")
    if head.status != got.status or head.media_type != got.media_type:
        raise Failed(f"GET: {got.status} {got.media_type}, HEAD: {head.status} {head.media_type}")


@rule(
    Level.MUST,
    rfc(9110, "15.5.2"),
    "A 401 has WWW-Authenticate, which says how to authenticate.",
    requests=1,
)
def challenge(trial: Trial) -> None:
    if trial.profile.credentials:
        trial.send(trial.template.request((trial.template.written(trial.new_key()),), credentials=False))
    refusals = [exchange for exchange in trial.seen() if exchange.answer.status == 401]
    if not refusals:
        raise NotApplicable("no request was answered 401")
    for refusal in refusals:
        if refusal.answer.header("WWW-Authenticate") is None:
            raise Failed("a 401 has no WWW-Authenticate", refusal)


@rule(Level.SHOULD, rfc(9110, "8.3"), "An answer with content has a Content-Type. (All answers so far.)", requests=0)
def content_type(trial: Trial) -> None:
    for exchange in trial.seen():
        if exchange.answer.body and exchange.answer.header("Content-Type") is None:
            raise Failed("an answer with content has no Content-Type", exchange)


@rule(
    Level.MUST,
    f"{rfc(9110, '10.2.3')}; {rfc(9110, '2.2')}",
    "A Retry-After is a whole number of seconds, or a date. (All answers so far.)",
    requests=0,
)
def retry_after(trial: Trial) -> None:
    found = [(exchange, value) for exchange in trial.seen() if (value := exchange.answer.header("Retry-After"))]
    if not found:
        raise NotApplicable("no answer had a Retry-After")
    for exchange, value in found:
        if not (value.isascii() and value.isdigit()) and not _is_date(value):
            raise Failed(f"a Retry-After is {value!r}", exchange)


def _created(trial: Trial) -> str:
    """The path of a resource that was just created."""
    answer = trial.accept(trial.new_key())
    there = trial.location(answer)
    if there is None:
        raise NotApplicable("no Location at this host")
    return there


def _is_date(value: str) -> bool:
    try:
        parsedate_to_datetime(value)
    except ValueError:
        return False
    return bool(_IMF_FIXDATE.fullmatch(value))
