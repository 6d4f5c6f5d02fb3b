"""One run: every rule, one after the other, against one API."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from conformance.profile import Profile
from conformance.rule import Level, Result, Rule, Verdict
from conformance.trial import Failed, NotApplicable, OutOfTime, Trial
from conformance.wire import Exchange, Wire

REQUESTS_BEFORE = 2
"""Of `first_request`."""


class Unusable(Exception):
    """The run says nothing about the API; the text is one sentence."""


@dataclass(frozen=True)
class Run:
    """What was found about the API at `url`."""

    url: str
    profile: Profile
    verdicts: tuple[Verdict, ...]

    def failed(self, strict: bool) -> list[Verdict]:
        """What the run fails for: each MUST that is not kept and, if strict, each SHOULD."""
        counts = {Level.MUST, Level.SHOULD} if strict else {Level.MUST}
        return [one for one in self.verdicts if one.result is Result.FAIL and one.rule.level in counts]


def max_requests(rules: Sequence[Rule]) -> int:
    """How many requests a run sends at most, hooks included."""
    return REQUESTS_BEFORE + sum(rule.requests for rule in rules)


def run(profile: Profile, url: str, rules: Sequence[Rule], time_limit: float) -> Run:
    """Try every rule. Raises Unreachable, ProfileError, Unusable."""
    wire = Wire(url, profile.timeout_seconds)
    wire.reach()
    try:
        return Run(wire.url, profile, tuple(_verdicts(profile, wire, rules, time.monotonic() + time_limit)))
    except OutOfTime as error:
        raise Unusable(f"The time limit of {time_limit:g} seconds was over before every rule was tried.") from error


def _verdicts(profile: Profile, wire: Wire, rules: Sequence[Rule], deadline: float) -> Iterator[Verdict]:
    quoted, earlier = _first_request(profile, wire, deadline)
    for rule in rules:
        trial = Trial(profile, wire, quoted=quoted, budget=rule.requests, deadline=deadline, earlier=tuple(earlier))
        verdict = _verdict(rule, trial)
        earlier += trial.exchanges
        yield verdict


def _first_request(profile: Profile, wire: Wire, deadline: float) -> tuple[bool, list[Exchange]]:
    """Whether the API takes keys in quotes. It must accept the request of the profile, with a key in quotes or bare."""
    exchanges: list[Exchange] = []
    for quoted in (True, False):
        trial = Trial(profile, wire, quoted=quoted, budget=1, deadline=deadline, earlier=())
        try:
            answer = trial.place(trial.new_key())
        except Failed as error:
            raise Unusable(f"Nothing can be said of {wire.url}: {error}.") from error
        exchanges += trial.exchanges
        if answer.accepted:
            return quoted, exchanges
    text = answer.body[:300].decode("utf-8", "replace")
    raise Unusable(f"The profile's request is not accepted ({answer.status}): {text}")


def _verdict(rule: Rule, trial: Trial) -> Verdict:
    try:
        rule.check(trial)
    except Failed as failed:
        shown_by = (failed.shown_by,) if failed.shown_by else tuple(trial.exchanges)
        return Verdict(rule, Result.FAIL, str(failed), shown_by)
    except NotApplicable as reason:
        return Verdict(rule, Result.NOT_APPLICABLE, str(reason), tuple(trial.exchanges))
    return Verdict(rule, Result.PASS, "", tuple(trial.exchanges))
