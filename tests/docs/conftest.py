"""A reader who copies blocks, and a laptop stack beside them."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.laptop import Laptop, running_laptop
from tests.support.node import node_modules, web_crypto
from tests.support.skipping import skip
from tests.support.snippets import Snippet
from tests.support.template import ROOT

LAPTOP_API, LAPTOP_AWS = "http://127.0.0.1:8000", "http://127.0.0.1:8010"
"""Where the documents say that the laptop stack is."""

CLIENTS = {
    ("clients/README.md", "python"): ROOT / "clients" / "python" / "orderonce.py",
    ("clients/README.md", "js"): ROOT / "clients" / "javascript" / "orderonce.mjs",
}
"""What a reader has copied who runs a block of this page in this language."""

NODE_PACKAGES = ROOT / "tests" / "clients"


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

    def runs_block(
        self, name: str, block: Snippet, also: Mapping[str, str] | None = None, status: int | None = 0
    ) -> str:
        """What a block prints that is saved under this name, a client beside it if it needs one. As for `runs`."""
        program, environment = interpreter(block.language), dict(also or {})
        if block.language == "js":
            environment |= web_crypto()
            with suppress(FileExistsError):
                (self.folder / "node_modules").symlink_to(node_modules(NODE_PACKAGES))
        if client := CLIENTS.get((block.document, block.language)):
            shutil.copy(client, self.folder)
        return self.runs(program, str(self.save(name, block)), also=environment, status=status)

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


CURL = (7, 75)
"""The oldest version that will do."""


def interpreter(language: str) -> str:
    """The program that runs blocks of this language. Skips where what they need is missing or too old."""
    if language == "python":
        return sys.executable
    if language == "js":
        node_modules(NODE_PACKAGES)
        return "node"
    wanted = f"install curl {'.'.join(map(str, CURL))} or newer, then make test ARGS=tests/docs"
    if shutil.which("curl") is None:
        skip("there is no `curl` on this machine", to_run=wanted)
    said = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]
    if tuple(map(int, re.findall(r"\d+", said)))[: len(CURL)] < CURL:
        skip(f"{said} is too old", to_run=wanted)
    return "sh"
