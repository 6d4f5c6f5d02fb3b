"""The zip that Lambda gets: small, built for its processor, and traced.

It is made of the real requirements, so it needs a package index. Skipped without one, unless REQUIRE_PACKAGE_INDEX is
1.
"""

import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.packaging import ZIP_NAME, PackagingFailed, package
from deploy.stages import ROOT
from deploy.vendoring import requirements, vendor
from tests.deploy.packages import without_dependencies
from tests.deploy.test_tracing import IN_LAMBDA, PROGRAM, run
from tests.support.skipping import skip

pytestmark = pytest.mark.slow

MAX_BYTES = 2_500_000
"""A cold start fetches and unpacks it. 17 MB of botocore would be seen at once."""

MAX_BYTES_UNPACKED = 12_000_000


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project as `make vendor` leaves it."""
    folder = without_dependencies(tmp_path_factory.mktemp("project"))
    shutil.copy(ROOT / "requirements.txt", folder)
    try:
        vendor(folder / "vendor")
    except subprocess.CalledProcessError as error:
        _no_index(str(error))
    return folder


@pytest.fixture(scope="module")
def zipped(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    out = tmp_path_factory.mktemp("out")
    try:
        package("prod", out, project)
    except PackagingFailed as error:
        _no_index(str(error))
    with zipfile.ZipFile(out / ZIP_NAME) as archive:
        yield archive


def _no_index(reason: str) -> None:
    if os.environ.get("REQUIRE_PACKAGE_INDEX") == "1":
        pytest.fail(reason)
    skip(
        f"the package index cannot be reached: {reason}",
        to_run="make test ARGS=tests/deploy/test_zip.py, with a network",
    )


def test_the_zip_is_small(zipped: zipfile.ZipFile, capsys: pytest.CaptureFixture[str]) -> None:
    size = Path(str(zipped.filename)).stat().st_size
    unpacked = sum(entry.file_size for entry in zipped.infolist())
    with capsys.disabled():
        print(f"\nthe zip: {size:,} bytes, unpacked {unpacked:,}")  # noqa: T201 - CI shows it
    assert size < MAX_BYTES
    assert unpacked < MAX_BYTES_UNPACKED


def test_the_zip_has_what_lambda_needs_and_what_its_runtime_lacks(zipped: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in zipped.namelist()}
    assert {"app.py", "chalicelib", "aws_xray_sdk", "wrapt", "jsonschema"} <= tops
    assert not tops & {"boto3", "botocore", "s3transfer", "awscrt"}
    assert not tops & {"deploy", "local", "ops", "tests", "benchmarks", "docs", ".chalice"}


def test_compiled_parts_are_for_lambdas_processor(zipped: zipfile.ZipFile) -> None:
    compiled = [name for name in zipped.namelist() if name.endswith(".so")]
    assert compiled
    assert [name for name in compiled if "aarch64" not in name] == []


def test_the_vendored_sdk_traces(project: Path) -> None:
    environment = {**IN_LAMBDA, "PYTHONPATH": str(project / "vendor")}
    where = "import aws_xray_sdk; assert 'vendor' in aws_xray_sdk.__file__, aws_xray_sdk.__file__\n"
    assert run(environment, where + PROGRAM)[0] is True


def test_the_requirements_of_lambda_do_not_name_botocore() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert "boto" not in "".join(line for line in lines if not line.startswith("#"))


def test_a_version_that_is_not_pinned_is_named() -> None:
    with pytest.raises(LookupError, match="wrapt"):
        requirements("aws-xray-sdk==2.15.0\n")
