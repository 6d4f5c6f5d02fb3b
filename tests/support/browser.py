"""An API reference, as a headless browser shows it: Debian's chromium, driven by Playwright in `.cache/browser`."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

from tests.support.environments import NotInstalled, python_with
from tests.support.skipping import skip_or_fail
from tests.support.template import ROOT

BROWSER = ROOT / "tests" / "browser"


@dataclass(frozen=True)
class Seen:
    """What a browser has seen: see tests/browser/visit.py."""

    operations: set[tuple[str, str]]
    requests: list[str]
    errors: list[str]
    answers: list[dict[str, str]]


def visited(url: str, *to_try: tuple[str, str]) -> Seen:
    """Look at the API reference at a URL, and try out operations by method and path.

    Skips the test where there is no browser, or fails if REQUIRE_BROWSER=1.
    """
    try:
        if (chromium := shutil.which("chromium")) is None:
            raise NotInstalled("there is no `chromium` on this machine")
        python = python_with(BROWSER / "requirements.txt", ROOT / ".cache" / "browser")
    except NotInstalled as missing:
        to_run = "install chromium (on Debian: apt-get install chromium), then make test"
        skip_or_fail("REQUIRE_BROWSER", str(missing), to_run)
    command = [str(python), str(BROWSER / "visit.py"), chromium, url, *(word for one in to_try for word in one)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    seen: Any = json.loads(ran.stdout)
    return Seen({(method, path) for method, path in seen.pop("operations")}, **seen)
