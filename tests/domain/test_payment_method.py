"""No card number gets in as a payment method, however it is written and whatever is around it."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.payment_method import has_no_card_number

TEST_CARDS = [
    *("4242424242424242", "4000056655665556", "5555555555554444", "2223003122003222", "5105105105105100"),
    *("378282246310005", "6011111111111117", "3056930009020004", "36227206271667", "3566002020360505"),
    *("6200000000000005", "6304000000000000", "6759649826438453", "4111111111111111110", "501800000009"),
]
"""Those that payment providers publish, of 12 to 19 digits."""

AROUND = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40)
BETWEEN = st.sampled_from(["", "", "", " ", "-", " - ", "_", ".", "/", ", "])


def luhn(digits: str) -> bool:
    """As ISO/IEC 7812-1, annex B, has it."""
    doubled = (2 * int(digit) for digit in digits[-2::-2])
    return (sum(map(int, digits[::-2])) + sum(n // 10 + n % 10 for n in doubled)) % 10 == 0


def cards_in(text: str) -> list[str]:
    """Every card number in it, by looking at each part of the text."""
    bare = "".join(character for character in text if character.isalnum())
    parts = (bare[at : at + size] for at, size in product(range(len(bare)), range(12, 20)) if at + size <= len(bare))
    return [part for part in parts if part.isdigit() and luhn(part)]


@st.composite
def card_numbers(draw: st.DrawFn) -> str:
    """12 to 19 digits with their check digit, in groups or not."""
    payload = draw(st.text("0123456789", min_size=11, max_size=18))
    (check,) = (digit for digit in "0123456789" if luhn(payload + digit))
    return "".join(digit + draw(BETWEEN) for digit in payload) + check


@given(AROUND, card_numbers(), AROUND)
def test_a_card_number_is_found_whatever_is_around_it_and_between_its_digits(
    before: str, card: str, after: str
) -> None:
    assert not has_no_card_number(before + card + after)


@pytest.mark.parametrize("card", TEST_CARDS)
def test_the_test_cards_of_payment_providers_are_found(card: str) -> None:
    for written in (
        card,
        f"pm_{card}",
        f"{card}/12/34",
        "-".join(card),
        "_".join((card[:4], card[4:8], card[8:])),
        " ".join((card[:4], card[4:])),
    ):
        assert not has_no_card_number(written)


@given(st.text("0123456789 -_.", max_size=40) | AROUND | st.text("09x-", max_size=30) | st.text("٣1", max_size=20))
def test_a_text_is_taken_exactly_if_no_part_of_it_is_a_card_number(text: str) -> None:
    ascii_only = "".join(character if character.isascii() else "x" for character in text)
    assert has_no_card_number(text) is (not cards_in(ascii_only))


@pytest.mark.parametrize(
    "token", ["pm_1MqLiJLkdIwHu7ixUEgbFdYl", "pm_card_visa", "tok_1N3T00LkdIwHu7ixt44h1F8k", "4111111111", "1" * 19, ""]
)
def test_a_token_is_taken(token: str) -> None:
    assert has_no_card_number(token)
