"""What a stage has only if a parameter asks for it: a domain name, a limit for each address, caps of the tables."""

import re
from typing import Any

import pytest

from deploy.alarms import TABLES
from deploy.stages import RESOURCES, read
from tests.deploy.packages import Package
from tests.deploy.support.conditions import Conditions

OPTIONAL = {"AWS::ApiGateway::DomainName", "AWS::ApiGateway::BasePathMapping", "AWS::WAFv2::WebACL"}


def of_type(resources: dict[str, Any], kind: str) -> dict[str, Any]:
    (found,) = (resource["Properties"] for resource in resources.values() if resource["Type"] == kind)
    return dict(found)


def test_without_its_parameters_a_stage_has_none_of_it(package: Package) -> None:
    plain = Conditions(package.template)
    assert not OPTIONAL & {resource["Type"] for resource in plain.resources.values()}
    assert not [name for name in plain.outputs if name.startswith("Domain")]
    described = read(RESOURCES)["Resources"]
    for table in TABLES:
        made = plain.resources[table]["Properties"]
        assert "OnDemandThroughput" not in made
        assert made.get("GlobalSecondaryIndexes") == described[table]["Properties"].get("GlobalSecondaryIndexes")


# --- the domain name ---


def test_a_domain_name_leads_to_the_stage_and_says_where_dns_points(package: Package) -> None:
    values = {"DomainName": "api.example.com", "DomainCertificate": "arn:of:a:certificate"}
    chosen = Conditions(package.template, **values)
    domain = of_type(chosen.resources, "AWS::ApiGateway::DomainName")
    assert domain == {
        "DomainName": "api.example.com",
        "RegionalCertificateArn": "arn:of:a:certificate",
        "EndpointConfiguration": {"Types": ["REGIONAL"]},
        "SecurityPolicy": "TLS_1_2",
    }
    mapping = of_type(chosen.resources, "AWS::ApiGateway::BasePathMapping")
    assert mapping == {
        "DomainName": {"Ref": "ApiDomain"},
        "RestApiId": {"Ref": "RestAPI"},
        "Stage": {"Ref": "RestAPI.Stage"},
    }
    assert chosen.outputs["DomainTarget"]["Value"] == {"Fn::GetAtt": ["ApiDomain", "RegionalDomainName"]}
    assert "DomainHostedZone" in chosen.outputs
    under = Conditions(package.template, **values, DomainBasePath="orders-api")
    assert of_type(under.resources, "AWS::ApiGateway::BasePathMapping")["BasePath"] == "orders-api"


def test_a_domain_name_without_its_certificate_is_refused(package: Package) -> None:
    rule = package.template["Rules"]["DomainHasCertificate"]
    assert rule["RuleCondition"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "DomainName"}, ""]}]}
    (assertion,) = rule["Assertions"]
    assert assertion["Assert"] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "DomainCertificate"}, ""]}]}


# --- the limit for each address ---


def test_an_address_is_limited_and_its_refusal_is_a_429_problem(package: Package) -> None:
    chosen = Conditions(package.template, RequestsPerAddress="2000")
    firewall = of_type(chosen.resources, "AWS::WAFv2::WebACL")
    assert (firewall["Scope"], firewall["DefaultAction"]) == ("REGIONAL", {"Allow": {}})
    (rule,) = firewall["Rules"]
    assert rule["Action"] == {"Block": {}}
    assert rule["Statement"]["RateBasedStatement"] == {
        "AggregateKeyType": "IP",
        "EvaluationWindowSec": 300,
        "Limit": "2000",
    }
    association = of_type(chosen.resources, "AWS::WAFv2::WebACLAssociation")
    assert association["WebACLArn"] == {"Fn::GetAtt": ["Firewall", "Arn"]}
    assert association["ResourceArn"]["Fn::Sub"].endswith("::/restapis/${RestAPI}/stages/${RestAPI.Stage}")
    answer = package.definition["x-amazon-apigateway-gateway-responses"]["WAF_FILTERED"]
    assert answer["statusCode"] == "429"
    assert answer["responseParameters"]["gatewayresponse.header.Retry-After"] == "'60'"


# --- the caps ---


@pytest.mark.parametrize(
    ("values", "cap"),
    [
        ({"MaxWriteUnits": "4000"}, {"MaxWriteRequestUnits": "4000"}),
        ({"MaxReadUnits": "500"}, {"MaxReadRequestUnits": "500"}),
        (
            {"MaxWriteUnits": "4000", "MaxReadUnits": "500"},
            {"MaxReadRequestUnits": "500", "MaxWriteRequestUnits": "4000"},
        ),
    ],
)
def test_every_table_of_orders_and_every_index_has_the_cap(
    values: dict[str, str], cap: dict[str, str], package: Package
) -> None:
    chosen = Conditions(package.template, **values)
    tables = [chosen.resources[name]["Properties"] for name in TABLES]
    indexes = [index for table in tables for index in table.get("GlobalSecondaryIndexes", ())]
    assert len(indexes) == 2
    assert [each["OnDemandThroughput"] for each in (*tables, *indexes)] == [cap] * (len(TABLES) + 2)


@pytest.mark.parametrize("name", ["RequestsPerAddress", "MaxReadUnits", "MaxWriteUnits"])
def test_a_number_that_is_not_given_is_none_and_nonsense_is_refused(name: str, package: Package) -> None:
    pattern = package.template["Parameters"][name]["AllowedPattern"]
    assert {text: bool(re.fullmatch(pattern, text)) for text in ("", "2000", "0", "-1", "many")} == {
        "": True,
        "2000": True,
        "0": False,
        "-1": False,
        "many": False,
    }
