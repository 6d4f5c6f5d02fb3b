"""The zip that Lambda gets: small, built for its processor, and traced.

It is made of the real requirements, so it needs a package index. Skipped without one, unless REQUIRE_PACKAGE_INDEX is
1.
"""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest
import urllib3

from deploy.packaging import ZIP_NAME, package
from deploy.sbom import bill_of_materials
from deploy.stages import ROOT
from deploy.vendoring import ALONE, InstallationFailed, install, locked, vendor
from tests.deploy.test_tracing import IN_LAMBDA, PROGRAM, run
from tests.support.skipping import skip

pytestmark = pytest.mark.slow

MAX_BYTES = 2_000_000
"""Besides Stripe's files. A cold start fetches and unpacks it. 17 MB of botocore would be seen at once."""

MAX_BYTES_OF_STRIPE = 2_500_000
MAX_BYTES_UNPACKED = 24_000_000


@pytest.fixture(scope="module")
def vendored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is locked, installed."""
    folder = tmp_path_factory.mktemp("vendored")
    try:
        install(folder)
    except InstallationFailed as error:
        _no_index(str(error))
    return folder


@pytest.fixture(scope="module")
def zipped(vendored: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    out = tmp_path_factory.mktemp("out")
    package("prod", out, vendored=vendored)
    with zipfile.ZipFile(out / ZIP_NAME) as archive:
        yield archive


def _no_index(reason: str) -> NoReturn:
    if os.environ.get("REQUIRE_PACKAGE_INDEX") == "1":
        pytest.fail(reason)
    skip(
        f"the package index cannot be reached: {reason}",
        to_run="make test ARGS=tests/deploy/test_zip.py, with a network",
    )


def test_the_zip_is_small(zipped: zipfile.ZipFile, capsys: pytest.CaptureFixture[str]) -> None:
    size = Path(str(zipped.filename)).stat().st_size
    entries = zipped.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    of_stripe = sum(entry.compress_size for entry in entries if entry.filename.startswith(("stripe/", "stripe-")))
    with capsys.disabled():
        print(f"\nthe zip: {size:,} bytes, of Stripe {of_stripe:,}, unpacked {unpacked:,}")  # noqa: T201 - CI shows it
    assert size - of_stripe < MAX_BYTES
    assert of_stripe < MAX_BYTES_OF_STRIPE
    assert unpacked < MAX_BYTES_UNPACKED


def test_the_zip_has_what_lambda_needs_and_what_its_runtime_lacks(zipped: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in zipped.namelist()}
    assert {"app.py", "chalicelib", "aws_xray_sdk", "wrapt", "jsonschema", "stripe", "requests"} <= tops
    assert not tops & {"boto3", "botocore", "s3transfer", "awscrt", "urllib3"}
    assert not tops & {"deploy", "local", "ops", "conformance", "tests", "benchmarks", "docs", ".chalice"}


def test_compiled_parts_are_for_lambdas_processor(zipped: zipfile.ZipFile) -> None:
    compiled = [name for name in zipped.namelist() if name.endswith(".so")]
    assert compiled
    assert [name for name in compiled if "aarch64" not in name] == []


def test_chalice_in_the_zip_is_the_locked_one(zipped: zipfile.ZipFile, vendored: Path) -> None:
    names = [name for name in zipped.namelist() if name.startswith("chalice/")]
    assert names == ["chalice/__init__.py", "chalice/app.py"]
    assert [zipped.read(name) for name in names] == [(vendored / name).read_bytes() for name in names]


def test_the_bill_of_materials_lists_every_package_in_the_zip(zipped: zipfile.ZipFile, vendored: Path) -> None:
    bill = bill_of_materials(locked(), vendored, "0" * 64)
    listed = {(component["name"].replace("-", "_"), component["version"]) for component in bill["components"]}
    infos = {name.partition(".dist-info/")[0] for name in zipped.namelist() if ".dist-info/" in name}
    assert listed == {tuple(info.rsplit("-", 1)) for info in infos}
    assert all(component["licenses"] for component in bill["components"])


def test_nothing_in_the_zip_depends_on_the_machine_that_packaged_it(zipped: zipfile.ZipFile) -> None:
    """Not times, not the path of its Python (pip writes both), not which modules had been compiled."""
    assert {entry.date_time for entry in zipped.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert zipped.namelist() == sorted(zipped.namelist())
    assert not [name for name in zipped.namelist() if name.endswith((".pyc", "/RECORD")) or name.startswith("bin/")]
    assert not [name for name in zipped.namelist() if str(ROOT).encode() in zipped.read(name)]


def test_a_file_with_another_hash_than_the_locked_one_is_not_installed(vendored: Path, tmp_path: Path) -> None:
    first, *others = locked()
    lock = tmp_path / "lock.txt"
    lock.write_text("".join(f"{each}\n" for each in (replace(first, sha256="0" * 64), *others)), "utf-8")
    with pytest.raises(InstallationFailed, match="DO NOT MATCH THE HASHES"):
        install(tmp_path / "vendored", lock)


PAYING = """
import sys
from chalicelib.adapters.stripe_api import StripeApi
from chalicelib.faults import PaymentUnknown
try:
    StripeApi("sk_test_1", "http://127.0.0.1:1").status("pi_1")  # nobody listens there
except PaymentUnknown as unknown:
    print(unknown)
print(*(sys.modules[name].__file__ for name in ("stripe", "requests", "certifi", "urllib3")))
"""


def test_the_code_in_the_zip_asks_stripe_with_what_is_in_the_zip_and_in_the_runtime(
    zipped: zipfile.ZipFile, tmp_path: Path
) -> None:
    """The runtime: this Python without its packages, but for urllib3."""
    task, runtime = tmp_path / "task", tmp_path / "runtime"
    zipped.extractall(task)
    runtime.mkdir()
    (runtime / "urllib3").symlink_to(Path(urllib3.__file__).parent)
    environment = {**IN_LAMBDA, "PYTHONPATH": f"{task}:{runtime}"}
    done = subprocess.run(
        [sys.executable, "-S", "-c", PAYING], cwd=task, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said, files = done.stdout.splitlines()
    assert said == "Stripe: APIConnectionError (None, None)"
    assert [Path(file).parents[1] for file in files.split()] == [task, task, task, runtime]


def test_the_vendored_sdk_traces(vendored: Path, tmp_path: Path) -> None:
    vendor(tmp_path / "vendor")
    infos = {path.stem.rpartition("-")[0] for path in (tmp_path / "vendor").glob("*.dist-info")}
    assert infos == {name.replace("-", "_") for name in ALONE}
    environment = {**IN_LAMBDA, "PYTHONPATH": str(tmp_path / "vendor")}
    where = "import aws_xray_sdk; assert 'vendor' in aws_xray_sdk.__file__, aws_xray_sdk.__file__\n"
    assert run(environment, where + PROGRAM)[0] is True
