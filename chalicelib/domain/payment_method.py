"""The payment method that an order names: a token of the payment provider, such as Stripe's `pm_…`, never a card."""

import re
from collections.abc import Sequence

_SHORTEST, _LONGEST = 12, 19
"""Digits of a card number: the most are ISO/IEC 7812-1's, the fewest those that are in use."""

_RUN = re.compile(rf"[0-9](?:[ -]*[0-9]){{{_SHORTEST - 1},}}")
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
"""Each digit twice, and the digits of that added."""


def has_no_card_number(text: str) -> bool:
    """Whether nothing in it looks like a card number: 12 to 19 digits that end in the right check digit.

    Spaces and dashes between digits do not count, and more digits before and after them do not help.
    """
    runs = ([int(character) for character in run if character not in " -"] for run in _RUN.findall(text))
    return not any(
        _ends_in_a_card_number(digits[max(0, end - _LONGEST) : end])
        for digits in runs
        for end in range(_SHORTEST, len(digits) + 1)
    )


def _ends_in_a_card_number(digits: Sequence[int]) -> bool:
    """Whether the last 12 of them, or more, add up by Luhn's algorithm (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        total += _DOUBLED[digit] if place % 2 else digit
        if place + 1 >= _SHORTEST and total % 10 == 0:
            return True
    return False
