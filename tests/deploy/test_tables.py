"""Restored tables are put in the place of the stack's own by one parameter, wherever these are used."""

import json
import re
from typing import Any

import pytest

from deploy.stages import FUNCTIONS
from deploy.tables import PARAMETER, RESTORABLE, ending_of, table_names
from deploy.template import resources_template
from tests.deploy.packages import Package

OWN = r"orderonce-dev-(?:orders|inventory|idempotency)(?![\w-])"
"""A queue has such a name too, but nothing refers to it by name."""


def filled(value: Any, ending: str) -> str:
    """As CloudFormation fills in the parameters."""
    return json.dumps(value).replace("${Stage}", "dev").replace(f"${{{PARAMETER}}}", ending)


def users(template: dict[str, Any]) -> dict[str, Any]:
    """Everything but the tables themselves and the queues."""
    named = (*RESTORABLE, "OrderQueue", "OrderDeadLetters", "OrderEventsDeadLetters")
    found = {name: resource["Properties"] for name, resource in template["Resources"].items() if name not in named}
    return {**found, "Outputs": template["Outputs"]}


def templates(package: Package) -> list[dict[str, Any]]:
    return [package.template, resources_template("dev")]


@pytest.mark.parametrize("package", ["dev"], indirect=True)
def test_nothing_refers_to_a_table_but_by_its_name_in_use(package: Package) -> None:
    for template in templates(package):
        text = json.dumps(users(template))
        assert (
            re.findall(rf'(?:"|\$\{{)(?:{"|".join(RESTORABLE)})(?:"|\}}|\.)', text.replace('DependsOn": [', "")) == []
        )
        assert re.findall(OWN, filled(users(template), "-x")) == []


@pytest.mark.parametrize("package", ["dev"], indirect=True)
def test_by_default_the_tables_are_the_stacks_own(package: Package) -> None:
    for template in templates(package):
        assert template["Parameters"][PARAMETER]["Default"] == ""
        assert set(re.findall(OWN, filled(users(template), ""))) == set(table_names("dev").values())


@pytest.mark.parametrize("package", ["dev"], indirect=True)
def test_settings_roles_indexes_alarms_and_dashboard_follow(package: Package) -> None:
    names = {setting: {"Fn::Sub": name + f"${{{PARAMETER}}}"} for setting, name in table_names("${Stage}").items()}
    for function in FUNCTIONS:
        assert names.items() <= package.function(function)["Environment"]["Variables"].items()
    roles = filled(package.of_type("AWS::IAM::Role"), "-x")
    for index in ("CustomerIndex", "OutboxIndex"):
        assert f"table/orderonce-dev-orders-x/index/{index}" in roles
    for resource in ("DynamodbThrottlesAlarm", "DynamodbIndexThrottlesAlarm", "Dashboard"):
        assert "orderonce-dev-orders-x" in filled(package.properties(resource), "-x")


@pytest.mark.parametrize("package", ["dev"], indirect=True)
def test_no_function_is_made_before_the_tables(package: Package) -> None:
    """Their names are no references: CloudFormation would not know."""
    for logical_id in FUNCTIONS.values():
        assert set(package.resources[logical_id]["DependsOn"]) == set(RESTORABLE)


@pytest.mark.parametrize("ending", ["", "-20261122T025900Z"])
def test_the_ending_is_known_by_the_names_of_all_three(ending: str) -> None:
    names = table_names("prod", ending)
    assert ending_of("prod", names | {"STAGE": "prod"}) == ending
    for setting in names:
        assert ending_of("prod", names | {setting: f"{names[setting]}-other"}) is None
        assert ending_of("prod", {name: table for name, table in names.items() if name != setting}) is None
    assert ending_of("dev", names) is None
