"""Every call × every fault: whatever goes wrong at whichever call, in the end every promise is kept.

`tests/support/faults.py` has the faults, and says below what they are put in; `scenarios.py` has what is struck.
FAULTS=all (`make faults`) tries more: every refusal at every call, and more pairs.
"""

from itertools import product

import pytest

from tests.faults.scenarios import ALL, SCENARIOS, Record, trial
from tests.support.stage import Stage

pytestmark = pytest.mark.usefixtures("quiet")

PAIRS = {
    "place with a key": ("lost", "killed before", "killed after"),
    "place without a key": ("lost", "killed before", "killed after"),
    "fulfil one": ("lost", "killed after"),
}
if ALL:
    PAIRS = dict.fromkeys(PAIRS, ("dropped", "lost", "late", "conflict", "killed before", "killed after"))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_whatever_goes_wrong_at_whichever_call_every_promise_is_kept(
    real_tables: Stage, scenario: str, record_property: Record
) -> None:
    with trial(real_tables, scenario) as one:
        struck = [one.schedule({number: fault}) for number, fault in one.places()]
        assert struck
        assert all(struck)
        record_property("schedules", ("one fault at one call", len(struck)))


@pytest.mark.parametrize("scenario", PAIRS)
def test_whatever_goes_wrong_twice_every_promise_is_kept(
    real_tables: Stage, scenario: str, record_property: Record
) -> None:
    """At one call of the first attempt, and at one of the second."""
    with trial(real_tables, scenario) as one:
        places = one.places(PAIRS[scenario])
        struck = [one.schedule(dict([first]), dict([second])) for first, second in product(places, places)]
        assert any(struck)
        record_property("schedules", ("two faults, in two attempts", sum(struck)))
