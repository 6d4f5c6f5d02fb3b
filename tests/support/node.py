"""Packages of npm that tests run on Node.js: installed once, into `.cache/node/`, by a folder's lockfile."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.support.environments import NotInstalled, make_once, run, version
from tests.support.skipping import skip_or_fail
from tests.support.template import ROOT

CACHE = ROOT / ".cache" / "node"
LEAST_NODE = 18
MANIFEST = ("package.json", "package-lock.json", ".npmrc")


@cache
def node_modules(folder: Path) -> Path:
    """The `node_modules` of a folder that has the three files of MANIFEST; the first process to ask installs it.

    Its programs are in `.bin`. Node.js finds its packages from every file beside it (a link to it does, too).
    Skips the test where it cannot be had, or fails if REQUIRE_NODE=1.
    """
    try:
        manifest = [(folder / name).read_bytes() for name in MANIFEST]
        home = CACHE / version(*manifest, node_version().encode())
        make_once(home, lambda: _install(folder, home))
        return home / "node_modules"
    except NotInstalled as missing:
        to_run = f"install Node.js {LEAST_NODE} or newer with npm, then make test"
        skip_or_fail("REQUIRE_NODE", str(missing), to_run)


def said_by(script: Path, documents: str) -> str:
    """What a script of Node.js prints, with the packages beside it, for what it reads from standard input."""
    ran = subprocess.run(
        ["node", str(script)],
        env=os.environ | {"NODE_PATH": str(node_modules(script.parent))},
        input=documents,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return ran.stdout


def node_version() -> str:
    """What `node --version` says. Raises NotInstalled if there is none, it is too old, or there is no npm."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise NotInstalled(f"there is no `{program}` on this machine")
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(said.removeprefix("v").partition(".")[0]) < LEAST_NODE:
        raise NotInstalled(f"Node.js {said} is older than {LEAST_NODE}")
    return said


def web_crypto() -> dict[str, str]:
    """The environment in which Node.js has the WebCrypto of browsers: 18 needs a flag, later ones do not."""
    return {"NODE_OPTIONS": "--experimental-global-webcrypto"} if node_version().startswith("v18.") else {}


def _install(folder: Path, home: Path) -> None:
    home.mkdir()
    for name in MANIFEST:
        shutil.copy(folder / name, home)
    run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=home)
