"""Which order a request names: the idempotency key, the order id made of it, and the fingerprint.

Pure. The same request always names the same order, so the order is its own idempotency record (docs/design.md).
"""

import hashlib
import json
import re
import uuid
from collections.abc import Callable
from dataclasses import asdict

from chalicelib.domain.order import two_decimals
from chalicelib.domain.request import Content, HasContent

_NAMESPACE = uuid.UUID("6f1b8a52-6c0e-5c56-9d1c-0d3a5f0b7e11")
"""Never change it: every order id ever made of a key depends on it."""

ORDER_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
"""What an order id looks like, whoever named it."""

_ROUTE = "POST /orders"
_BARE = re.compile(r"(?!\")[\x21-\x2b\x2d-\x7e]{1,255}", re.ASCII)
_QUOTED = re.compile(r'"((?:[\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"', re.ASCII)
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_ESCAPE = re.compile(r'\\(["\\])')


class UnknownVersion(KeyError):
    """A newer release wrote the fingerprint: neither "the same" nor "different" would be a safe answer."""


class InvalidKey(Exception):
    """The Idempotency-Key header is not 1 to 255 visible ASCII characters, bare (without a comma) or quoted."""


def parse_key(header: str) -> str:
    """The key that a header value names. A bare value and a quoted string name the same key.

    The quoted form is the String of RFC 8941, as draft-ietf-httpapi-idempotency-key-header has it. Only there may a
    comma be part of the key: proxies join repeated headers by one. Raises InvalidKey.
    """
    value = header.strip(" \t")
    if value.startswith('"'):
        quoted = _QUOTED.fullmatch(value)
        key = _ESCAPE.sub(r"\1", quoted[1]) if quoted else ""
        if not 1 <= len(key) <= 255:
            raise InvalidKey
        return key
    if not _BARE.fullmatch(value):
        raise InvalidKey
    return value


def order_id_from_key(customer_id: str, key: str) -> str:
    """The one order that this key of this customer can ever name."""
    return _name("key", customer_id, key)


def claim_id(customer_id: str, fingerprint: str) -> str:
    """The claim that a request without a key makes to an order id: the body is the key."""
    return _name("body", customer_id, hashlib.sha256(fingerprint.encode()).hexdigest())


def fresh_order_id() -> str:
    """An id that no other order has."""
    return str(uuid.uuid4())


def _name(kind: str, customer_id: str, key: str) -> str:
    # JSON keeps the parts apart: no two pairs of customer and key can run together.
    return str(uuid.uuid5(_NAMESPACE, json.dumps([_ROUTE, kind, customer_id, key])))


def _v1(content: Content) -> str:
    canonical = _canonical(
        {
            "customerId": content.customer_id,
            "items": content.quantities,
            "totalAmount": str(two_decimals(content.total_amount)),
            "currency": content.currency,
            "shippingAddress": asdict(content.shipping_address) if content.shipping_address else None,
        }
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


_CURRENT = "v1"
_VERSIONS: dict[str, Callable[[Content], str]] = {"v1": _v1}


def fingerprint(order: HasContent) -> str:
    """`v1:` and 64 hexadecimal digits: equal for two requests exactly if they ask for the same thing."""
    return f"{_CURRENT}:{_VERSIONS[_CURRENT](Content.from_order(order))}"


def agrees(stored: str, order: HasContent) -> bool:
    """Whether a stored fingerprint, of whatever version, is that of this order or request.

    Raises UnknownVersion.
    """
    version, _, digest = stored.partition(":")
    if version not in _VERSIONS:
        raise UnknownVersion(f"the fingerprint's version {version!r} is unknown to this release")
    return _VERSIONS[version](Content.from_order(order)) == digest
