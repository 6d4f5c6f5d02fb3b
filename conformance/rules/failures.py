"""What a request that did not succeed leaves behind."""

from collections.abc import Iterator
from contextlib import contextmanager

from conformance.rule import OUTAGES, Level, draft, rfc, rule
from conformance.template import Payload
from conformance.trial import MAX_WAITS, Failed, NotApplicable, Trial
from conformance.wire import Answer


@rule(
    Level.SHOULD,
    draft("2.6"),
    "A request that was refused as invalid is refused in the same way when it is sent again.",
    requests=2,
)
def replay_refusal(trial: Trial) -> None:
    key = trial.new_key()
    first = _invalid(trial, key)
    again = trial.place(key, Payload.INVALID)
    if again.status != first.status:
        raise Failed(f"an invalid request was answered {first.status}, and {again.status} when it was sent again")


@rule(
    Level.ADVICE,
    OUTAGES,
    "A request that is refused as invalid does not use up its key: corrected, it succeeds with the same one.",
    requests=2,
)
def invalid_frees_key(trial: Trial) -> None:
    key = trial.new_key()
    _invalid(trial, key)
    answer = trial.place(key)
    if not answer.accepted:
        raise Failed(f"the corrected request was answered {answer.status}")


@rule(Level.ADVICE, OUTAGES, "A request with a key and no content has an answer that is not a fault (5xx).", requests=1)
def empty_content(trial: Trial) -> None:
    answer = trial.place(trial.new_key(), Payload.EMPTY)
    if answer.status >= 500:
        raise Failed(f"a request without content was answered {answer.status}")


@rule(
    Level.ADVICE,
    OUTAGES,
    "A failure of the service (5xx) is not remembered: afterwards the retry succeeds, and there has been one effect.",
    requests=2 + 2 + 1 + 1 + MAX_WAITS,
)
def failure_forgotten(trial: Trial) -> None:
    before = trial.count() if trial.profile.count_path else 0
    key = trial.new_key()
    with _failing(trial):
        _failed(trial, key)
    answer = trial.place_until_done(key)
    if not answer.accepted:
        raise Failed(f"after the failure the retry was answered {answer.status}")
    if trial.profile.count_path and (made := trial.count() - before) != 1:
        raise Failed(f"{made} resources were made")


@rule(
    Level.ADVICE,
    f"{OUTAGES}; {rfc(9110, '15.6.4')}",
    "A service that cannot do its work for a moment says so (503), and when to try again (Retry-After).",
    requests=3,
)
def failure_says_when(trial: Trial) -> None:
    with _failing(trial):
        answer = _failed(trial, trial.new_key())
    if answer.status != 503:
        raise Failed(f"the answer was {answer.status}")
    if answer.header("Retry-After") is None:
        raise Failed("the 503 has no Retry-After")


def _invalid(trial: Trial, key: str) -> Answer:
    if trial.profile.invalid_body is None:
        raise NotApplicable("the profile has no request.invalid_body")
    answer = trial.place(key, Payload.INVALID)
    if not answer.refused:
        raise NotApplicable(f"the profile's invalid_body is not refused here ({answer.status})")
    return answer


@contextmanager
def _failing(trial: Trial) -> Iterator[None]:
    if trial.profile.fail is None or trial.profile.recover is None:
        raise NotApplicable("the profile has no hooks.fail and hooks.recover")
    trial.run_hook(trial.profile.fail)
    try:
        yield
    finally:
        trial.run_hook(trial.profile.recover)


def _failed(trial: Trial, key: str) -> Answer:
    answer = trial.place(key)
    if answer.status < 500:
        raise NotApplicable(f"the hook did not make the request fail ({answer.status})")
    return answer
