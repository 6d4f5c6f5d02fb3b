"""One zip for every stage: the same bytes from the same code, whoever packages it, and one object in the bucket."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import requires
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import boto3
import pytest
from click.testing import CliRunner, Result
from moto import mock_aws
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy import __main__ as command
from deploy.packaging import SBOM_NAME, ZIP_NAME, PackagingFailed, digest, package, package_with
from deploy.sbom import bill_of_materials
from deploy.stages import DEPLOYED, ROOT
from deploy.vendoring import ALONE, LOCK, Locked, locked, pins
from tests.deploy.packages import Package, packaged, without_dependencies

BUCKET = "a-bucket"


@pytest.fixture
def vendored(tmp_path: Path) -> Path:
    """A package of the lock, as pip leaves it."""
    folder = tmp_path / "vendored"
    (folder / "attr").mkdir(parents=True)
    (folder / "attr" / "__init__.py").write_text("VERSION = 1\n", "utf-8")
    return folder


@pytest.fixture
def artifact(vendored: Path, tmp_path: Path) -> Path:
    """The zip of `dev`."""
    package("dev", tmp_path / "dev", vendored=vendored)
    return tmp_path / "dev" / ZIP_NAME


def test_the_packages_of_all_stages_have_the_same_zip(packages_folder: Path) -> None:
    zips = {digest(packaged(stage, packages_folder).path.with_name(ZIP_NAME)) for stage in DEPLOYED}
    assert len(zips) == 1


def test_the_zip_depends_on_the_contents_of_the_files_and_on_nothing_else(
    artifact: Path, vendored: Path, tmp_path: Path
) -> None:
    checkout = tmp_path / "another"
    checkout.mkdir()
    project = without_dependencies(checkout)
    (project / "requirements.txt").write_text("jsonschema\n", "utf-8")
    (project / ".chalice" / "deployments").mkdir()
    for folder in (project / "chalicelib", vendored / "attr"):
        (folder / "__pycache__").mkdir()
        (folder / "__pycache__" / "x.cpython-313.pyc").write_bytes(b"of another day")
        for path in sorted(folder.rglob("*.py"), reverse=True):  # made in another order, at another time
            again = path.with_suffix(".again")
            shutil.copy(path, again)
            again.replace(path)
            path.chmod(0o600)
            os.utime(path, (1, 10**9))
    package("prod", tmp_path / "prod", project, vendored=vendored)
    assert digest(tmp_path / "prod" / ZIP_NAME) == digest(artifact)

    (vendored / "attr" / "__init__.py").write_text("VERSION = 2\n", "utf-8")
    package("prod", tmp_path / "prod", project, vendored=vendored)
    assert digest(tmp_path / "prod" / ZIP_NAME) != digest(artifact)


def test_a_zip_that_was_packaged_before_is_deployed_as_it_is(artifact: Path, tmp_path: Path) -> None:
    package_with(artifact, "prod", tmp_path / "prod")
    assert (tmp_path / "prod" / ZIP_NAME).read_bytes() == artifact.read_bytes()
    assert Package(tmp_path / "prod" / "sam.json").template["Parameters"]["Stage"]["Default"] == "prod"


def test_a_zip_of_other_code_is_refused(artifact: Path, tmp_path: Path) -> None:
    """Its template would be of this code: settings, functions and routes that the zip may not know."""
    with ZipFile(artifact, "a") as archive:
        archive.writestr("chalicelib/newer.py", "")
    with pytest.raises(PackagingFailed, match=r"other code \(chalicelib/newer\.py\)"):
        package_with(artifact, "prod", tmp_path / "prod")
    with pytest.raises(PackagingFailed, match="cannot be used"):
        package_with(tmp_path / "nothing.zip", "prod", tmp_path / "prod")


def test_another_chalice_than_the_locked_one_is_refused(vendored: Path, tmp_path: Path) -> None:
    (vendored / "chalice").mkdir()
    (vendored / "chalice" / "app.py").write_text("", "utf-8")
    with pytest.raises(PackagingFailed, match=f"chalice/app.py of .venv is not the one that {LOCK.name} has"):
        package("dev", tmp_path / "out", vendored=vendored)


# --- the commands ---


@pytest.fixture
def run(vendored: Path, monkeypatch: pytest.MonkeyPatch, simulated_prod: None) -> Iterator[Callable[..., Result]]:
    """`python -m deploy`, with a bucket, and CloudFormation left out."""
    monkeypatch.setattr(command, "check_python", lambda _: None)
    monkeypatch.setattr(command, "install", lambda into: shutil.copytree(vendored, into, dirs_exist_ok=True))
    monkeypatch.setattr(command, "_deploy", lambda *_: None)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket=BUCKET)
        yield lambda *words: CliRunner().invoke(command.main, words, catch_exceptions=False)


def keys() -> list[str]:
    return [each["Key"] for each in boto3.client("s3").list_objects_v2(Bucket=BUCKET)["Contents"]]


def code_of_functions() -> dict[str, set[str]]:
    """The keys of the zips that the uploaded template of each stage names."""
    s3: Any = boto3.client("s3")
    found = {}
    for key in (key for key in keys() if key.endswith(".json") and not key.endswith(".cdx.json")):
        template = json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
        functions = [r for r in template["Resources"].values() if r["Type"] == "AWS::Serverless::Function"]
        found[key.split("/")[1]] = {function["Properties"]["CodeUri"]["Key"] for function in functions}
    return found


def test_prod_gets_the_zip_of_dev_by_its_digest(run: Callable[..., Result], artifact: Path, vendored: Path) -> None:
    assert run("stack", "--stage", "dev", "--bucket", BUCKET, "--artifact", str(artifact)).exit_code == 0
    # What the package index would give by then has no effect.
    (vendored / "attr" / "__init__.py").write_text("VERSION = 2\n", "utf-8")
    deployed = run("stack", "--stage", "prod", "--bucket", BUCKET, "--artifact", str(artifact))
    assert f"sha256 {digest(artifact)}" in deployed.output
    assert {key for key in keys() if key.endswith(".cdx.json")} == set()  # this zip came without one
    assert code_of_functions() == {stage: {f"orderonce/{digest(artifact)}.zip"} for stage in DEPLOYED}


def test_packaging_prints_the_digest(run: Callable[..., Result], artifact: Path, tmp_path: Path) -> None:
    packaged = run("package", "--stage", "prod", "--out", str(tmp_path / "out"))
    assert packaged.exit_code == 0, packaged.output
    assert f"sha256 {digest(artifact)}" in packaged.output


# --- the bill of materials ---


def test_the_bill_lists_what_is_locked_and_goes_with_the_zip(run: Callable[..., Result], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("package", "--stage", "dev", "--out", str(out)).exit_code == 0
    bill = json.loads((out / SBOM_NAME).read_text("utf-8"))
    described = bill["metadata"]["component"]
    assert described["hashes"] == [{"alg": "SHA-256", "content": digest(out / ZIP_NAME)}]
    assert [(c["purl"], c["hashes"]) for c in bill["components"]] == [
        (f"pkg:pypi/{package.name}@{package.version}", [{"alg": "SHA-256", "content": package.sha256}])
        for package in locked()
    ]
    assert bill["dependencies"] == [{"ref": "orderonce", "dependsOn": [c["bom-ref"] for c in bill["components"]]}]
    for stage in DEPLOYED:
        run("stack", "--stage", stage, "--bucket", BUCKET, "--artifact", str(out / ZIP_NAME))
    assert [key for key in keys() if key.endswith(".cdx.json")] == [f"orderonce/{digest(out / ZIP_NAME)}.cdx.json"]


def test_a_licence_is_taken_from_the_wheel(tmp_path: Path) -> None:
    packages = [Locked(name, "1.0", "0" * 64) for name in ("an-expression", "a-name", "a-class", "none", "unknown")]
    for name, line in {
        "an_expression": "License-Expression: MIT",
        "a_name": "License: Apache",
        "a_class": "Classifier: Topic :: X\nClassifier: License :: OSI Approved :: MIT License",
        "none": "Name: n",
    }.items():
        (tmp_path / f"{name}-1.0.dist-info").mkdir()
        (tmp_path / f"{name}-1.0.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.4\n{line}\n\n# Text", "utf-8"
        )
    found = bill_of_materials(packages, tmp_path, "0" * 64)["components"]
    assert [c.get("licenses") for c in found] == [
        [{"expression": "MIT"}],
        [{"license": {"name": "Apache"}}],
        [{"license": {"name": "MIT License"}}],
        None,
        None,
    ]


# --- the lock ---


def test_the_lock_has_the_versions_of_the_requirements_and_no_others() -> None:
    assert [f"{package.name}=={package.version}" for package in locked()] == pins(), "call `make lock`"


@pytest.mark.parametrize("line", ["attrs==26.1.0", "attrs>=26 --hash=sha256:" + "0" * 64, "-r other.txt"])
def test_a_line_without_exactly_one_version_and_hash_is_refused(line: str, tmp_path: Path) -> None:
    lock = tmp_path / LOCK.name
    good, *_ = locked()
    lock.write_text(f"{replace(good, sha256='1' * 64)}\n{line}\n", "utf-8")
    with pytest.raises(ValueError, match="this is not NAME==VERSION"):
        locked(lock)


def test_the_requirements_of_lambda_do_not_name_what_the_runtime_has() -> None:
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    named = [package.name for package in locked()] + [line for line in lines if not line.startswith("#")]
    assert [name for name in named if "boto" in name or name.startswith("urllib3")] == []


def needed(package: str) -> dict[str, Requirement]:
    """What a package needs always, by name."""
    found = [Requirement(text) for text in requires(package) or ()]
    return {canonicalize_name(r.name): r for r in found if not r.marker or r.marker.evaluate({"extra": ""})}


def test_what_is_installed_alone_needs_nothing_that_is_neither_locked_nor_in_the_runtime() -> None:
    """The runtime has botocore, and so what botocore needs, in a version that botocore takes."""
    in_the_runtime = {"botocore"} | needed("botocore").keys()
    lacking = {name for package in ALONE for name in needed(package)} - {package.name for package in locked()}
    assert lacking == {"botocore", "urllib3"} <= in_the_runtime
    taken_by_requests = needed("requests")["urllib3"].specifier
    assert all(taken_by_requests.contains(version) for version in ("1.26.0", "1.26.20", "2.0.0", "2.99.0"))
