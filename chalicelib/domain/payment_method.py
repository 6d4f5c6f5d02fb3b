"""The payment method that an order names: a token of the payment provider, such as Stripe's `pm_…`, never a card."""

import re
from collections.abc import Sequence
from itertools import accumulate, islice

_SHORTEST, _LONGEST = 12, 19
"""Digits of a card number: the most are ISO/IEC 7812-1's, the fewest those that are in use."""

_RUN = re.compile(rf"[0-9](?:[\W_]*[0-9]){{{_SHORTEST - 1},}}")
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
"""Each digit twice, and the digits of that added."""


def has_no_card_number(text: str) -> bool:
    """Whether nothing in it looks like a card number: 12 to 19 digits that end in the right check digit.

    What is no letter and no digit does not count between digits, and more digits before and after them do not help.
    """
    runs = ([int(character) for character in reversed(run) if character.isdigit()] for run in _RUN.findall(text))
    return not any(_has_check_digit(run[at : at + _LONGEST]) for run in runs for at in range(len(run)))


def _has_check_digit(digits: Sequence[int]) -> bool:
    """Whether the first 12 of them, or more, read backwards are right by Luhn's algorithm (ISO/IEC 7812-1, annex B)."""
    sums = accumulate(_DOUBLED[digit] if place % 2 else digit for place, digit in enumerate(digits))
    return any(total % 10 == 0 for total in islice(sums, _SHORTEST - 1, None))
