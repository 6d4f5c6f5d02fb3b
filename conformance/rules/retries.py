"""What a key is for: the same request again, and another one with the same key."""

from conformance.links import documentation_link
from conformance.rule import OUTAGES, Level, draft, rule
from conformance.template import Payload
from conformance.trial import Failed, NotApplicable, Trial
from conformance.wire import Answer

RETRIES = 3
ERRORS_OF_KEYS = (400, 409, 422)


@rule(
    Level.SHOULD,
    draft("2.6"),
    "A retry is answered with the result of the first request: the same status and the same contents, each time.",
    requests=1 + RETRIES,
)
def replay_result(trial: Trial) -> None:
    key = trial.new_key()
    first = trial.accept(key)
    for number in range(1, RETRIES + 1):
        _same_result(first, trial.place(key), f"retry {number}")


@rule(Level.SHOULD, draft("2.6"), "A retry's answer has the Location and Content-Type of the first.", requests=2)
def replay_fields(trial: Trial) -> None:
    key = trial.new_key()
    first = trial.accept(key)
    again = trial.place(key)
    for name in ("Location", "Content-Type"):
        if first.header(name) != again.header(name):
            raise Failed(f"{name} was {first.header(name)}, and {again.header(name)} in the retry's answer")


@rule(
    Level.ADVICE,
    OUTAGES,
    "A retry's answer is the first one byte by byte: clients compare, sign and log it.",
    requests=2,
)
def replay_bytes(trial: Trial) -> None:
    key = trial.new_key()
    first = trial.accept(key)
    if trial.place(key).body != first.body:
        raise Failed("the contents of the two answers differ")


@rule(
    Level.ADVICE,
    OUTAGES,
    "A retry's answer says that it is one, by the header that the profile names; the first answer has no such header.",
    requests=2,
)
def replay_marked(trial: Trial) -> None:
    name = trial.profile.replay_header
    if name is None:
        raise NotApplicable("the profile names no promises.replay_header")
    key = trial.new_key()
    if trial.accept(key).header(name) is not None:
        raise Failed(f"the first answer has {name}")
    if trial.place(key).header(name) is None:
        raise Failed(f"the retry's answer has no {name}")


@rule(Level.SHOULD, draft("2.5.2"), "A request and its retries have one effect.", requests=2 + 2)
def replay_one_effect(trial: Trial) -> None:
    before = trial.count()
    key = trial.new_key()
    trial.accept(key)
    trial.place(key)
    if (made := trial.count() - before) != 1:
        raise Failed(f"{made} resources were made")


@rule(
    Level.ADVICE,
    f"{OUTAGES}; {draft('2.6')}",
    "A retry is answered as the first request was, also after the resource has changed.",
    requests=3,
)
def replay_after_change(trial: Trial) -> None:
    if trial.profile.change is None:
        raise NotApplicable("the profile has no hooks.change")
    key = trial.new_key()
    first = trial.accept(key)
    trial.run_hook(trial.profile.change, first)
    _same_result(first, trial.place(key), "the retry after the change")


@rule(Level.SHOULD, draft("2.7"), "A key that is used again with other contents is answered 422.", requests=2)
def reuse(trial: Trial) -> None:
    if (answer := _reused(trial, trial.new_key())).status != 422:
        raise Failed(f"a key that was used again with other contents was answered {answer.status}")


@rule(
    Level.SHOULD,
    draft("2.7"),
    "The refusal of a key that is used again links to documentation, in its content or by the header Link.",
    requests=2,
)
def reuse_link(trial: Trial) -> None:
    answer = _reused(trial, trial.new_key())
    if answer.accepted:
        raise NotApplicable(f"a key that is used again is not refused here ({answer.status})")
    if not documentation_link(answer):
        raise Failed("the answer has no link to documentation")


@rule(
    Level.MUST,
    draft("2.7"),
    "What was refused for its key (it is missing, or used again) fails again as long as it is not corrected: with 400, "
    "409 or 422.",
    requests=5,
)
def refused_again(trial: Trial) -> None:
    key = trial.new_key()
    trial.accept(key)
    attempts: dict[str, tuple[str | None, Payload]] = {"a key that is used again": (key, Payload.OTHER)}
    if trial.profile.key_required:
        attempts["a key that is missing"] = (None, Payload.FIRST)
    tried = False
    for what, (sent, payload) in attempts.items():
        if not trial.place(sent, payload).refused:
            continue
        tried = True
        if (again := trial.place(sent, payload)).status not in ERRORS_OF_KEYS:
            raise Failed(f"{what} was refused, and then answered {again.status}")
    if not tried:
        raise NotApplicable("no request is refused for its key here")


@rule(
    Level.ADVICE,
    OUTAGES,
    "A key that is used again with other contents still names the first request, and has no other effect.",
    requests=3,
)
def reuse_harmless(trial: Trial) -> None:
    key = trial.new_key()
    first = trial.accept(key)
    other = trial.place(key, Payload.OTHER)
    if other.accepted and trial.resource(other) != trial.named(first):
        raise Failed("the other contents made another resource with the same key")
    _same_result(first, trial.place(key), "the retry after it")


@rule(
    Level.ADVICE,
    f"{draft('1')}: the header is for methods that are not idempotent",
    "A safe method has no use for a key: GET answers as without one, and does not use it up.",
    requests=4,
)
def safe_methods(trial: Trial) -> None:
    fresh = trial.new_key()
    trial.get(trial.template.route, fresh)
    answer = trial.place(fresh)
    if not answer.accepted:
        raise Failed(f"a key that only a GET had was answered {answer.status}")
    there = trial.location(answer) or trial.template.route
    without, with_key = trial.get(there), trial.get(there, fresh)
    if without.status != with_key.status:
        raise Failed(f"GET was answered {without.status}, and {with_key.status} with a key that was used")


def _same_result(first: Answer, again: Answer, what: str) -> None:
    if again.status != first.status:
        raise Failed(f"the first answer was {first.status}, that to {what} {again.status}")
    same = first.body == again.body or (first.document is not None and first.document == again.document)
    if not same:
        raise Failed(f"the contents of the first answer and of that to {what} differ")


def _reused(trial: Trial, key: str) -> Answer:
    trial.accept(key)
    return trial.place(key, Payload.OTHER)
