"""Installations in `.cache/`, each made once: virtual environments and the like, of what must not share `.venv`."""

import fcntl
import hashlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path


class NotInstalled(Exception):
    """An environment could not be made on this machine; the text has the end of what pip, venv or npm said."""


def version(*parts: bytes) -> str:
    """Identifies an environment: by what is installed in it, and by what runs it."""
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def python_with(requirements: Path, cache: Path) -> Path:
    """The Python of the environment with these requirements, in a folder under `cache`.

    The first process to ask makes it while others wait. Raises NotInstalled.
    """
    folder = cache / version(requirements.read_bytes(), platform.python_version().encode())
    python = folder / "bin" / "python"

    def install() -> None:
        run(sys.executable, "-m", "venv", str(folder))
        pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        run(*pip, "-r", str(requirements))

    make_once(folder, install)
    return python


def make_once(folder: Path, install: Callable[[], None]) -> None:
    """Have `install` fill the folder, unless that was done; others wait meanwhile. Raises what `install` raises."""
    complete = folder / "complete"
    if complete.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            install()
            complete.touch()  # last: an interrupted installation is repeated


def run(*command: str, folder: Path | None = None) -> None:
    """Run a command of an installation, in `folder`. Raises NotInstalled with the end of what it said."""
    ran = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise NotInstalled((ran.stdout + ran.stderr)[-2000:])
