"""Access tokens, and what a forger makes of them: each is really signed, or says that it is."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey

from local.tokens import KEY_ID, signed, signing_key


@cache
def another_key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": KEY_ID})


def encoded(document: object) -> str:
    """Base64url without padding, of bytes or of JSON."""
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def claims_of(token: str) -> dict[str, Any]:
    """What a token says, verified by nobody."""
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


@dataclass(frozen=True)
class Forger:
    """Somebody with a valid token, who would be somebody else. (`jwks`: the pool's public keys.)"""

    token: str
    jwks: Mapping[str, Any]

    def signed_by_the_pool(self, **changes: object) -> str:
        """The token with other claims (None: without one), really signed by the pool's key."""
        claims = {**claims_of(self.token), **changes}
        return signed({name: value for name, value in claims.items() if value is not None})

    def signed_by_a_key_without_a_name(self) -> str:
        return jwt.encode({"alg": "RS256"}, claims_of(self.token), signing_key())

    def signed_by_another_key(self, **header: object) -> str:
        return jwt.encode({"alg": "RS256", "kid": KEY_ID, **header}, claims_of(self.token), another_key())

    def with_another_header(self, **header: object) -> str:
        _, payload, signature = self.token.split(".")
        return f"{encoded({'typ': 'JWT', 'alg': 'RS256', 'kid': KEY_ID, **header})}.{payload}.{signature}"

    def not_signed(self) -> str:
        return f"{encoded({'typ': 'JWT', 'alg': 'none', 'kid': KEY_ID})}.{self.token.split('.')[1]}."

    def signed_with_the_public_key_as_a_secret(self) -> str:
        (key,) = self.jwks["keys"]
        secret = RSAKey.import_key(key).as_pem(private=False)
        text = f"{encoded({'typ': 'JWT', 'alg': 'HS256', 'kid': KEY_ID})}.{self.token.split('.')[1]}"
        return f"{text}.{encoded(hmac.digest(secret, text.encode(), hashlib.sha256))}"

    def tampered(self, **changes: object) -> str:
        header, _, signature = self.token.split(".")
        return f"{header}.{encoded({**claims_of(self.token), **changes})}.{signature}"


def refused_headers(forger: Forger) -> dict[str, str]:
    """Authorization headers that API Gateway refuses, by what is wrong with them."""
    now = int(time.time())
    id_token = {"token_use": "id", "aud": claims_of(forger.token)["client_id"], "cognito:username": "alice"}
    other_pool = claims_of(forger.token)["iss"] + "0"
    tokens = {
        "expired": forger.signed_by_the_pool(exp=now - 1),
        "without an end": forger.signed_by_the_pool(exp=None),
        "not yet valid": forger.signed_by_the_pool(nbf=now + 600),
        "of another pool": forger.signed_by_the_pool(iss=other_pool),
        "of no pool": forger.signed_by_the_pool(iss=None),
        "an ID token": forger.signed_by_the_pool(**id_token, client_id=None, scope=None),
        "an ID token with a scope": forger.signed_by_the_pool(**id_token),
        "of no use": forger.signed_by_the_pool(token_use=None),
        "without a scope": forger.signed_by_the_pool(scope=None),
        "with another scope": forger.signed_by_the_pool(scope="openid orderonce/service-desk"),
        "signed by another key": forger.signed_by_another_key(),
        "signed by a key that it brings": forger.signed_by_another_key(jwk=another_key().as_dict(private=False)),
        "signed by a key that it points to": forger.signed_by_another_key(jku="http://127.0.0.1:1/jwks.json"),
        "of an unknown key": forger.with_another_header(kid="another"),
        "of a key without a name": forger.signed_by_a_key_without_a_name(),
        "signed with the public key as a secret": forger.signed_with_the_public_key_as_a_secret(),
        "not signed": forger.not_signed(),
        "not signed, but with a signature": forger.not_signed() + forger.token.split(".")[2],
        "tampered: another customer": forger.tampered(username="bob"),
        "tampered: an operator": forger.tampered(**{"cognito:groups": ["operators"]}),
        "tampered: signature": forger.token[:-8] + ("A" * 8),
        "cut off": forger.token.rpartition(".")[0],
        "junk that is not a JWT": "junk",
        "junk in three parts": "a.b.c",
        "junk with a header of JSON": f"{encoded(['alg'])}.e30.{forger.token.split('.')[2]}",
        "nothing": "",
    }
    bearers = {what: f"Bearer {token}" for what, token in tokens.items()}
    return bearers | {
        "two tokens": f"Bearer {forger.token}, Bearer {forger.token}",
        "another scheme": f"Basic {forger.token}",
        "an empty header": "",
    }
