"""Packages of npm are there, skipped with a word, or required."""

import subprocess
from pathlib import Path

import pytest

from tests.support import node
from tests.support.template import ROOT

MANIFESTS = sorted(file.parent for file in (ROOT / "tests").rglob("package-lock.json"))


def test_a_machine_without_node_skips_and_a_build_that_requires_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in node.MANIFEST:
        (tmp_path / name).touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("REQUIRE_NODE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="there is no `node`"):
        node.node_modules(tmp_path)
    monkeypatch.setenv("REQUIRE_NODE", "1")
    with pytest.raises(pytest.fail.Exception, match="there is no `node`"):
        node.node_modules(tmp_path)


@pytest.mark.parametrize("folder", MANIFESTS, ids=lambda folder: folder.name)
def test_every_lockfile_has_one_version_and_a_hash_for_each_package_and_no_address(folder: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "."], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert set(node.MANIFEST) <= set(tracked.split())
    text = (folder / "package-lock.json").read_text("utf-8")
    assert '"resolved"' not in text
    assert text.count('"version": "') == text.count('"integrity": "') > 0
