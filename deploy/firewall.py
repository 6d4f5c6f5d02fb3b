"""A limit of requests for each IP address (parameter RequestsPerAddress), by a web ACL of AWS WAF. Off unless given."""

from typing import Any

from deploy.options import is_given


def overlay() -> dict[str, Any]:
    """The overlay on the package's API. Who is refused gets the gateway's answer WAF_FILTERED (`deploy/gateway.py`)."""
    return {
        "Parameters": {
            "RequestsPerAddress": {
                "Type": "String",
                "Default": "",
                "AllowedPattern": "([1-9][0-9]+)?",
                "Description": "Requests of an IP address in five minutes, 10 at least, beyond which it gets 429.",
            }
        },
        "Conditions": {"HasFirewall": is_given("RequestsPerAddress")},
        "Resources": {
            "Firewall": {
                "Type": "AWS::WAFv2::WebACL",
                "Condition": "HasFirewall",
                "Properties": {
                    "Name": {"Fn::Sub": "orderonce-${Stage}"},
                    "Scope": "REGIONAL",
                    "DefaultAction": {"Allow": {}},
                    "VisibilityConfig": _visibility("all"),
                    "Rules": [
                        {
                            "Name": "requests-per-address",
                            "Priority": 0,
                            "Action": {"Block": {}},
                            "Statement": {
                                "RateBasedStatement": {
                                    "AggregateKeyType": "IP",
                                    "EvaluationWindowSec": 300,
                                    "Limit": {"Ref": "RequestsPerAddress"},
                                }
                            },
                            "VisibilityConfig": _visibility("requests-per-address"),
                        }
                    ],
                },
            },
            "FirewallOfApi": {
                "Type": "AWS::WAFv2::WebACLAssociation",
                "Condition": "HasFirewall",
                "Properties": {
                    "WebACLArn": {"Fn::GetAtt": ["Firewall", "Arn"]},
                    "ResourceArn": {
                        "Fn::Sub": "arn:${AWS::Partition}:apigateway:${AWS::Region}::"
                        "/restapis/${RestAPI}/stages/${RestAPI.Stage}"
                    },
                },
            },
        },
    }


def _visibility(name: str) -> dict[str, Any]:
    # Samples would have headers and bodies of requests.
    metric = {"Fn::Sub": f"orderonce-${{Stage}}-{name}"}
    return {"CloudWatchMetricsEnabled": True, "MetricName": metric, "SampledRequestsEnabled": False}
