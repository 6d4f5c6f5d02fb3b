"""A changed setting changes the digest of the functions that read it, and nothing else does."""

from typing import Any

import pytest

from deploy.digests import MAY_DIFFER, SETTINGS_DIGEST, SHARED_SETTINGS, parameters_behind, stamped
from deploy.merging import merged
from deploy.stages import FUNCTIONS, ROOT, stage_parameters
from tests.deploy.packages import Package

VALUES = stage_parameters("prod")


def digests(template: dict[str, Any], **parameters: str) -> dict[str, str]:
    """The digest of each function, by its logical id."""
    return digests_of(stamped(template, VALUES | parameters))


def digests_of(template: dict[str, Any]) -> dict[str, str]:
    resources = template["Resources"]
    return {
        name: resources[name]["Properties"]["Environment"]["Variables"][SETTINGS_DIGEST] for name in FUNCTIONS.values()
    }


def test_the_same_settings_have_the_same_digest(prod: Package) -> None:
    assert digests(prod.template) == digests(prod.template)
    assert all(len(digest) == 16 for digest in digests(prod.template).values())


def test_a_parameter_that_the_functions_read_changes_it_and_any_other_does_not(prod: Package) -> None:
    """Above all `Protected`, which changes once a new stack is complete, and must not publish a version then."""
    template = prod.template
    before = digests(template)
    changed = {name for name in template["Parameters"] if digests(template, **{name: "another"}) != before}
    assert changed == {"Stage", "MaxReceives", "RestoredTables"}
    assert {"Protected", "AlertsEmail", "ThrottleRate"} <= template["Parameters"].keys()
    assert digests(template, RestoredTables="") == before, "given is as good as the default"


def test_a_function_of_other_time_limits_or_variables_has_another_digest_and_it_alone(prod: Package) -> None:
    before = digests(prod.template)
    changes: list[dict[str, Any]] = [
        {"Timeout": 11},
        {"MemorySize": 2048},
        {"Environment": {"Variables": {"CURRENCY": "EUR"}}},
    ]
    for change in changes:
        after = digests(merged(prod.template, {"Resources": {"OrderConsumer": {"Properties": change}}}))
        assert {name for name in after if after[name] != before[name]} == {"OrderConsumer"}


def test_what_is_no_part_of_a_version_does_not_change_the_digest(prod: Package) -> None:
    """Lambda would refuse to publish a version that is equal to the last one."""
    changes: list[dict[str, Any]] = [{"Tags": {"a": "b"}}, {"ReservedConcurrentExecutions": 7}, {"Events": {}}]
    for change in changes:
        after = merged(prod.template, {"Resources": {"OrderConsumer": {"Properties": change}}})
        assert digests(after) == digests(prod.template)


# --- what all versions must agree on ---


def shared(template: dict[str, Any], **parameters: str) -> str:
    digest: str = stamped(template, VALUES | parameters)["Outputs"][SHARED_SETTINGS]["Value"]
    return digest


def test_every_setting_but_those_that_tune_is_shared(prod: Package) -> None:
    variables = prod.function("api_handler")["Environment"]["Variables"]
    other = {**variables, "IDEMPOTENCY_WINDOW_SECONDS": "60", "A_NEW_SETTING": "1", **dict.fromkeys(MAY_DIFFER, "1")}
    changed = {
        name
        for name in other
        if shared(prod.template)
        != shared(merged(prod.template, {"Resources": {"APIHandler": with_variable(name, "another")}}))
    }
    assert changed == other.keys() - set(MAY_DIFFER)
    assert {"ORDERS_TABLE", "PAYMENTS_TABLE", "CURRENCY", "AUTH"} <= changed


def with_variable(name: str, value: str) -> dict[str, Any]:
    return {"Properties": {"Environment": {"Variables": {name: value}}}}


def test_another_table_behind_the_same_reference_is_shared_too(prod: Package) -> None:
    template = prod.template
    assert shared(template, RestoredTables="-monday") != shared(template)
    assert shared(template, Canary="false") == shared(template), "or the next release would never go by canary"


def test_another_role_is_shared_too(prod: Package) -> None:
    """An alias cannot have versions of two roles."""
    other = {"Resources": {"APIHandler": {"Properties": {"Role": {"Fn::GetAtt": ["OtherRole", "Arn"]}}}}}
    assert shared(merged(prod.template, other)) != shared(prod.template)


def test_settings_that_may_differ_exist() -> None:
    read = (ROOT / "chalicelib" / "settings.py").read_text(encoding="utf-8")
    assert [name for name in MAY_DIFFER if f'"{name}"' not in read] == []


def test_other_names_of_orders_are_shared(prod: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old version would not find what a new one has named."""
    before = shared(prod.template)
    for name in ("order_id_from_key", "claim_id", "fingerprint"):
        with monkeypatch.context() as patch:
            patch.setattr(f"deploy.digests.{name}", lambda *_: "another")
            assert shared(prod.template) != before
    assert shared(prod.template) == before


def test_after_a_rollback_the_same_release_publishes_other_versions(prod: Package) -> None:
    """Lambda would refuse the ones that it has already."""
    first, again = (stamped(prod.template, VALUES, failure) for failure in ("", "2026-11-22 03:00"))
    assert digests(prod.template) == digests_of(first)
    assert not set(digests_of(first).values()) & set(digests_of(again).values())
    assert first["Outputs"] == again["Outputs"]


# --- references ---


@pytest.mark.parametrize(
    ("value", "parameters"),
    [
        ({"Ref": "P"}, {"P"}),
        ([{"a": {"Fn::Sub": "x-${P}-${AWS::Region}"}}], {"P"}),
        ({"Fn::Sub": ["${P}${Local}", {"Local": {"Ref": "Q"}}]}, {"P", "Q"}),
        ({"Fn::If": ["ByQ", "yes", {"Ref": "P"}]}, {"P", "Q"}),
        ({"Ref": "Table"}, {"P"}),
        ({"Fn::GetAtt": ["Table", "Arn"]}, {"P"}),
        ({"Ref": "AWS::Region"}, set()),
        ("P", set()),
    ],
)
def test_parameters_are_found_behind_references_conditions_and_names(value: Any, parameters: set[str]) -> None:
    template = {
        "Parameters": {"P": {}, "Q": {}, "R": {}},
        "Conditions": {
            "ByQ": {"Fn::Not": [{"Condition": "IsQ"}]},
            "IsQ": {"Fn::Equals": [{"Ref": "Q"}, ""]},
        },
        "Resources": {"Table": {"Properties": {"TableName": {"Ref": "P"}, "DeletionProtection": {"Ref": "R"}}}},
    }
    assert parameters_behind(value, template) == parameters
