"""checkov, a scanner of templates for insecure settings, in a virtual environment of its own, `.cache/checkov`."""

import json
import subprocess
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tests.support.environments import python_with
from tests.support.template import ROOT

REQUIREMENTS = ROOT / "tests" / "deploy" / "checkov-requirements.txt"
ACCEPTED = ROOT / "tests" / "deploy" / "accepted_findings.json"
"""The findings that stay: the check, the resources (type and logical id, `*` is any text), and why."""

Finding = tuple[str, str]
"""A check, and the resource that fails it, as `type.logical id`."""


def scanned(resources: Mapping[str, Any], folder: Path) -> set[Finding]:
    """What checkov finds in these resources. Raises NotInstalled without a package index."""
    path = folder / "template.json"
    path.write_text(json.dumps({"Resources": resources}), encoding="utf-8")
    python = python_with(REQUIREMENTS, ROOT / ".cache" / "checkov")
    # Without the download of its vendor's guidelines: the checks are in the package.
    options = ["--framework", "cloudformation", "--compact", "--quiet", "--skip-download", "--output", "json"]
    command = [str(python), "-m", "checkov.main", "--file", str(path), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["resource_count"] == len(resources), "not all of them were looked at"
    return {(each["check_id"], each["resource"]) for each in report["results"]["failed_checks"]}


def differences(found: Iterable[Finding], accepted: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Findings that nobody accepted, and what is accepted but not found any more."""
    matched: set[str] = set()
    said = []
    for check, resource in sorted(found):
        if check in accepted and fnmatchcase(resource, accepted[check]["of"]):
            matched.add(check)
        else:
            said.append(f"{resource} fails {check}")
    return [*said, *(f"{check} is accepted, but nothing fails it" for check in sorted(accepted.keys() - matched))]
