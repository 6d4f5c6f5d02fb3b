"""Every call × every fault: whatever goes wrong at whichever call, in the end every promise is kept.

`tests/support/faults.py` has the faults, and says below what they are put in; `scenarios.py` has what is struck.
FAULTS=all (`make faults`) tries more: `useful` says what is left out otherwise, of equal calls in a row only the first
and the last are struck, and there are fewer pairs.
"""

from itertools import count, product

import pytest

from tests.faults.scenarios import ALL, PAYING, SCENARIOS, WITH, Record, trial
from tests.support.stage import Stage

pytestmark = pytest.mark.usefixtures("quiet")

PAIRS: dict[tuple[str, str], tuple[str, ...]] = {
    ("simulated", "place with a key"): ("lost", "killed before", "killed after"),
    ("simulated", "fulfil one"): ("lost", "killed after"),
    ("stripe", "fulfil one"): ("lost",),
}
if ALL:
    EVERY = ("dropped", "lost", "late", "conflict", "killed before", "killed after")
    PAIRS = {
        **{("simulated", scenario): EVERY for scenario in ("place with a key", "place without a key", "fulfil one")},
        ("stripe", "fulfil one"): ("lost", "killed after"),
    }

TRIALS = [*(("simulated", scenario) for scenario in SCENARIOS), *(("stripe", scenario) for scenario in PAYING)]


@pytest.mark.parametrize(("provider", "scenario"), TRIALS)
def test_whatever_goes_wrong_at_whichever_call_every_promise_is_kept(
    real_tables: Stage, provider: str, scenario: str, record_property: Record
) -> None:
    with trial(real_tables, scenario, provider) as one:
        struck = [one.schedule({number: fault}) for number, fault in one.places()]
        assert struck
        assert all(struck)
        record_property("schedules", (f"one fault at one call{WITH[provider]}", len(struck)))


@pytest.mark.parametrize(("provider", "scenario"), PAIRS)
def test_whatever_goes_wrong_twice_every_promise_is_kept(
    real_tables: Stage, provider: str, scenario: str, record_property: Record
) -> None:
    """At one call of the first attempt, and at one of the second."""
    with trial(real_tables, scenario, provider) as one:
        places = one.places(PAIRS[provider, scenario])
        struck = [one.schedule(dict([first]), dict([second])) for first, second in product(places, places)]
        assert any(struck)
        record_property("schedules", (f"two faults, in two attempts{WITH[provider]}", sum(struck)))


@pytest.mark.parametrize("scenario", PAYING)
def test_whoever_overtakes_at_whichever_call_of_stripe_every_promise_is_kept(
    real_tables: Stage, scenario: str, record_property: Record
) -> None:
    with trial(real_tables, scenario, "stripe") as one:
        overtaken = [one.overtaken(call.number) for call in one.calls()]
        assert all(overtaken)
        record_property("schedules", (f"somebody else before one call{WITH['stripe']}", len(overtaken)))


def test_whoever_pays_after_another_was_declined_and_died_breaks_no_promise(
    real_tables: Stage, record_property: Record
) -> None:
    with trial(real_tables, "fulfil one", "stripe") as one:
        died = next(number for number in count() if not one.pays_too_late(number))
        assert died > 5
        record_property("schedules", (f"a decline before a payment{WITH['stripe']}", died))
