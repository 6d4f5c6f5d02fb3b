"""schemathesis makes requests of the API's description, good and bad, one after the other along its links: the laptop
stack, which lets in whoever has a token, answers each as the description says."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pytest

from docs.openapi.document import BUILT
from tests.openapi.oasdiff import TO_RUN
from tests.support.environments import python_with
from tests.support.laptop import running_laptop
from tests.support.skipping import skip
from tests.support.template import ROOT

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Api:
    """Where it is, and an operator's token for it."""

    url: str
    token: str


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    if os.environ.get("REQUIRE_OPENAPI_TOOLS") != "1":
        skip("tries the API by schemathesis, which is installed for it", to_run=TO_RUN)
    with running_laptop(AUTH="cognito") as laptop:
        environment = os.environ | {"AWS_PORT": str(urlsplit(laptop.aws).port)}
        command = [sys.executable, "-m", "local", "token", "--operator"]
        printed = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        yield Api(laptop.api, printed.strip())


def tried(document: Path, api: Api, *options: str) -> subprocess.CompletedProcess[str]:
    """Every check, of the same requests each time. `schemathesis.toml` has what is left out, and why."""
    program = python_with(HERE / "requirements.txt", ROOT / ".cache" / "schemathesis").with_name("st")
    command = [str(program), "--config-file", str(HERE / "schemathesis.toml"), "run", str(document), "--url", api.url]
    command += ["--header", f"Authorization: Bearer {api.token}", "--checks", "all", "--seed", "1"]
    with TemporaryDirectory() as folder:  # what it remembers of a run, it would try first in the next
        return subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, check=False)


def test_whatever_is_made_of_the_description_is_answered_as_it_says(api: Api) -> None:
    done = tried(BUILT, api, "--max-examples", "35", "--continue-on-failure")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Selected: 9/9" in done.stdout
    assert "Stateful" in done.stdout


def test_a_description_that_is_wrong_is_found_out(api: Api, tmp_path: Path) -> None:
    document = json.loads(BUILT.read_text("utf-8"))
    document["components"]["schemas"]["Order"]["required"].append("colour")
    document["paths"]["/products"]["get"]["security"] = [{"accessToken": []}]
    wrong = tmp_path / "openapi.json"
    wrong.write_text(json.dumps(document), "utf-8")
    done = tried(wrong, api, "--phases", "examples,coverage")
    assert done.returncode == 1, done.stdout + done.stderr
    assert '"colour" is a required property' in done.stdout
    assert "API accepts requests without authentication" in done.stdout
