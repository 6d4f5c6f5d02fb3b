"""A changed setting changes the digest of the functions that read it, and nothing else does."""

from typing import Any

import pytest

from deploy.digests import SETTINGS_DIGEST, parameters_behind, stamped
from deploy.merging import merged
from deploy.stages import FUNCTIONS, stage_parameters
from tests.deploy.packages import Package

VALUES = stage_parameters("prod")
RENAMED = {
    "Parameters": {"OrdersTableName": {"Type": "String", "Default": "orders"}},
    "Resources": {"OrdersTable": {"Properties": {"TableName": {"Ref": "OrdersTableName"}}}},
}
"""A template whose table has its name from a parameter."""


def digests(template: dict[str, Any], **parameters: str) -> dict[str, str]:
    """The digest of each function, by its logical id."""
    resources = stamped(template, VALUES | parameters)["Resources"]
    return {
        name: resources[name]["Properties"]["Environment"]["Variables"][SETTINGS_DIGEST] for name in FUNCTIONS.values()
    }


def test_the_same_settings_have_the_same_digest(prod: Package) -> None:
    assert digests(prod.template) == digests(prod.template)
    assert all(len(digest) == 16 for digest in digests(prod.template).values())


def test_a_parameter_that_the_functions_read_changes_it_and_any_other_does_not(prod: Package) -> None:
    """Above all `Protected`, which changes once a new stack is complete, and must not publish a version then."""
    template = merged(prod.template, RENAMED)
    before = digests(template)
    changed = {name for name in template["Parameters"] if digests(template, **{name: "another"}) != before}
    assert changed == {"Stage", "OrdersTableName", "MaxReceives"}
    assert {"Protected", "AlertsEmail", "ThrottleRate"} <= template["Parameters"].keys()
    assert digests(template, OrdersTableName="orders") == before, "given is as good as the default"


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
