"""What runs in Lambda beside the project's own code: installed from a lock file, each package checked by its hash."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deploy.stages import PYTHON, ROOT

LOCK = ROOT / "requirements-lambda.txt"
VENDOR = ROOT / "vendor"
"""For `chalice deploy`, which installs requirements.txt by itself, with all that it depends on."""

_SDK = ("aws-xray-sdk", "wrapt")
_STRIPE = ("stripe", "requests", "certifi", "charset-normalizer", "idna")
ALONE = (*_SDK, *_STRIPE)
"""Without what the Lambda runtime has already: botocore, 17 MB, and urllib3, which botocore needs too. A second urllib3
would be botocore's as well, and take 40 ms of every cold start: in the zip it is not compiled."""

_PLATFORM = "manylinux2014_aarch64"
_LINE = re.compile(r"([\w.-]+)==(\S+) --hash=sha256:([0-9a-f]{64})")
_PIP = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps")
_FOR_LAMBDA = ("--platform", _PLATFORM, "--python-version", PYTHON, "--only-binary", ":all:")

_HEADER = f"""\
# What `make package` and `make deploy` put into Lambda's zip: of each package the one file that is installed (for arm64
# and Python {PYTHON}), by its hash. boto3 is in the runtime, with urllib3. `make lock` writes this file, from the
# versions in requirements.txt and requirements-dev.txt.
"""


class InstallationFailed(Exception):
    """What pip says: it found another hash, or no package index."""


@dataclass(frozen=True, slots=True)
class Locked:
    """A package at one version, and the SHA-256 of its one wheel, in hexadecimal."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


def locked(lock: Path = LOCK) -> list[Locked]:
    """The packages of a lock file. Raises ValueError with the line that is not of its form."""
    found = []
    for line in lock.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            match = _LINE.fullmatch(line)
            if not match:
                raise ValueError(f"{lock.name}: this is not NAME==VERSION --hash=sha256:…: {line}")
            found.append(Locked(*match.groups()))
    return found


def vendor(into: Path = VENDOR) -> None:
    """Put the X-Ray SDK and Stripe's library into `vendor/`. Raises InstallationFailed."""
    shutil.rmtree(into, ignore_errors=True)
    _install((package for package in locked() if package.name in ALONE), into)


def install(into: Path, lock: Path = LOCK) -> None:
    """Put all that is locked into an empty folder. Raises InstallationFailed."""
    _install(locked(lock), into)


def write_lock() -> None:
    """Write the lock file again. Raises InstallationFailed, LookupError."""
    pinned = pins()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        only_look = ("--dry-run", "--ignore-installed", "--report", str(report), "--target", folder)
        _pip(*only_look, *pinned)
        found = json.loads(report.read_text(encoding="utf-8"))["install"]
    hashes = {
        each["metadata"]["name"].replace("_", "-"): each["download_info"]["archive_info"]["hashes"]["sha256"]
        for each in found
    }
    packages = [Locked(name, version, hashes[name]) for name, _, version in (pin.partition("==") for pin in pinned)]
    LOCK.write_text(_HEADER + "".join(f"{package}\n" for package in packages), encoding="utf-8")


def pins() -> list[str]:
    """What is to be locked, as requirements.txt and requirements-dev.txt pin it. Raises LookupError."""
    own = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    others = (ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    found = re.findall(r"^[\w.-]+==\S+", own, re.MULTILINE)
    for package in (*ALONE, "chalice"):  # of Chalice, its two files that run in Lambda
        pinned = re.search(rf"^{package}==\S+", others, re.MULTILINE)
        if not pinned:
            raise LookupError(f"requirements-dev.txt does not pin {package}")
        found.append(pinned[0])
    return sorted(found)


def _install(packages: Iterable[Locked], into: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder) / LOCK.name
        lock.write_text("".join(f"{package}\n" for package in packages), encoding="utf-8")
        checked = ("--require-hashes", "--no-compile", "--target", str(into), "-r", str(lock))
        _pip(*checked)
    _prune(into)


def _pip(*arguments: str) -> None:
    done = subprocess.run([*_PIP, *_FOR_LAMBDA, *arguments], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise InstallationFailed(done.stderr.strip())


def _prune(folder: Path) -> None:
    """Remove what Lambda does not need, and what depends on the machine: pip's records and scripts."""
    shutil.rmtree(folder / "bin", ignore_errors=True)
    for name in ("INSTALLER", "RECORD", "REQUESTED"):
        for record in folder.glob(f"*.dist-info/{name}"):
            record.unlink()
    for part in (folder / "chalice").glob("*"):
        if part.is_dir():
            shutil.rmtree(part)
        elif part.name not in ("__init__.py", "app.py"):  # what Chalice itself packages
            part.unlink()
    # The SDK has patches for a dozen libraries that are not used here; only botocore's is needed.
    for extension in (folder / "aws_xray_sdk" / "ext").glob("*"):
        if extension.is_dir() and extension.name not in ("botocore", "resources"):
            shutil.rmtree(extension)
