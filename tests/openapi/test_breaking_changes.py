"""A change that breaks clients of the last release is named in CHANGELOG.md, or it fails here."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from docs.openapi.document import BUILT, RELEASED, ROOT
from tests.openapi.oasdiff import Breaking, breaking, unnamed

CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")
DOCUMENT: dict[str, Any] = json.loads(BUILT.read_text("utf-8"))

Change = Callable[[dict[str, Any], dict[str, Any]], Any]
"""Of the paths and the schemas of a document."""


def after(change: Change, folder: Path) -> list[Breaking]:
    """What the change breaks."""
    changed = copy.deepcopy(DOCUMENT)
    change(changed["paths"], changed["components"]["schemas"])
    path = folder / "changed.json"
    path.write_text(json.dumps(changed), "utf-8")
    return breaking(BUILT, path)


def test_whatever_breaks_a_client_of_the_last_release_is_named_in_the_changelog() -> None:
    assert unnamed(breaking(RELEASED, BUILT), CHANGELOG) == []


PLANTED: dict[str, tuple[Change, str, str]] = {
    "a field becomes required": (
        lambda _, schemas: schemas["OrderRequest"]["required"].append("currency"),
        "POST /orders",
        "request-property-became-required",
    ),
    "a bound becomes narrower": (
        lambda _, schemas: schemas["OrderRequest"]["properties"]["items"].update(maxItems=10),
        "POST /orders",
        "request-property-max-items-decreased",
    ),
    "an answer may lack a field": (
        lambda _, schemas: schemas["Order"]["required"].remove("createdAt"),
        "GET /orders/{orderId}",
        "response-property-became-optional",
    ),
    "a route is gone": (
        lambda paths, _: paths.pop("/products"),
        "GET /products",
        "api-path-removed-without-deprecation",
    ),
    "an open route is closed": (
        lambda paths, _: paths["/products"]["get"].update(security=[{"sigv4": []}]),
        "GET /products",
        "api-security-anonymous-access-removed",
    ),
    "a header is gone": (
        lambda paths, _: paths["/orders"]["post"]["responses"]["201"]["headers"].pop("Location"),
        "POST /orders",
        "required-response-header-removed",
    ),
    "what could be retried no longer can": (
        lambda _, schemas: schemas["unavailable"]["properties"]["retryable"].update(const=False),
        "POST /orders",
        "response-property-const-changed",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_breaking_change_is_found_unless_the_changelog_names_it(tmp_path: Path, name: str) -> None:
    change, operation, kind = PLANTED[name]
    found = after(change, tmp_path)
    assert (kind, operation) in [(each.kind, each.operation) for each in found]
    assert unnamed(found, CHANGELOG) == found
    names = "\n".join(f"- **Breaking** `{each.operation}`:\n  because (`{each.kind}`)." for each in found)
    assert unnamed(found, f"# Changelog\n\n## [Unreleased]\n\n### Changed\n\n- Another thing.\n{names}\n") == []
    assert unnamed(found, f"# Changelog\n\n## [Unreleased]\n\n- Another.\n\n## [0.1.0]\n\n{names}\n") == found


ADDED: dict[str, Change] = {
    "nothing": lambda _, __: None,
    "an optional field of a request": lambda _, schemas: schemas["OrderRequest"]["properties"].update(
        note={"type": "string"}
    ),
    "a field of an answer": lambda _, schemas: schemas["Order"]["properties"].update(note={"type": "string"}),
    "a route": lambda paths, _: paths.update({"/healthy": paths["/health"]}),
    "a kind of problem": lambda paths, _: paths["/orders"]["post"]["responses"]["422"]["content"][
        "application/problem+json"
    ]["schema"]["anyOf"].append({"$ref": "#/components/schemas/invalid-limit"}),
}


@pytest.mark.parametrize("name", ADDED)
def test_what_is_only_added_breaks_nobody(tmp_path: Path, name: str) -> None:
    assert after(ADDED[name], tmp_path) == []
