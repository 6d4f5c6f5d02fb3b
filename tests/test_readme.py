"""What the README and the documents beside it say is so."""

import json
import os
import re
import subprocess
from pathlib import Path

from chalicelib.settings import Settings
from tests.support.callers import POOL
from tests.support.laptop import running_laptop
from tests.support.snippets import documents, snippet
from tests.support.template import ROOT

README = (ROOT / "README.md").read_text("utf-8")


def alike(printed: str) -> str:
    """What the double click printed, without ids and times, and whatever status the order had at the end."""
    for pattern in (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", r"\d{4}-\d\d-\d\dT[\d:.]+Z", r"double-click-\d+"):
        printed = re.sub(pattern, "…", printed)
    return re.sub(r"(PENDING|RESERVED|CONFIRMED)\"}$", '…"}', printed.strip())


def test_the_double_click_of_the_readme_is_one_order(tmp_path: Path) -> None:
    script = tmp_path / "double_click.sh"
    script.write_text(snippet("README.md", "#!/bin/sh").text, "utf-8")
    with running_laptop() as laptop:
        ran = subprocess.run(
            ["sh", script], env=os.environ | {"API": laptop.api}, capture_output=True, text=True, timeout=60, check=True
        )
    *clicks, explained = ran.stdout.splitlines()
    bodies = [line for line in clicks if line.startswith("{")]
    assert len(bodies) == 2
    assert bodies[0] == bodies[1]
    assert [line for line in clicks if line.startswith("HTTP")] == ["HTTP/1.1 201 Created"] * 2
    assert clicks.count("Idempotent-Replayed: true") == 1
    order = json.loads(bodies[0])
    assert json.loads(explained)["orderId"] == order["orderId"]
    assert alike(ran.stdout) == alike(snippet("README.md", "HTTP/1.1 201").text)


GIVEN = {
    **POOL,
    "STATE_MACHINE": "",
    "STRIPE_KEY": "ssm:/stripe",
    "STRIPE_URL": "",
    "PAYMENTS_SIMULATED_ON_PROD": "yes",
}
"""What no other word would do for."""


def test_the_configuration_table_has_every_setting() -> None:
    class Asked(dict[str, str]):
        names: set[str] = set()  # noqa: RUF012 - one environment, one test

        def get(self, name: str, default: object = None) -> str:
            self.names.add(name)
            return str(default) if default else GIVEN.get(name, "USD")

    environment = Asked()
    Settings.from_environment(environment)
    missing = {
        name
        for name in environment.names | {"LOG_FORMAT", "CORS_ORIGIN", "USER_POOL_SCOPES"}
        if f"`{name}`" not in README
    }
    assert not missing


def anchors(page: Path) -> set[str]:
    """The fragments that a link into a page may have: its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_between_the_documents_leads_somewhere() -> None:
    for document in documents():
        for target, fragment in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", document.read_text("utf-8")):
            if "://" not in target:
                page = document.parent / target if target else document
                assert page.exists(), f"{document.name} links to {target}"
                assert not fragment or fragment in anchors(page), f"{document.name} links to {target}#{fragment}"
