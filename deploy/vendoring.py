"""The X-Ray SDK without what it asks for, for the package: botocore is in the Lambda runtime already."""

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
    """The pinned versions of the SDK and what it cannot do without. Raises LookupError, with a package's name."""
    found = []
    for package in _PACKAGES:
        pinned = re.search(rf"^{package}==[^\s;]+", text, re.MULTILINE)
        if not pinned:
            raise LookupError(f"requirements-dev.txt pins no {package}")
        found.append(pinned[0])
    return found


def vendor(into: Path = VENDOR) -> None:
    """Put the SDK into `vendor/`, built for the functions' processor. Raises CalledProcessError, where pip failed."""
    pinned = requirements((ROOT / "requirements-dev.txt").read_text(encoding="utf-8"))
    shutil.rmtree(into, ignore_errors=True)
    # The functions run on this interpreter's own version: so Chalice chooses the runtime.
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    built_for = ["--platform", _PLATFORM, "--python-version", version, "--only-binary", ":all:"]
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--no-compile",
    ]
    subprocess.run([*pip, "--no-deps", *built_for, "--target", str(into), *pinned], check=True)
    _without_tests(into)


def _without_tests(folder: Path) -> None:
    """The SDK carries its patches of a dozen libraries that nobody here uses; of those only botocore's is needed."""
    extensions = folder / "aws_xray_sdk" / "ext"
    for extension in extensions.iterdir():
        if extension.is_dir() and extension.name not in ("botocore", "resources"):
            shutil.rmtree(extension)
    shutil.rmtree(folder / "bin", ignore_errors=True)
