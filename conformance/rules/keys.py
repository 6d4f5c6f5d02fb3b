"""What a key is: its syntax, and which keys are the same."""

from conformance.rule import OUTAGES, Level, draft, rfc, rule
from conformance.template import Payload
from conformance.trial import Failed, NotApplicable, Trial

LONG = 1000


@rule(Level.MUST, draft("2.1"), "A key that is a String, in double quotes, is accepted.", requests=1)
def string_key(trial: Trial) -> None:
    answer = trial.place_raw(f'"{trial.new_key()}"')
    if not answer.accepted:
        raise Failed(f"a UUID in double quotes was answered {answer.status}")


@rule(
    Level.ADVICE,
    f"{OUTAGES}; {draft('2.1')}",
    "A key without quotes is honoured or refused, never ignored: who forgets the quotes must not buy twice.",
    requests=2,
)
def bare_key(trial: Trial) -> None:
    _honoured_or_refused(trial, trial.new_key(), None, "a key without quotes")


@rule(
    Level.ADVICE,
    rfc(8941, "3.3"),
    "A key with a parameter is the key without it, or is refused: an Item may have parameters.",
    requests=2,
)
def key_parameters(trial: Trial) -> None:
    key = f'"{trial.new_key()}"'
    _honoured_or_refused(trial, key, f"{key};v=1", "the key with a parameter")


@rule(Level.ADVICE, draft("5"), "An empty key is refused: it would be the same one for all who have none.", requests=2)
def empty_key(trial: Trial) -> None:
    for value in ("", '""'):
        answer = trial.place_raw(value)
        if not answer.refused:
            raise Failed(f"the key {value or 'without a character'} was answered {answer.status}")


@rule(
    Level.ADVICE,
    draft("5"),
    "A value that is not a key (a quote that is not closed, a character beyond ASCII) is refused.",
    requests=2,
)
def malformed_key(trial: Trial) -> None:
    for value in (f'"{trial.new_key()}', f'"{trial.new_key()}é"'):
        answer = trial.place_raw(value)
        if not answer.refused:
            raise Failed(f"the value {value} was answered {answer.status}")


@rule(
    Level.ADVICE,
    f"{rfc(9110, '5.3')}; {draft('2.1')}",
    "Two keys in one request are refused: the field is not a list, and to choose one is to guess.",
    requests=1,
)
def two_keys(trial: Trial) -> None:
    answer = trial.place_raw(trial.template.written(trial.new_key()), trial.template.written(trial.new_key()))
    if not answer.refused:
        raise Failed(f"a request with two keys was answered {answer.status}")


@rule(
    Level.ADVICE,
    draft("5"),
    f"A key of {LONG} characters is kept whole or refused, never cut off: two that differ at the end are two.",
    requests=2,
)
def long_key(trial: Trial) -> None:
    key = (trial.new_key() * LONG)[: LONG - 1]
    _kept_whole(trial, trial.template.written(f"{key}a"), trial.template.written(f"{key}b"))


@rule(
    Level.ADVICE,
    draft("2.1"),
    "A key with a comma in its quotes is kept whole or refused, never split: two that differ after it are two.",
    requests=2,
)
def comma_in_key(trial: Trial) -> None:
    key = trial.new_key()
    _kept_whole(trial, f'"{key},a"', f'"{key},b"')


@rule(Level.SHOULD, draft("2.6"), "A key that differs from a known one only in case is a new key.", requests=2)
def case_of_key(trial: Trial) -> None:
    key = f"key-{trial.new_key()}"
    first = trial.accept(key)
    _another(trial, trial.named(first), key.upper(), "the key in capitals")


@rule(
    Level.SHOULD,
    draft("2.6"),
    "A new key is a new request, also with the contents of an earlier one.",
    requests=2,
)
def new_key(trial: Trial) -> None:
    first = trial.accept(trial.new_key())
    _another(trial, trial.named(first), trial.new_key(), "the same contents with a new key")


@rule(
    Level.ADVICE,
    draft("5"),
    "A key belongs to its caller: the same key of another caller is a new request, and shows nothing of the first.",
    requests=2,
)
def keys_of_callers(trial: Trial) -> None:
    if trial.profile.second_caller is None:
        raise NotApplicable("the profile has no second_caller")
    key = trial.new_key()
    first = trial.accept(key)
    name = trial.named(first)
    other = trial.place(key, second_caller=True)
    if not other.accepted:
        raise Failed(f"a second caller's request with the key of a first one was answered {other.status}")
    if trial.named(other) == name:
        raise Failed(f"a second caller was given {name}, the first one's resource")


def _honoured_or_refused(trial: Trial, first: str, again: str | None, what: str) -> None:
    answer = trial.place_raw(first)
    if again is None and answer.refused:
        return
    if not answer.accepted:
        raise NotApplicable(f"a first request with the key {first} was answered {answer.status}")
    name = trial.named(answer)
    repeated = trial.place_raw(again or first)
    if repeated.refused:
        return
    if trial.resource(repeated) != name:
        raise Failed(f"{what} was sent twice, and made two resources (or the answer {repeated.status})")


def _kept_whole(trial: Trial, key: str, other: str) -> None:
    """With other contents, so that a key that is cut off or split shows as one that is reused."""
    first = trial.place_raw(key)
    if first.refused:
        return
    if not first.accepted:
        raise Failed(f"the key was answered {first.status}")
    name = trial.named(first)
    second = trial.place_raw(other, payload=Payload.OTHER)
    if not second.accepted or trial.resource(second) == name:
        raise Failed(f"a key that differs only at its end was taken for the same one ({second.status})")


def _another(trial: Trial, name: str, key: str, what: str) -> None:
    answer = trial.place(key)
    if not answer.accepted:
        raise Failed(f"{what} was answered {answer.status}")
    if trial.named(answer) == name:
        raise Failed(f"{what} was answered with the first request's resource, {name}")
