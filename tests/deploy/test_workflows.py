"""The workflows have no keys, run only pinned actions, and ask before prod."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from click.testing import CliRunner

from deploy.stages import DEPLOYED, PYTHON, ROOT
from ops.cli import ops as command_line
from tests.support.skipping import skip

ZIP = "out/package/deployment.zip"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def workflow(name: str) -> Any:
    return yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_to_a_commit(path: Path) -> None:
    """A tag can be moved; a comment has the version of the commit."""
    used = re.findall(r"uses: (\S+)(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert used
    for action, comment in used:
        if not action.startswith("./"):
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action)
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_workflow_has_keys(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "secrets." not in text
    assert "access-key" not in text.lower().replace("_", "-")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_unless_a_job_says_more(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["permissions"] == {"contents": "read"}


def test_only_the_jobs_that_deploy_get_a_token_for_aws() -> None:
    for path in WORKFLOWS:
        jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
        asking = {name for name, job in jobs.items() if job.get("permissions", {}).get("id-token") == "write"}
        assert asking == (set(DEPLOYED) if path.stem == "deploy" else set())


def test_prod_comes_after_dev_and_dev_after_the_tests() -> None:
    jobs = workflow("deploy")["jobs"]
    assert {name: job.get("needs") for name, job in jobs.items()} == {
        "test": None,
        "package": "test",
        "dev": "package",
        "prod": ["package", "dev"],
    }
    # The environment requires the approval.
    assert {name: jobs[name]["environment"] for name in DEPLOYED} == {stage: stage for stage in DEPLOYED}
    assert jobs["test"]["uses"] == "./.github/workflows/test.yml"


def test_what_is_deployed_is_packaged_by_the_python_of_the_functions() -> None:
    for job in ("package", *DEPLOYED):
        versions = [
            step["with"]["python-version"]
            for step in workflow("deploy")["jobs"][job]["steps"]
            if "with" in step and "python-version" in step["with"]
        ]
        assert versions == [PYTHON]


def commands(job: str) -> list[str]:
    """What a job of the deployment runs, actions included, one line each."""
    steps = workflow("deploy")["jobs"][job]["steps"]
    return [line for step in steps for line in step.get("run", step.get("uses")).splitlines()]


def test_one_zip_is_packaged_and_every_stage_gets_it_by_its_digest() -> None:
    jobs = workflow("deploy")["jobs"]
    assert [job for job in jobs if "make package" in str(jobs[job])] == ["package"]
    for stage in DEPLOYED:
        download, check, deploy = (
            next(number for number, line in enumerate(commands(stage)) if words in line)
            for words in ("actions/download-artifact@", "sha256sum --check", "make deploy ")
        )
        assert download < check < deploy
        assert f"ARTIFACT={ZIP}" in commands(stage)[deploy]
        assert f"$SHA256  {ZIP}" in commands(stage)[check]
        (digest,) = (step["env"]["SHA256"] for step in jobs[stage]["steps"] if "SHA256" in step.get("env", {}))
        assert digest == "${{ needs.package.outputs.sha256 }}"


def test_dev_is_looked_at_and_tried_before_prod_is_deployed() -> None:
    ops = {
        stage: [line.partition(" -m ops ")[2] for line in commands(stage) if " -m ops " in line] for stage in DEPLOYED
    }
    assert ops == {
        "dev": ['stage check "$STAGE"', "--stage dev catalogue load local/catalogue.json", "stage smoke dev"],
        "prod": ['stage check "$STAGE"'],
    }
    for stage in DEPLOYED:
        lines = commands(stage)
        assert [line.startswith("make deploy") for line in lines].index(True) < lines.index(
            '.venv/bin/python -m ops stage check "$STAGE"'
        )
        runner = CliRunner()
        assert all(runner.invoke(command_line, [*shlex.split(line), "--help"]).exit_code == 0 for line in ops[stage])


def test_every_package_and_action_is_kept_up_to_date() -> None:
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text(encoding="utf-8"))["updates"]
    looked_at = {each["package-ecosystem"]: each.get("directories", [each.get("directory")]) for each in updates}
    pip, npm = folders("requirements*.txt"), folders("package-lock.json")
    assert looked_at == {"pip": pip, "npm": npm, "github-actions": ["/"]}


def folders(pattern: str) -> list[str]:
    """Where the project's own files of such a name are, as the file for updates names folders."""
    own = [path for place in ("*", "tests/**/*") for path in ROOT.glob(f"{place}{pattern}")]
    return sorted({"/" + str(path.parent.relative_to(ROOT)).removeprefix(".") for path in own})


def test_an_advisory_stops_no_release() -> None:
    assert "make audit" in [step.get("run") for step in workflow("audit")["jobs"]["advisories"]["steps"]]
    assert "workflow_call" not in workflow("audit")[True]
    assert "audit" not in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_changes_are_tested_on_push_and_pull_request() -> None:
    triggers = workflow("test")[True]  # `on` is a truth value in YAML 1.1
    assert {"push", "pull_request", "workflow_call"} <= triggers.keys()


def test_actionlint_finds_nothing() -> None:
    command = shutil.which("actionlint")
    if command is None:
        skip(
            "actionlint is not installed (the workflow `test` runs it)",
            to_run="install actionlint, then make test ARGS=tests/deploy/test_workflows.py",
        )
    done = subprocess.run([command, *map(str, WORKFLOWS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
