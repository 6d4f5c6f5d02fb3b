"""A browser is there, skipped with a word, or required."""

from pathlib import Path

import pytest

from tests.support.browser import visited


def test_a_machine_without_a_browser_skips_and_a_build_that_requires_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("REQUIRE_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="there is no `chromium`"):
        visited("file:///")
    monkeypatch.setenv("REQUIRE_BROWSER", "1")
    with pytest.raises(pytest.fail.Exception, match="there is no `chromium`"):
        visited("file:///")
