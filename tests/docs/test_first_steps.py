"""The first blocks that a reader copies: get it, run it, test it, change it."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.docs.conftest import Reader
from tests.support.checkout import checkout
from tests.support.network import free_port
from tests.support.skipping import skip
from tests.support.snippets import commands, snippet
from tests.support.template import ROOT, Template
from tests.support.waiting import until

CLONE = snippet("README.md", "git clone ")
RUN = snippet("README.md", "make run")
FLOW = snippet("README.md", "flowchart LR")
HOUSE = snippet("README.md", "app.py ")
LAPTOP = snippet("docs/laptop.md", "AWS_PORT=9010 make run")
RUN_TESTS = snippet("tests/README.md", "make test ARGS=")
FIXTURE = snippet("docs/changing.md", "import json")


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Somebody in a checkout of their own, for all that they try."""
    return Reader(checkout(tmp_path_factory.mktemp("newcomer") / "orderonce"))


def test_the_clone_is_a_checkout_with_its_makefile(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        skip("there is no `git` on this machine", to_run="install git, then make test ARGS=tests/docs")
    origin = Reader(checkout(tmp_path / "origin"))
    commit = "git init -q && git add . && git -c user.name=a -c user.email=a@b commit -q -m all"
    origin.runs("sh", "-c", commit)
    (address,) = re.findall(r"https://\S+", CLONE.text)
    elsewhere = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{origin.folder}.insteadOf",
        "GIT_CONFIG_VALUE_0": address,
    }
    printed = Reader(tmp_path).runs("sh", "-e", "-c", f"{CLONE.text}\nmake help", also=elsewhere)
    assert "make run" in printed


def test_make_run_serves_the_service_until_ctrl_c(newcomer: Reader) -> None:
    (command,) = (line for line in commands(RUN) if line.startswith("make run"))
    process = subprocess.Popen(
        ["sh", "-c", command],
        cwd=newcomer.folder,
        env=newcomer.environment({"PORT": "0", "AWS_PORT": "0"}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            assert process.stderr
            lines = iter(process.stderr.readline, "")
            api = next(found[1] for line in lines if (found := re.search(r"API +(http://\S+)", line)))
            with urlopen(f"{api}/customers/nobody/orders", timeout=10) as answer:
                assert answer.status == 200
            os.killpg(process.pid, signal.SIGINT)  # as the terminal does
            process.communicate(timeout=20)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def test_a_second_api_and_the_command_line_find_a_stack(newcomer: Reader) -> None:
    free = [free_port() for _ in range(3)]
    run, second, list_orders = (_on_ports(command, free) for command in commands(LAPTOP))
    with _started(newcomer, run, free[1]), _started(newcomer, second, free[2]):
        assert "0 orders" in newcomer.runs("sh", "-c", f"{list_orders} 2>&1")


def _on_ports(command: str, ports: list[int]) -> str:
    for shown, port in zip(("9010", "9000", "9001"), ports, strict=True):
        command = command.replace(shown, str(port))
    return command


def _answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def _started(reader: Reader, command: str, port: int) -> Iterator[None]:
    """The command is running, and answers on the port."""
    process = subprocess.Popen(
        ["sh", "-c", command],
        cwd=reader.folder,
        env=reader.environment({}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: _answers(port))
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_make_test_runs_the_tests(newcomer: Reader) -> None:
    (command,) = (line for line in commands(RUN) if line.startswith("make test"))
    assert " passed" in newcomer.runs(
        "sh", "-c", command, also={"ARGS": "-n 0 tests/domain/test_fields.py"}, seconds=240
    )


@pytest.mark.slow
@pytest.mark.parametrize("line", range(len(commands(RUN_TESTS))))  # by number: `-k` must not find the command's own id
def test_each_way_to_run_tests_finds_some(newcomer: Reader, line: int) -> None:
    printed = newcomer.runs(
        "sh", "-c", commands(RUN_TESTS)[line], also={"PYTEST_ADDOPTS": "--collect-only -q"}, seconds=120
    )
    assert re.search(r"[1-9]\d*(/\d+)? tests? collected", printed), printed


@pytest.mark.parametrize("where", ["tests", "."])
def test_the_fixture_to_copy_tests_a_change(newcomer: Reader, where: str) -> None:
    """In the folder of the tests, and outside of it, where no conftest.py prepares anything."""
    newcomer.save(f"{where}/test_my_change.py", FIXTURE)
    printed = newcomer.runs(
        ".venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{where}/test_my_change.py"
    )
    assert re.search(r"\d passed", printed)
    assert "failed" not in printed


# --- what the README draws ---


def test_the_flow_names_tables_queues_and_functions_that_exist() -> None:
    resources = Template.load({"Stage": "test"}).resources
    tables, queues = re.findall(r"(\w+)\[\(", FLOW.text), re.findall(r"(\w+)\[\[", FLOW.text)
    assert {*tables, *queues} == {"Orders", "OrderQueue", "OrderDeadLetters"}
    assert {*(f"{table}Table" for table in tables), *queues} <= resources.keys()
    functions = (ROOT / "app.py").read_text("utf-8")
    for name in ("place", "consumer", "recover", "dead_letter_monitor"):
        assert re.search(rf"\b{name}\b", FLOW.text)
        assert re.search(rf"^def \w*{name}\w*\(", functions, re.MULTILINE), name


def test_the_house_has_the_rooms_that_the_readme_lists() -> None:
    for line in HOUSE.text.splitlines():
        name, what = line.split(maxsplit=1) if " " in line.strip() else (line.strip(), "")
        room = (ROOT / "chalicelib" if line.startswith(" ") else ROOT) / name
        assert room.exists(), room
        listed = re.findall(r"\w+", re.split(r"[:;] |the world outside", what)[-1]) if line.startswith(" ") else []
        assert all(list(room.parent.rglob(f"{file}*")) for file in listed if file not in ("beside", "it", "and")), line
