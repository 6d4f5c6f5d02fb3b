"""What goes wrong between two requests: they come at the same time, or the first one's answer is lost."""

from conformance.rule import OUTAGES, Level, draft, rule
from conformance.trial import CONCURRENT, MAX_WAITS, Failed, NotApplicable, Trial


@rule(
    Level.SHOULD,
    draft("2.6"),
    "Equal requests at the same time are answered with one result, or with 409 while the first is being processed.",
    requests=CONCURRENT,
)
def concurrent_answers(trial: Trial) -> None:
    answers = trial.place_together(trial.new_key())
    others = sorted({answer.status for answer in answers if not answer.accepted and answer.status != 409})
    if others:
        raise Failed(f"equal requests at the same time were answered {', '.join(map(str, others))}")
    accepted = [answer for answer in answers if answer.accepted]
    if not accepted:
        raise Failed("equal requests at the same time were all answered 409")
    if len({trial.named(answer) for answer in accepted}) > 1:
        raise Failed("equal requests at the same time made more than one resource")


@rule(
    Level.SHOULD,
    draft("2.7"),
    "The 409 for a request that is being processed describes the problem, in its content or by the header Link.",
    requests=CONCURRENT,
)
def concurrent_conflict(trial: Trial) -> None:
    conflicts = [answer for answer in trial.place_together(trial.new_key()) if answer.status == 409]
    if not conflicts:
        raise NotApplicable("no request was answered 409")
    if any(not answer.body.strip() and not answer.header("Link") for answer in conflicts):
        raise Failed("a 409 has neither content nor Link")


@rule(
    Level.ADVICE, OUTAGES, "Equal requests at the same time have one effect.", requests=2 + CONCURRENT + 1 + MAX_WAITS
)
def concurrent_one_effect(trial: Trial) -> None:
    before = trial.count()
    key = trial.new_key()
    trial.place_together(key)
    trial.place_until_done(key)
    if (made := trial.count() - before) != 1:
        raise Failed(f"{made} resources were made")


@rule(
    Level.ADVICE,
    OUTAGES,
    "A request whose answer was lost is sent again, succeeds, and has had one effect.",
    requests=2 + 1 + 1 + MAX_WAITS,
)
def lost_answer(trial: Trial) -> None:
    before = trial.count()
    key = trial.new_key()
    trial.hang_up(key)
    answer = trial.place_until_done(key)
    if not answer.accepted:
        raise Failed(f"the retry was answered {answer.status}")
    if (made := trial.count() - before) != 1:
        raise Failed(f"{made} resources were made")
