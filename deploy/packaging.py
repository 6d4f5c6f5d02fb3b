"""`chalice package` with the template of the stage merged in."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.stages import PYTHON, ROOT
from deploy.template import merge_template

TEMPLATE_NAME = "sam.json"
ZIP_NAME = "deployment.zip"


class PackagingFailed(Exception):
    """With the output of Chalice, or with what is wrong in one sentence."""


def check_python(stage: str) -> None:
    """Raises PackagingFailed unless this is the Python that the functions of a stage run on."""
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if own != PYTHON:
        raise PackagingFailed(
            f"The functions of {stage} run on Python {PYTHON}, but this is Python {own}, which they would get instead: "
            f"remove .venv, and make it again with `make PYTHON=python{PYTHON} vendor`."
        )


def package(stage: str, out: Path, project: Path = ROOT) -> None:
    """Write `sam.json` and `deployment.zip` of a stage to `out`. Raises PackagingFailed, NoSuchStage.

    Needs no credentials, and the package index only if pip's cache lacks the wheels for Lambda.
    """
    with tempfile.TemporaryDirectory() as folder:
        extra = Path(folder) / "merge.json"
        extra.write_text(json.dumps(merge_template(stage)), encoding="utf-8")
        command = [
            "package",
            "--stage",
            stage,
            "--pkg-format",
            "cloudformation",
            "--merge-template",
            str(extra),
            str(out),
        ]
        _chalice(command, project)


def _chalice(arguments: list[str], project: Path) -> None:
    # The app is imported with the settings of the packaged stage, not with those of the caller.
    stages = json.loads((project / ".chalice" / "config.json").read_text(encoding="utf-8"))["stages"].values()
    settings = {name for stage in stages for name in stage["environment_variables"]}
    environment = {name: value for name, value in os.environ.items() if name not in settings}
    environment.setdefault("AWS_DEFAULT_REGION", "us-east-1")  # Chalice needs one; nothing in the package names it
    done = subprocess.run(
        [sys.executable, "-c", "from chalice.cli import main; main()", "--project-dir", str(project), *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 or "Could not install dependencies" in done.stdout + done.stderr:
        raise PackagingFailed((done.stdout + done.stderr).strip())
