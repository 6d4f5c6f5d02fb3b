"""Two ids that a person cannot tell apart are one, or refused."""

import pytest

from chalicelib.domain import ids
from chalicelib.domain.payment_key import fresh_payment_key, names_payment_of, payment_key_of_message

SEEN = ["a", "A-1_é", "X", "𝒳", "x" * 64, "…", "..."]
UNSEEN = ["a b", "a\u200bb", "a\u00a0b", "a\nb", "a\u2028b", "a\u2029b", "a\ue000b", "a\ud800b", "\u00adab"]
UNCOMPOSED = ["e\u0301", "\u212b"]


@pytest.mark.parametrize("text", [*SEEN, *UNCOMPOSED])
def test_characters_that_can_be_seen_are(text: str) -> None:
    assert ids.is_visible(text)


@pytest.mark.parametrize("text", UNSEEN)
def test_separators_controls_formats_private_use_and_surrogates_cannot_be_seen(text: str) -> None:
    assert not ids.is_visible(text)
    assert not ids.is_product_id(text)


@pytest.mark.parametrize("text", UNCOMPOSED)
def test_the_same_letters_are_the_same_characters(text: str) -> None:
    assert not ids.is_composed(text)
    assert not ids.is_product_id(text)


def test_a_compatibility_form_is_another_text_and_not_refused() -> None:
    assert ids.is_composed("ﬁ")


@pytest.mark.parametrize(("text", "stays"), [(".", False), ("..", False), ("...", True), ("", True), ("a", True)])
def test_dots_do_not_stay_in_a_path(text: str, stays: bool) -> None:
    assert ids.is_path_segment(text) is stays


def test_a_product_id_has_at_most_64_characters_and_neither_slash_nor_percent() -> None:
    assert all(map(ids.is_product_id, SEEN))
    assert not any(map(ids.is_product_id, ["x" * 65, "a/b", "a%b"]))


# --- the payment key ---


def test_a_payment_key_begins_with_its_order() -> None:
    key = fresh_payment_key("o1")
    assert (key[:3], names_payment_of(key, "o1"), fresh_payment_key("o1") == key) == ("o1.", True, False)


def test_a_message_without_a_key_has_the_same_one_each_time() -> None:
    assert payment_key_of_message("o1", "m1") == "o1.5e6f80cc-29c3-5101-b20b-13f35ccd4384"  # of every release
    assert payment_key_of_message("o1", "m2") != payment_key_of_message("o1", "m1")


UUID = "0d3d9a35-93b5-5b0e-8f5c-3a1f6f2f4c11"


@pytest.mark.parametrize(
    "key",
    [
        f"o2.{UUID}",
        f"o1{UUID}",
        f"o1.{UUID}0",
        f"o1.{UUID.upper()}",
        f"xo1.{UUID}",
        f"o1.{UUID}\n",
        "o1.",
        "",
    ],
)
def test_no_other_text_is_a_key_of_this_order(key: str) -> None:
    assert not names_payment_of(key, "o1")
