"""A checkout as somebody has it after the first `make`."""

import shutil
import sys
from pathlib import Path

from tests.support.template import ROOT

_MADE = (".git", ".venv", ".cache", ".hypothesis", ".*_cache", "__pycache__", "vendor", "out", "deployments")
_PROGRAMS = {
    "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
    # Chalice's reloader runs the very file again: it must be one that can be run.
    "chalice": f"#!{sys.executable}\nfrom chalice.cli import main\n\nmain()\n",
}


def checkout(at: Path) -> Path:
    """A copy of the checkout. Its .venv is complete, so that nothing is installed: it leads to this interpreter."""
    shutil.copytree(ROOT, at, ignore=shutil.ignore_patterns(*_MADE))
    programs = at / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, text in _PROGRAMS.items():
        (programs / name).write_text(text, "utf-8")
        (programs / name).chmod(0o755)
    (at / ".venv" / ".complete").touch()  # newer than the requirements
    return at
