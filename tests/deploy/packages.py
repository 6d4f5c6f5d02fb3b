"""Packages of the deployed stages, as they are configured or with other settings, made once for all tests of a worker.

They are packaged from a copy of the project without its dependencies: the template is the same, no package index is
needed, and it takes one second. (`test_zip.py` makes the real one.)
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from unittest.mock import patch

from deploy import policies
from deploy.packaging import TEMPLATE_NAME, package
from deploy.stages import EVER, ROOT, config, read
from tests.support.step_functions import step_functions


def without_dependencies(at: Path) -> Path:
    """A copy of what Chalice packages."""
    shutil.copytree(ROOT / "chalicelib", at / "chalicelib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / ".chalice", at / ".chalice", ignore=shutil.ignore_patterns("deployments", "deployed"))
    shutil.copy(ROOT / "app.py", at)
    (at / "requirements.txt").write_text("", encoding="utf-8")
    return at


class Package:
    """The template of a packaged stage."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.template = read(path)
        self.resources: dict[str, Any] = self.template["Resources"]

    def properties(self, logical_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.resources[logical_id]["Properties"]
        return found

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of every resource of this type, by logical id."""
        return {name: r.get("Properties", {}) for name, r in self.resources.items() if r["Type"] == kind}

    def function(self, name: str) -> dict[str, Any]:
        """A function, by Chalice's name."""
        return self.properties(EVER[name])

    @property
    def definition(self) -> dict[str, Any]:
        """The API, as Swagger."""
        found: dict[str, Any] = self.properties("RestAPI")["DefinitionBody"]
        return found


@contextmanager
def configured(stage: str, settings: Mapping[str, str]) -> Iterator[None]:
    """The stage's part of config.json has these settings, and what the functions of such a stage need."""
    engine = step_functions(stage) if settings.get("ENGINE") == "step-functions" else nullcontext()
    with engine:
        own = config()["stages"][stage]
        functions: dict[str, dict[str, Any]] = {}
        if settings.get("PAYMENTS", "simulated") != "simulated":
            charging = {"order_consumer", "saga_step"} & own["lambda_functions"].keys()
            functions = {name: own["lambda_functions"][name] | {"lambda_timeout": 30} for name in charging}
            functions["reconcile_payments"] = {
                "iam_policy_file": f"policy-{stage}-reconcile_payments.json",
                "lambda_timeout": 300,
            }
        with patch.dict(own["environment_variables"], settings), patch.dict(own["lambda_functions"], functions):
            yield


@cache
def packaged(stage: str, folder: Path, **settings: str) -> Package:
    """The package of a stage, perhaps with other settings in its part of config.json; made once."""
    place = Path(mkdtemp(prefix=stage, dir=folder))
    project, out = place / "project", place / "out"
    project.mkdir(parents=True)
    without_dependencies(project)
    with configured(stage, settings):
        for name, text in [("config.json", json.dumps(config())), *policies.files()]:
            (project / ".chalice" / name).write_text(text, encoding="utf-8")
        package(stage, out, project)
    return Package(out / TEMPLATE_NAME)
