"""The laptop stack in a process of its own, on ports that the operating system chooses."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.template import ROOT


@dataclass(frozen=True)
class Laptop:
    """Where a running laptop stack is."""

    api: str
    aws: str
    banner: str
    process: subprocess.Popen[str]


@contextmanager
def running_laptop(module: str = "local", **settings: str) -> Iterator[Laptop]:
    """Start `python -m local`, wait until it says that it is up, and end it as Ctrl-C would.

    `module` is run in its place: one that says the same.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env=os.environ | {"PORT": "0", "AWS_PORT": "0"} | settings,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stderr is not None
            printed = ""
            banner = r"API +(http://\S+)\n.*embedded AWS +(http://\S+)\n(?s:.*)Ctrl-C ends it"
            while not (found := re.search(banner, printed)):
                line = process.stderr.readline()
                assert line, f"the laptop stack ended at its start: {printed}"
                printed += line
            # What it says from now on is read, so that it never has to wait for a reader.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield Laptop(found[1], found[2], found[0], process)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
