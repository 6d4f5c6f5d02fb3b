"""docs/postman_collection.json is not stale, passes on the laptop stack, and fails where the API is wrong."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from docs import postman
from tests.support.laptop import Laptop
from tests.support.node import node_modules
from tests.support.spoiling_proxy import Answer, spoiling_proxy
from tests.support.template import ROOT


def checked(api: str, folder: Path) -> dict[str, bool]:
    """Each assertion of the collection, and whether it holds for the API at this URL."""
    report = folder / "report.json"
    newman = str(node_modules(ROOT / "tests" / "node") / ".bin" / "newman")
    options = ["--env-var", f"baseUrl={api}", "--reporters", "json", "--reporter-json-export", str(report)]
    ran = subprocess.run(
        [newman, "run", str(postman.COLLECTION), *options], capture_output=True, text=True, timeout=120, check=False
    )
    run: Any = json.loads(report.read_text("utf-8"))["run"]
    found = [one for item in run["executions"] for one in item.get("assertions", ())]
    assert (ran.returncode == 0) == (not run["failures"]), ran.stderr
    return {one["assertion"]: "error" not in one for one in found}


def test_the_collection_is_not_stale() -> None:
    assert postman.COLLECTION.read_text("utf-8") == postman.text(), "run `make postman`"


def test_every_request_has_an_assertion_and_every_assertion_holds_on_the_laptop(laptop: Laptop, tmp_path: Path) -> None:
    for item in postman.collection()["item"]:
        assert "pm.test(" in "".join(item["event"][0]["script"]["exec"]), item["name"]
    for _ in range(2):  # each run has a key of its own
        found = checked(laptop.api, tmp_path)
        assert len(found) == postman.text().count("pm.test(")
        assert all(found.values()), found


def test_a_service_that_does_not_mark_replays_is_noticed(laptop: Laptop, tmp_path: Path) -> None:
    def unmarked(answer: Answer) -> Answer:
        headers = {name: value for name, value in answer.headers.items() if name != "idempotent-replayed"}
        return replace(answer, headers=headers)

    with spoiling_proxy(laptop.api, unmarked) as api:
        found = checked(api, tmp_path)
    assert [name for name in found if not found[name]] == ["201, and it says that it is a replay"]


def test_there_is_no_assertion_that_cannot_fail(laptop: Laptop, tmp_path: Path) -> None:
    with spoiling_proxy(laptop.api, lambda answer: replace(answer, status=200, body=b"{}")) as api:
        assert set(checked(api, tmp_path).values()) == {False}
