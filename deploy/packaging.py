"""A package: a stage's template, and the zip that is the same for every stage.

`chalice package` makes both, of a copy of the project that has what was installed by its hashes in `vendor/`, and no
requirements: Chalice would download those a second time, without looking at a hash.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from deploy.stages import PYTHON, ROOT
from deploy.template import merge_template
from deploy.vendoring import LOCK

TEMPLATE_NAME = "sam.json"
ZIP_NAME = "deployment.zip"
SBOM_NAME = "deployment.cdx.json"

_OURS = ("app.py", "chalicelib/", "chalice/")
"""What Chalice packages without any dependency."""


_SETTINGS_OF_THE_APP = {"CORS_ORIGIN", "ENGINE", "PAYMENTS", "USER_POOL_ARN", "USER_POOL_SCOPES"}
"""Those that the app is imported with, and that a stage may leave out."""


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


def package(stage: str, out: Path, project: Path = ROOT, *, vendored: Path | None = None) -> None:
    """Write `sam.json` and `deployment.zip` of a stage to `out`. Raises PackagingFailed, NoSuchStage.

    The same code and the same `vendored` packages (a folder; None: none) give the same zip, byte for byte, for every
    stage. Needs neither credentials nor a network.
    """
    template = merge_template(stage)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        _copy(project, vendored, copy)
        extra = Path(folder) / "merge.json"
        extra.write_text(json.dumps(template), encoding="utf-8")
        command = ["package", "--stage", stage, "--pkg-format", "cloudformation", "--merge-template", str(extra)]
        _chalice([*command, str(out.absolute())], copy)
    zipped = out / ZIP_NAME
    _write(zipped, _contents(zipped))


def package_with(artifact: Path, stage: str, out: Path, project: Path = ROOT) -> None:
    """The same, with a zip that was packaged before, as another stage runs it. Raises PackagingFailed, NoSuchStage."""
    package(stage, out, project)
    try:
        given = _contents(artifact)
    except (OSError, BadZipFile) as fault:
        raise PackagingFailed(f"{artifact} cannot be used: {fault}") from fault
    own = _contents(out / ZIP_NAME)
    # What the template says of the functions, this code says too.
    ours = {name: content for name, content in given.items() if name.startswith(_OURS)}
    if ours != own:
        others = sorted(name for name in own.keys() | ours.keys() if own.get(name) != ours.get(name))
        raise PackagingFailed(
            f"{artifact} was packaged from other code ({', '.join(others[:3])}): check out the commit of its code."
        )
    shutil.copyfile(artifact, out / ZIP_NAME)
    if (bill := artifact.with_name(SBOM_NAME)).exists():
        shutil.copyfile(bill, out / SBOM_NAME)


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _copy(project: Path, vendored: Path | None, at: Path) -> None:
    """What Chalice packages, and reads when it does."""
    compiled = shutil.ignore_patterns("__pycache__")
    shutil.copytree(project / "chalicelib", at / "chalicelib", ignore=compiled)
    shutil.copytree(project / ".chalice", at / ".chalice", ignore=shutil.ignore_patterns("deployments", "deployed"))
    shutil.copy(project / "app.py", at)
    (at / "requirements.txt").touch()
    if vendored:
        shutil.copytree(vendored, at / "vendor", ignore=compiled)


def _contents(zipped: Path) -> dict[str, bytes]:
    """The files in a zip. Raises PackagingFailed if it has two of one name that are not the same."""
    contents: dict[str, bytes] = {}
    with ZipFile(zipped) as archive:
        for entry in archive.infolist():
            content = archive.read(entry)
            # Chalice adds its own two files, which are among the vendored ones too: those have been checked.
            if contents.setdefault(entry.filename, content) != content:
                raise PackagingFailed(
                    f"{entry.filename} of .venv is not the one that {LOCK.name} has: make .venv again."
                )
    return contents


def _write(zipped: Path, contents: dict[str, bytes]) -> None:
    """Without times, owners, and the order of a folder: nothing but the contents decides about the bytes."""
    with ZipFile(zipped, "w", ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in sorted(contents.items()):
            entry = ZipInfo(name)  # of 1980
            entry.create_system = 3  # the permissions are those of Unix
            entry.external_attr = 0o100644 << 16
            entry.compress_type = ZIP_DEFLATED
            archive.writestr(entry, content)


def _chalice(arguments: list[str], project: Path) -> None:
    # The app is imported with the settings of the packaged stage, not with those of the caller.
    stages = json.loads((project / ".chalice" / "config.json").read_text(encoding="utf-8"))["stages"].values()
    settings = {name for stage in stages for name in stage["environment_variables"]} | _SETTINGS_OF_THE_APP
    environment = {name: value for name, value in os.environ.items() if name not in settings}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # it would be packaged
    environment.setdefault("AWS_DEFAULT_REGION", "us-east-1")  # Chalice needs one; nothing in the package names it
    main = "import sys; from chalice.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", main, "--project-dir", str(project), *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 or "Could not install dependencies" in done.stdout + done.stderr:
        raise PackagingFailed((done.stdout + done.stderr).strip())
