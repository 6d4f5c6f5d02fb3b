"""What an id may look like: two that a person cannot tell apart are one, or refused."""

import unicodedata

MAX_PRODUCT_ID_LENGTH = 64
MAX_CUSTOMER_ID_LENGTH = 128

_UNSEEN = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp", "Zs"})
"""The general categories of controls, formats, private use, surrogates and separators (Unicode, table 4-4)."""


def is_visible(text: str) -> bool:
    """Whether each of its characters can be seen."""
    if text.isascii():
        return text.isprintable() and " " not in text
    return not any(unicodedata.category(character) in _UNSEEN for character in text)


def is_composed(text: str) -> bool:
    """Whether it is in normalization form C: the same letters are the same characters."""
    return unicodedata.is_normalized("NFC", text)


def is_path_segment(text: str) -> bool:
    """Whether it stays what it is in a path: clients resolve `.` and `..` before they send it."""
    return text not in (".", "..")


def is_product_id(text: str) -> bool:
    """Whether an order may name such a product."""
    return _is_id(text, MAX_PRODUCT_ID_LENGTH)


def is_customer_id(text: str) -> bool:
    """Whether an order may be of such a customer."""
    return _is_id(text, MAX_CUSTOMER_ID_LENGTH) and is_path_segment(text)


def _is_id(text: str, max_length: int) -> bool:
    allowed = 1 <= len(text) <= max_length and not set("/%") & set(text)
    return allowed and is_visible(text) and is_composed(text)
