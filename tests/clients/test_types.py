"""The types in the JavaScript client's comments hold, as strictly as TypeScript goes; mypy checks the Python client."""

import shutil
import subprocess
from pathlib import Path

from tests.clients.callers import HERE
from tests.support.node import node_modules
from tests.support.template import ROOT

STRICT = (
    *("--noEmit", "--allowJs", "--checkJs", "--strict"),
    *("--target", "es2022", "--lib", "es2022,dom,dom.iterable,dom.asynciterable"),
    *("--module", "esnext", "--moduleResolution", "bundler"),
)


def test_the_types_of_the_javascript_client_hold(tmp_path: Path) -> None:
    modules = node_modules(HERE)
    (tmp_path / "node_modules").symlink_to(modules)
    shutil.copy(ROOT / "clients" / "javascript" / "orderonce.mjs", tmp_path)
    shutil.copy(HERE / "types.mjs", tmp_path)
    compiler = modules / "typescript" / "bin" / "tsc"
    ran = subprocess.run(
        ["node", compiler, *STRICT, "types.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (ran.stdout, ran.returncode) == ("", 0)
