"""Whether an advisory exists for anything that runs in Lambda or makes it, and whether the bill of materials is valid.

It asks the package index for advisories, whose answer changes from day to day: so it is not part of `make test`, but a
job of its own in CI.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry
from referencing.jsonschema import DRAFT7

from deploy.sbom import bill_of_materials
from deploy.stages import ROOT
from deploy.vendoring import LOCK, install, locked
from tests.support.environments import python_with
from tests.support.skipping import skip

pytestmark = pytest.mark.slow

REQUIREMENTS = [LOCK, ROOT / "requirements-dev.txt", *sorted((ROOT / "tests").rglob("requirements*.txt"))]


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python of an environment with pip-audit and the schemas."""
    if os.environ.get("REQUIRE_ADVISORIES") != "1":
        skip("asks for today's advisories", to_run="make audit, with a network")
    return python_with(ROOT / "tests" / "deploy" / "requirements-audit.txt", ROOT / ".cache" / "audit")


def audited(python: Path, requirements: Path) -> subprocess.CompletedProcess[str]:
    # Strict: without an answer for each package it fails.
    options = ["--strict", "--disable-pip", "--no-deps", "--progress-spinner", "off"]
    command = [str(python), "-m", "pip_audit", *options, "--requirement", str(requirements)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("requirements", REQUIREMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_package_has_a_known_vulnerability(python: Path, requirements: Path) -> None:
    done = audited(python, requirements)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_known_vulnerability_is_found(python: Path, tmp_path: Path) -> None:
    """https://github.com/advisories/GHSA-462w-v97r-4m45"""
    old = tmp_path / "requirements.txt"
    old.write_text("jinja2==2.10\n", "utf-8")
    done = audited(python, old)
    assert done.returncode == 1
    assert "CVE-2019-10906" in done.stdout, done.stdout + done.stderr


@pytest.fixture
def bill(python: Path, tmp_path: Path) -> dict[str, Any]:
    install(tmp_path)
    return bill_of_materials(locked(), tmp_path, "0" * 64)


def violations(python: Path, bill: dict[str, Any]) -> Iterator[str]:
    """What the schema of CycloneDX 1.6 says against a bill."""
    (schemas,) = python.parent.parent.glob("lib/*/site-packages/cyclonedx/schema/_res")
    contents = [json.loads(path.read_text("utf-8")) for path in schemas.glob("*.schema.json")]
    registry: Registry[Any] = Registry().with_contents(
        [(schema["$id"], schema) for schema in contents], default_specification=DRAFT7
    )
    (main,) = (schema for schema in contents if schema["$id"] == bill["$schema"])
    found = jsonschema.Draft7Validator(main, registry=registry).iter_errors(bill)
    return (f"{error.json_path}: {error.message}" for error in found)


def test_the_bill_of_materials_is_as_its_schema_says(python: Path, bill: dict[str, Any]) -> None:
    assert list(violations(python, bill)) == []
    bill["components"][0]["hashes"][0]["content"] = "not a hash"
    bill["components"][1]["licences"] = []
    found = list(violations(python, bill))
    assert len(found) == 2, found
