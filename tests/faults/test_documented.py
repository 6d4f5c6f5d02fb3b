"""docs/reliability.md says what is tried here."""

from tests.faults.scenarios import SCENARIOS
from tests.support.faults import FAULTS
from tests.support.template import ROOT

PAGE = " ".join((ROOT / "docs" / "reliability.md").read_text("utf-8").split())


def test_the_page_has_every_fault_and_every_scenario() -> None:
    assert [fault for fault, meaning in FAULTS.items() if f"| {fault} | {meaning} |" not in PAGE] == []
    listed = PAGE.partition("The scenarios: ")[2].partition(".")[0].replace("(", "").replace(")", "").split(", ")
    names = [word for name in SCENARIOS for word in name.split(", ")]
    assert [word.removeprefix("cancel ") for word in listed] == [word for word in names if word != "cancel"]
