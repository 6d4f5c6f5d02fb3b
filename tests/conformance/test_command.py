"""The command: it asks before it creates anything, and its status says what was found."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conformance.__main__ import main
from conformance.profile import Hook
from conformance.reading import read_profile
from conformance.rule import Result
from conformance.rules import ALL, failures, retries
from conformance.run import max_requests, run
from conformance.trial import OutOfTime, Trial
from conformance.wire import Wire
from tests.conformance.careful import Careful
from tests.conformance.serving import serving
from tests.conformance.test_rules import PROFILE, TOKENS
from tests.support.network import free_port
from tests.support.template import ROOT

YES = "--yes-it-creates-orders"
CAREFUL = ["--profile", str(PROFILE)]


@pytest.fixture(autouse=True)
def _tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TOKENS.items():
        monkeypatch.setenv(name, value)


def test_the_flag_is_not_given_by_half(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["http://127.0.0.1:1", "--yes"])


def test_without_the_flag_nothing_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    service = Careful()
    with serving(service) as url:
        assert main([url, *CAREFUL]) == 2
    assert not service.asked
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert YES in said
    assert f"up to {max_requests(ALL)} requests" in said


def test_no_more_requests_are_sent_than_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    service = Careful()
    with serving(service) as url:
        assert main([url, YES, *CAREFUL, "--strict"]) == 0
    assert 50 < service.asked <= max_requests(ALL)
    said = capsys.readouterr()
    assert said.err.startswith(f"Up to {max_requests(ALL)} requests (POST /orders and others) go to {url}, for at most")
    assert said.out.endswith(" conformant (strict)\n")
    assert not any(token in said.out for token in TOKENS.values())


@pytest.mark.parametrize(
    ("fault", "strict", "status"),
    [
        ("answers 405 without Allow", False, 1),  # MUST
        ("answers a reused key with 409", False, 0),  # SHOULD
        ("answers a reused key with 409", True, 1),
        ("does not mark a retry", True, 0),  # advice
    ],
)
def test_the_status_says_whether_what_counts_is_broken(fault: str, strict: bool, status: int) -> None:
    with serving(Careful(fault)) as url:
        assert main([url, YES, *CAREFUL, *(["--strict"] if strict else [])]) == status


def test_a_copy_of_the_folder_writes_a_report_for_a_ci_server(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "conformance", tmp_path / "conformance")
    out = tmp_path / "junit.xml"
    with serving(Careful("answers 405 without Allow")) as url:
        words = [sys.executable, "-m", "conformance", url, YES, *CAREFUL, "--format", "junit", "--out", str(out)]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    suite = ElementTree.parse(out).getroot()
    assert [case.attrib["name"] for case in suite if case.find("failure") is not None] == ["allow"]


def test_a_requests_evidence_is_in_the_json(tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    with serving(Careful()) as url:
        main([url, YES, *CAREFUL, "--format", "json", "--out", str(out)])
    rules = {rule["id"]: rule for rule in json.loads(out.read_text("utf-8"))["rules"]}
    first, again = rules["replay-bytes"]["exchanges"]
    assert first["request"] == again["request"]
    assert ["Authorization", "[hidden]"] in first["request"]["headers"]
    assert [first["answer"]["status"], again["answer"]["status"]] == [201, 201]


def test_what_cannot_be_tried_is_one_sentence_and_status_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def with_change(name: str, was: str, now: str) -> list[str]:
        path = tmp_path / f"{name}.toml"
        path.write_text(PROFILE.read_text("utf-8").replace(was, now), "utf-8")
        return ["--profile", str(path)]

    wrong = with_change("wrong", '"what": "$what', '"which": "$what')
    no_hook = with_change("hook", "/orders/$id/cancel", "/nowhere")
    bad_command = with_change("command", 'url = "/orders/$id/cancel"', 'command = ["false"]')
    no_list = with_change("list", 'count_pointer = "/orders"', 'count_pointer = "/none"')
    with serving(Careful()) as url:
        for words, said in (
            ([f"http://127.0.0.1:{free_port()}"], "cannot be reached: Connection refused"),
            ([url, "--profile", str(tmp_path / "none.toml")], "cannot be read"),
            ([url, *wrong], "The profile's request is not accepted (400)"),
            ([url, *no_hook], "the hook POST /nowhere was answered 404"),
            ([url, *bad_command], "the hook `false` ended with status 1"),
            ([url, *no_list], "resource.count_path was answered 200, and has no list at '/none'"),
            ([url, "--time-limit", "0"], "The time limit of 0 seconds was over"),
        ):
            assert main([*CAREFUL, *words, YES]) == 2, said
            sentence = capsys.readouterr().err.splitlines()[-1]
            assert said in sentence


def test_what_was_made_to_fail_is_mended_also_when_the_time_is_over() -> None:
    service = Careful()
    with serving(service) as url:
        profile = read_profile(PROFILE, TOKENS)
        trial = Trial(profile, Wire(url, 5), quoted=True, budget=9, deadline=0, earlier=())
        with pytest.raises(OutOfTime):
            failures.failure_says_when.check(trial)
    assert service.outages == 1
    assert not service.down


@pytest.mark.parametrize("address", ["ftp://127.0.0.1", "http://alice:secret@127.0.0.1"])
def test_what_is_not_an_address_is_refused_before_it_is_shown(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([address, YES])
    said = capsys.readouterr().err
    assert "address" in said
    assert "secret" not in said


def test_a_hook_may_be_a_command_that_is_told_the_resource(tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
    change = Hook(command=(sys.executable, "-c", script, str(told), "order $id at $location of $what"))
    with serving(Careful()) as url:
        found = run(replace(read_profile(PROFILE, TOKENS), change=change), url, [retries.replay_after_change], 60)
    assert [one.result for one in found.verdicts] == [Result.PASS]
    assert told.read_text("utf-8") == "order 2 at /orders/2 of apples"  # the run's first request was order 1
