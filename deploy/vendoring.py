"""The X-Ray SDK for the package, without its dependencies: botocore is in the Lambda runtime already."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.stages import ROOT

VENDOR = ROOT / "vendor"
_PACKAGES = ("aws-xray-sdk", "wrapt")
_PLATFORM = "manylinux2014_aarch64"


def requirements(text: str) -> list[str]:
    """The pinned versions of the SDK and what it needs. Raises LookupError, with a package's name."""
    found = []
    for package in _PACKAGES:
        pinned = re.search(rf"^{package}==[^\s;]+", text, re.MULTILINE)
        if not pinned:
            raise LookupError(f"requirements-dev.txt does not pin {package}")
        found.append(pinned[0])
    return found


def vendor(into: Path = VENDOR) -> None:
    """Put the SDK into `vendor/`, built for the functions' processor. Raises CalledProcessError if pip fails."""
    pinned = requirements((ROOT / "requirements-dev.txt").read_text(encoding="utf-8"))
    shutil.rmtree(into, ignore_errors=True)
    # Chalice chooses the runtime by the version of this interpreter.
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    built_for = ["--platform", _PLATFORM, "--python-version", version, "--only-binary", ":all:"]
    quietly = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-compile"]
    pip = [sys.executable, "-m", "pip", "install", *quietly]
    subprocess.run([*pip, "--no-deps", *built_for, "--target", str(into), *pinned], check=True)
    _without_tests(into)


def _without_tests(folder: Path) -> None:
    """The SDK has patches for a dozen libraries that are not used here; only botocore's is needed."""
    extensions = folder / "aws_xray_sdk" / "ext"
    for extension in extensions.iterdir():
        if extension.is_dir() and extension.name not in ("botocore", "resources"):
            shutil.rmtree(extension)
    shutil.rmtree(folder / "bin", ignore_errors=True)
