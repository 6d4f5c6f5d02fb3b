"""Virtual environments in `.cache/`, each made once from a requirements file, for tools that must not share `.venv`."""

import fcntl
import hashlib
import platform
import shutil
import subprocess
import sys
from pathlib import Path


class NotInstalled(Exception):
    """An environment could not be made on this machine; the text has the end of what pip or venv said."""


def version(requirements: Path) -> str:
    """Identifies an environment: by what is installed in it, and by its Python."""
    return hashlib.sha256(requirements.read_bytes() + platform.python_version().encode()).hexdigest()[:12]


def python_with(requirements: Path, cache: Path) -> Path:
    """The Python of the environment with these requirements, in a folder under `cache`.

    The first process to ask makes it while others wait. Raises NotInstalled.
    """
    folder = cache / version(requirements)
    complete, python = folder / "complete", folder / "bin" / "python"
    if complete.exists():
        return python
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            _run(sys.executable, "-m", "venv", str(folder))
            pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
            _run(*pip, "-r", str(requirements))
            complete.touch()  # last: an interrupted installation is repeated
    return python


def _run(*command: str) -> None:
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise NotInstalled((ran.stdout + ran.stderr)[-2000:])
