"""docs/conformance.md says what the suite does: its tables are made of the code, its blocks are what the tests run."""

import re
from collections.abc import Iterator
from typing import Any

from conformance import reports
from conformance.__main__ import parser
from conformance.reading import SCHEMA
from conformance.rule import DRAFT
from conformance.rules import ALL
from tests.conformance.test_rules import PROFILE
from tests.support.snippets import snippet
from tests.support.template import ROOT

PAGE = (ROOT / "docs" / "conformance.md").read_text("utf-8")


def rules_table() -> str:
    rows = [
        f"| `{rule.id}` | {rule.level} | {rule.text} | {rule.source.replace(f'{DRAFT}, section', 'draft,')} |"
        for rule in ALL
    ]
    return "\n".join(["| rule | level | what it says | source |", "| --- | --- | --- | --- |", *rows, ""])


def profile_table() -> str:
    rows = [f"| `{key}` | {text} |" for key, text in _keys(SCHEMA, "")]
    return "\n".join(["| key | meaning |", "| --- | --- |", *rows, ""])


def _keys(schema: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    required = schema.get("required", ())
    for name, inner in schema["properties"].items():
        if "properties" in inner:
            yield from _keys(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner["description"] + ("; required" if name in required else "")


def test_the_page_has_the_table_of_the_rules() -> None:
    assert f"<!-- rules -->\n{rules_table()}<!-- end of rules -->" in PAGE, f"it is:\n{rules_table()}"


def test_the_page_has_the_table_of_a_profiles_keys() -> None:
    assert f"<!-- profile -->\n{profile_table()}<!-- end of profile -->" in PAGE, f"it is:\n{profile_table()}"


def test_the_profile_on_the_page_is_the_one_that_the_tests_run() -> None:
    assert snippet("docs/conformance.md", 'name = "A careful service"').text == PROFILE.read_text("utf-8")


def test_the_page_names_every_option_and_format() -> None:
    options = [option for action in parser()._actions for option in action.option_strings if option.startswith("--")]
    assert len(options) > 5
    for word in {*options, *reports.FORMATS} - {"--help"}:
        assert re.search(rf"[` ]{word}[` ]", PAGE), word
