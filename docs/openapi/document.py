"""The whole document."""

import json
import re
from pathlib import Path
from typing import Any

from docs.openapi import operations, parameters, problems, schemas

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "chalicelib" / "entrypoints" / "openapi.json"
RELEASED = Path(__file__).with_name("released.json")

_DESCRIPTION = """\
Places each order once, however often it is sent.

Send an `Idempotency-Key` with each order, made before the first try and kept over retries. Errors are problem
documents (RFC 9457): branch on `type` and `retryable`, and quote `instance` when you ask somebody. Fields may be added
to answers. Amounts are exact decimals of at most two places; times are ISO 8601 in UTC."""

_SECURITY_SCHEMES = {
    "sigv4": {
        "type": "apiKey",
        "name": "Authorization",
        "in": "header",
        "x-amazon-apigateway-authtype": "awsSigv4",
        "description": "On a stage with `AUTH=iam`: the request is signed by an IAM identity (AWS Signature Version 4, "
        "service `execute-api`). Every such caller is a service, which may name any customer.",
    },
    "accessToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "On a stage with `AUTH=cognito`: an access token (not an ID token) of the stage's user pool. "
        "One scope of those listed is enough: a person who has signed in has `aws.cognito.signin.user.admin`, and is a "
        "customer, or in the group `operators` an operator; an app client with client credentials has "
        "`orderonce/service`, and is a service.",
    },
}


def build() -> dict[str, Any]:
    """The document as it should be."""
    return {
        "openapi": "3.1.1",
        "info": {"title": "OrderOnce", "version": version(), "description": _DESCRIPTION},
        # Relative to the document's own URL, so it is right behind every stage and domain name.
        "servers": [{"url": ".", "description": "where this document is"}],
        "paths": operations.paths(),
        "components": {
            "schemas": schemas.schemas() | problems.schemas(),
            "examples": problems.examples(),
            "headers": parameters.HEADERS,
            "parameters": parameters.PARAMETERS,
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def text() -> str:
    """The file as it should be."""
    return json.dumps(build(), indent=1, ensure_ascii=False, default=float) + "\n"


def version() -> str:
    """The newest release that CHANGELOG.md names."""
    (newest, *_) = re.findall(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    return str(newest)
