"""Every block of the documents is shown by a test. A new block gets a row here, and a test that runs or checks it.

A block is named by its document and the beginning of its first line that has a letter. The test takes the text of the
block from the document (`tests.support.snippets.snippet`), so it shows what is written, not a copy of it.
"""

import re

import pytest

from tests.support.snippets import Snippet, documents, snippets
from tests.support.template import ROOT

FIRST_STEPS = "tests/docs/test_first_steps.py"
API = "tests/docs/test_api.py"
CLIENTS = "tests/docs/test_clients.py"
EVENTS = "tests/docs/test_events.py"
DEPLOYING = "tests/docs/test_deploying.py"
TOKENS = "tests/deploy/test_emulated_tokens.py::test_a_stage_makes_its_pool_and_lets_in_whoever_has_a_token_of_it"
SESSIONS = "tests/ops/test_documented.py::test_each_command_prints_what_the_page_shows"

SHOWN_BY = {
    ("README.md", "git clone "): f"{FIRST_STEPS}::test_the_clone_is_a_checkout_with_its_makefile",
    ("README.md", "make run"): f"{FIRST_STEPS}::test_make_run_serves_the_service_until_ctrl_c",
    ("README.md", "#!/bin/sh"): "tests/test_readme.py::test_the_double_click_of_the_readme_is_one_order",
    ("README.md", "HTTP/1.1 201"): "tests/test_readme.py::test_the_double_click_of_the_readme_is_one_order",
    ("README.md", "flowchart LR"): f"{FIRST_STEPS}::test_the_flow_names_tables_queues_and_functions_that_exist",
    ("README.md", "make resources STAGE=dev"): f"{DEPLOYING}::test_each_command_is_run_or_understood",
    ("README.md", "app.py "): f"{FIRST_STEPS}::test_the_house_has_the_rooms_that_the_readme_lists",
    ("clients/README.md", "# laptop.py"): f"{CLIENTS}::test_an_order_is_placed_and_all_are_listed",
    ("clients/README.md", "// laptop.mjs"): f"{CLIENTS}::test_an_order_is_placed_and_all_are_listed",
    ("clients/README.md", "# iam.py"): f"{API}::test_a_signed_order_is_placed_and_listed",
    ("clients/README.md", "// iam.mjs"): f"{API}::test_a_signed_order_is_placed_and_listed",
    ("clients/README.md", "# cognito.py"): f"{CLIENTS}::test_a_closed_stage_takes_an_order_with_a_token",
    ("clients/README.md", "// cognito.mjs"): f"{CLIENTS}::test_a_closed_stage_takes_an_order_with_a_token",
    ("docs/api.md", '"customerId": "CUST-42"'): f"{API}::test_a_signed_order_is_placed_and_listed",
    (
        "docs/api.md",
        '"orderId": "ORD-20260420-001"',
    ): f"{API}::test_a_producers_event_is_sent_twice_and_becomes_one_order",
    ("docs/api.md", "from pathlib import Path"): f"{API}::test_a_producers_event_is_sent_twice_and_becomes_one_order",
    ("docs/api.md", "#!/bin/sh"): f"{API}::test_a_signed_order_is_placed_and_listed",
    ("docs/changing.md", "import json"): f"{FIRST_STEPS}::test_the_fixture_to_copy_tests_a_change",
    (
        "docs/conformance.md",
        ".venv/bin/python -m conformance",
    ): "tests/conformance/test_orderonce.py::test_the_command_finds_nothing_on_the_laptop_stack",
    (
        "docs/conformance.md",
        'name = "A careful service"',
    ): "tests/conformance/test_docs.py::test_the_profile_on_the_page_is_the_one_that_the_tests_run",
    ("docs/deploying.md", "make resources STAGE=dev"): f"{DEPLOYING}::test_each_command_is_run_or_understood",
    ("docs/deploying.md", "make package STAGE=prod"): f"{DEPLOYING}::test_each_command_is_run_or_understood",
    (
        "docs/deploying.md",
        ".venv/bin/python -m ops --stage prod intake pause",
    ): "tests/ops/test_restore_drill.py::test_nothing_is_lost_and_nobody_is_charged_twice",
    (
        "docs/deploying.md",
        "aws secretsmanager create-secret",
    ): "tests/deploy/test_payments.py::test_the_key_is_put_where_the_settings_say",
    (
        "docs/deploying.md",
        "aws cloudformation deploy",
    ): f"{DEPLOYING}::test_the_stack_for_an_account_is_made_with_parameters_that_it_has",
    (
        "docs/design.md",
        "PENDING ──reserve",
    ): "tests/domain/test_state_diagram.py::test_the_design_draws_every_transition",
    (
        "docs/engines.md",
        '"environment_variables": {"ENGINE"',
    ): "tests/deploy/test_state_machine.py::test_the_page_has_what_such_a_stage_is_configured_with",
    ("docs/events.md", '"version": "0"'): f"{EVENTS}::test_the_example_is_as_the_schema_says",
    ("docs/events.md", "Parameters:"): f"{EVENTS}::test_the_template_has_no_errors",
    ("docs/events.md", "import json"): f"{EVENTS}::test_the_consumer_does_everything_once_whatever_arrives_how_often",
    ("docs/laptop.md", "token=$("): "tests/local/test_tokens.py::test_the_commands_of_the_page_work",
    ("docs/laptop.md", "AWS_PORT=9010 make run"): f"{FIRST_STEPS}::test_a_second_api_and_the_command_line_find_a_stack",
    ("docs/operating.md", "$ ops dead-letters list"): SESSIONS,
    ("docs/operating.md", "$ ops dead-letters show a4af5454"): SESSIONS,
    ("docs/operating.md", "$ ops dead-letters replay a4af5454"): SESSIONS,
    ("docs/operating.md", "$ ops dead-letters export export.jsonl"): SESSIONS,
    ("docs/operating.md", "$ ops orders list CUST-42"): SESSIONS,
    ("docs/operating.md", "$ ops orders stuck --older-than 30m"): SESSIONS,
    ("docs/operating.md", "$ ops keys explain CUST-42 first-try"): SESSIONS,
    (
        "docs/operating.md",
        "$ ops stage smoke local",
    ): "tests/ops/test_smoke.py::test_the_laptop_stack_is_green_and_an_api_that_is_away_is_red",
    ("docs/operating.md", "$ ops catalogue list"): (
        "tests/ops/test_documented.py::test_the_catalogue_is_listed_as_the_page_shows_it"
    ),
    ("docs/operating.md", "$ ops catalogue load local/catalogue.json"): SESSIONS,
    (
        "docs/operating.md",
        "$ ops intake status",
    ): "tests/ops/test_intake.py::test_the_page_shows_what_the_commands_print",
    (
        "docs/operating.md",
        "$ ops tables restore",
    ): "tests/ops/test_tables.py::test_the_page_shows_what_a_restore_prints",
    (
        "docs/operating.md",
        "$ ops payments reconcile",
    ): "tests/ops/test_payments.py::test_the_page_shows_what_differs",
    (
        "docs/operating.md",
        "$ ops payments check",
    ): "tests/ops/test_payments_by_stripe.py::test_the_page_shows_a_check",
    ("docs/operating.md", "$ ops stage check local"): (
        "tests/ops/test_laptop.py::test_the_stage_is_as_it_should_be_and_as_the_page_shows_it"
    ),
    (
        "docs/runbook.md",
        ".venv/bin/python -m ops --stage prod intake status",
    ): "tests/ops/test_intake.py::test_the_runbooks_commands_work_as_they_are",
    ("docs/runbook.md", "git switch --detach HEAD~1"): f"{DEPLOYING}::test_rolling_back_deploys_the_commit_before",
    **{
        ("docs/security.md", f'{{"Version": "2012-10-17", "Statement": [{{"Sid": "{policy}"'): (
            "tests/docs/test_policies.py::test_a_policy_lets_through_what_the_page_says_and_nothing_else"
        )
        for policy in ("Shop", "Places", "Reads", "Warehouse", "Everything")
    },
    ("docs/deploying.md", "aws cognito-idp admin-create-user"): TOKENS,
    ("docs/deploying.md", "curl -sS -u"): TOKENS,
    (
        "docs/payments.md",
        "sequenceDiagram",
    ): "tests/adapters/test_stripe_interleavings.py::test_the_picture_of_a_charge_and_a_refund_at_once_is_how_it_goes",
    ("docs/state_diagram.md", "stateDiagram-v2"): "tests/domain/test_state_diagram.py::test_the_page_is_not_stale",
    ("tests/README.md", "make test ARGS="): f"{FIRST_STEPS}::test_each_way_to_run_tests_finds_some",
}

COMPARED_WHOLE = {"docs/state_diagram.md"}
"""Pages that a program writes: a test compares all of such a page."""

BLOCKS = [block for document in documents() for block in snippets(document)]


def rows_of(block: Snippet) -> list[tuple[str, str]]:
    return [row for row in SHOWN_BY if block.document == row[0] and block.first_words.startswith(row[1])]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.document}: {block.first_words[:40]}")
def test_every_block_has_one_row(block: Snippet) -> None:
    assert len(rows_of(block)) == 1, f"{len(rows_of(block))} rows of SHOWN_BY for this block:\n{block.text}"


def test_every_row_has_one_block() -> None:
    blocks = [row for block in BLOCKS for row in rows_of(block)]
    assert {row: blocks.count(row) for row in SHOWN_BY} == dict.fromkeys(SHOWN_BY, 1)


@pytest.mark.parametrize("row", SHOWN_BY, ids=": ".join)
def test_the_test_of_a_row_exists_and_its_file_takes_the_block_from_the_document(row: tuple[str, str]) -> None:
    file, _, test = SHOWN_BY[row].partition("::")
    code = (ROOT / file).read_text("utf-8")
    assert f"def {test}(" in code
    taken = re.findall(r"snippet\(\s*(['\"])(\S+?)\1, (['\"])(.*?)\3\s*\)", code)
    assert row[0] in COMPARED_WHOLE or row in [(document, words) for _, document, _, words in taken]


def test_no_block_is_overlooked() -> None:
    """A fence that is indented, or of another length, would not be found."""
    for document in documents():
        fences = re.findall(r"^\s*(?:```|~~~)", document.read_text("utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(list(snippets(document))), document
