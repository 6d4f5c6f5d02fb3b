"""A domain name of one's own for the API (parameters DomainName, DomainCertificate, DomainBasePath): the API can be
made again, and its address stays. Without the name there is none.

Who owns the domain lets its name point to the output DomainTarget (CNAME, or an alias with DomainHostedZone).
"""

from typing import Any

from deploy.options import is_given, only_if, text


def overlay() -> dict[str, Any]:
    """The overlay on the package's API."""
    return {
        "Parameters": {
            "DomainName": text("The API's own domain name, like api.example.com; empty: none."),
            "DomainCertificate": text("ARN of a certificate of ACM for it, in the stack's region."),
            "DomainBasePath": text("The first part of the API's paths under that name; empty: none."),
        },
        "Rules": {
            "DomainHasCertificate": {
                "RuleCondition": is_given("DomainName"),
                "Assertions": [
                    {"Assert": is_given("DomainCertificate"), "AssertDescription": "DomainName needs DomainCertificate"}
                ],
            }
        },
        "Conditions": {
            "HasDomain": is_given("DomainName"),
            "HasDomainBasePath": is_given("DomainBasePath"),
        },
        "Resources": {
            "ApiDomain": {
                "Type": "AWS::ApiGateway::DomainName",
                "Condition": "HasDomain",
                "Properties": {
                    "DomainName": {"Ref": "DomainName"},
                    "RegionalCertificateArn": {"Ref": "DomainCertificate"},
                    "EndpointConfiguration": {"Types": ["REGIONAL"]},
                    "SecurityPolicy": "TLS_1_2",
                },
            },
            "ApiDomainMapping": {
                "Type": "AWS::ApiGateway::BasePathMapping",
                "Condition": "HasDomain",
                "Properties": {
                    "DomainName": {"Ref": "ApiDomain"},
                    "BasePath": only_if("HasDomainBasePath", {"Ref": "DomainBasePath"}),
                    "RestApiId": {"Ref": "RestAPI"},
                    "Stage": {"Ref": "RestAPI.Stage"},
                },
            },
        },
        "Outputs": {
            "DomainTarget": _output("What the DNS record of the domain name points to", "RegionalDomainName"),
            "DomainHostedZone": _output("Its hosted zone, for an alias record of Route 53", "RegionalHostedZoneId"),
        },
    }


def _output(description: str, attribute: str) -> dict[str, Any]:
    value = {"Fn::GetAtt": ["ApiDomain", attribute]}
    return {"Description": description, "Condition": "HasDomain", "Value": value}
