"""oasdiff, which finds what breaks clients between two descriptions of an API: a Go program, built in `.cache/`."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.skipping import skip
from tests.support.template import ROOT

VERSION = "v1.38.0"
_FOLDER = ROOT / ".cache" / "oasdiff" / VERSION
_PROBLEM_ADDED = re.compile(r"`anyOf` list for the response status `[45]\d\d`")


@dataclass(frozen=True)
class Breaking:
    """A change that may break a client: oasdiff's name of it, the operation (`GET /orders/{orderId}`), and in words."""

    kind: str
    operation: str
    text: str


def oasdiff() -> Path:
    """The program. Without it the test is skipped; with REQUIRE_OPENAPI_TOOLS=1 it is built, for a minute or more."""
    program = _FOLDER / "oasdiff"
    if not program.exists():
        if os.environ.get("REQUIRE_OPENAPI_TOOLS") != "1":
            skip("compares the API's description by oasdiff", to_run=TO_RUN)
        if not shutil.which("go"):
            pytest.fail("oasdiff is built by Go: install it (1.26 or newer)")
        install = ["go", "install", f"github.com/oasdiff/oasdiff@{VERSION}"]
        subprocess.run(install, env=os.environ | {"GOBIN": str(_FOLDER)}, check=True, stdin=subprocess.DEVNULL)
    return program


TO_RUN = (
    'REQUIRE_OPENAPI_TOOLS=1 make test ARGS="-n 0 -o faulthandler_timeout=900 tests/openapi", with Go and a network'
)
"""The first run builds oasdiff, and installs schemathesis."""


def breaking(before: Path, after: Path) -> list[Breaking]:
    """What a client of `before` may not bear in `after`. A further kind of problem is nothing of that sort."""
    command = [str(oasdiff()), "breaking", str(before), str(after), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [
        Breaking(each["id"], f"{each['operation']} {each['path']}", each["text"])
        for each in json.loads(done.stdout)
        if not (each["id"] == "response-body-any-of-added" and _PROBLEM_ADDED.search(each["text"]))
    ]


def unnamed(found: Iterable[Breaking], changelog: str) -> list[Breaking]:
    """Those that [Unreleased] of a changelog does not name: in an item `- **Breaking**`, by operation and kind."""
    unreleased = changelog.partition("\n## [Unreleased]")[2].partition("\n## ")[0]
    items = [
        item for item in re.split(r"^(?=- |#)", unreleased, flags=re.MULTILINE) if item.startswith("- **Breaking**")
    ]
    return [
        change
        for change in found
        if not any(f"`{change.operation}`" in item and f"`{change.kind}`" in item for item in items)
    ]
