"""What the ports' own values promise."""

from datetime import timedelta

import pytest

from chalicelib import times
from chalicelib.use_cases.ports import Page
from tests.support.orders import NOW, an_order


@pytest.mark.parametrize(("number", "half"), [(1, 1), (2, 1), (3, 2), (4, 2), (7, 4), (100, 50)])
def test_the_first_half_of_a_page_ends_where_the_next_page_starts(number: int, half: int) -> None:
    orders = tuple(an_order(f"o{n}", created_at=NOW - timedelta(seconds=n)) for n in range(number))
    start = times.to_text(NOW - timedelta(seconds=half - 1)), f"o{half - 1}"
    for next_start in (None, ("a time", "an id")):
        assert Page(orders, next_start).first_half() == Page(orders[:half], start)
