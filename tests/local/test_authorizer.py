"""The laptop's authorizer lets in who has an access token of the pool, and hands on what the token says."""

from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import KeySet
from moto.utilities.utils import load_resource

from local.authorizer import TokenRefused, TokenVerifier
from local.tokens import signed
from tests.support.tokens import Forger, encoded, refused_headers

ISSUER = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_pool"
JWKS = load_resource("cognitoidp/resources/jwks-public.json")
SCOPES = ["aws.cognito.signin.user.admin", "orderonce/service"]
CLAIMS = {
    "iss": ISSUER,
    "sub": "1b9c",
    "username": "alice",
    "client_id": "people",
    "token_use": "access",
    "scope": "openid aws.cognito.signin.user.admin",
    "cognito:groups": ["operators", "not-operators"],
    "exp": 4102444800,
}
BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@cache
def verifier() -> TokenVerifier:
    return TokenVerifier(ISSUER, KeySet.import_key_set(JWKS))


@cache
def valid_token() -> str:
    return signed(CLAIMS)


def refuses(authorization: str) -> bool:
    try:
        verifier().claims(authorization, SCOPES)
    except TokenRefused:
        return True
    return False


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", ""])
def test_each_claim_of_a_valid_token_is_handed_on_as_text(scheme: str) -> None:
    handed_on = verifier().claims(scheme + valid_token(), SCOPES)
    assert handed_on == {**CLAIMS, "cognito:groups": "operators,not-operators", "exp": "4102444800"}


@given(data=st.data(), character=st.sampled_from([*BASE64URL, ".", "=", "+", "/", "é"]))
def test_a_token_of_which_any_character_was_changed_is_refused(data: st.DataObject, character: str) -> None:
    place = data.draw(st.integers(0, len(valid_token()) - 1))
    before, old, after = valid_token()[:place], valid_token()[place], valid_token()[place + 1 :]
    changed = [f"{before}{character}{after}"] if character != old else []
    for other in [*changed, f"{before}{after}", f"{before}{character}{old}{after}"]:
        assert refuses(f"Bearer {other}")


def test_no_other_spelling_of_the_signatures_last_character_is_taken() -> None:
    """It has six bits, of which the signature needs two: sixteen characters would mean the same."""
    assert [last for last in BASE64URL if not refuses(f"Bearer {valid_token()[:-1]}{last}")] == [valid_token()[-1]]


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["RS256", "none", "HS256", "dummy"]) | st.text(),
    lambda some: (
        st.lists(some) | st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64", "typ", "jwk"]) | st.text(), some)
    ),
)


@given(header=JSON | st.binary(), payload=JSON | st.binary(), signature=st.binary() | st.none())
def test_whatever_has_the_form_of_a_token_is_refused(header: Any, payload: Any, signature: bytes | None) -> None:
    last = valid_token().split(".")[2] if signature is None else encoded(signature)
    assert refuses(f"Bearer {encoded(header)}.{encoded(payload)}.{last}")


@given(st.text())
def test_whatever_else_stands_in_the_header_is_refused(text: str) -> None:
    assert refuses(text)
    assert refuses(f"Bearer {text}")


def test_what_a_forger_makes_of_a_token_is_refused() -> None:
    headers = refused_headers(Forger(valid_token(), JWKS))
    assert [what for what, header in headers.items() if not refuses(header)] == []


def test_a_method_without_scopes_takes_no_access_token() -> None:
    with pytest.raises(TokenRefused):
        verifier().claims(f"Bearer {valid_token()}", [])
