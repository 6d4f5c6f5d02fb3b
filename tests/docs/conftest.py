"""A reader who copies blocks, and a laptop stack beside them."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.laptop import Laptop, running_laptop
from tests.support.skipping import skip
from tests.support.snippets import Snippet

LAPTOP_API, LAPTOP_AWS = "http://127.0.0.1:8000", "http://127.0.0.1:8010"
"""Where the documents say that the laptop stack is."""


@dataclass(frozen=True)
class Reader:
    """Somebody who saves blocks as files in a folder and runs them, with no settings of AWS of their own."""

    folder: Path
    laptop: Laptop | None = None

    def save(self, name: str, block: Snippet) -> Path:
        """The block as it is; only the laptop stack's usual addresses become those of the one that runs."""
        text = block.text
        if self.laptop:
            text = text.replace(LAPTOP_API, self.laptop.api).replace(LAPTOP_AWS, self.laptop.aws)
        path = self.folder / name
        path.write_text(text, "utf-8")
        return path

    def runs(
        self, *command: str, also: Mapping[str, str] | None = None, seconds: float = 60, status: int | None = 0
    ) -> str:
        """The output of a command, stderr included, which ends with this status (None: with any).

        `also`: further environment variables.
        """
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(also or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert status in (None, done.returncode), done.stdout
        return done.stdout

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """A shell's, without anything that leads to AWS."""
        own = ("AWS_", "POWERTOOLS_", "PYTEST_")
        plain = {name: value for name, value in os.environ.items() if not name.startswith(own) and name != "AUTH"}
        return plain | {"HOME": str(self.folder), "AWS_EC2_METADATA_DISABLED": "true", **more}


@pytest.fixture(scope="module")
def laptop() -> Iterator[Laptop]:
    with running_laptop() as laptop:
        yield laptop


@pytest.fixture
def reader(tmp_path: Path, laptop: Laptop) -> Reader:
    """A reader beside a running laptop stack."""
    return Reader(tmp_path, laptop)


NEEDED = {"js": ("node", (18,)), "sh": ("curl", (7, 75))}
"""What blocks of a language need, and its oldest version that will do."""


def interpreter(language: str) -> str:
    """The program that runs blocks of this language. Skips where what they need is missing or too old."""
    if language == "python":
        return sys.executable
    name, least = NEEDED[language]
    found = shutil.which(name)
    wanted = f"{name} {'.'.join(map(str, least))} or newer"
    if found is None:
        skip(f"there is no `{name}` on this machine", to_run=f"install {wanted}, then make test ARGS=tests/docs")
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    if tuple(map(int, re.findall(r"\d+", said)))[: len(least)] < least:
        skip(f"{said} is too old", to_run=f"install {wanted}, then make test ARGS=tests/docs")
    return "sh" if language == "sh" else found
