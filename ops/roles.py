"""What the role of a function may do, compared with `deploy/policies.py`."""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from deploy.policies import static_policy
from ops.findings import Aws, Finding, Remark, look_at


def role(aws: Aws, stage: str, function: str, name: str, log_group: str, tables: Mapping[str, str]) -> Finding:
    """Whether the role may do what `deploy/policies.py` grants to the function, and nothing else.

    `tables` are those in use, by setting.
    """

    def look() -> Iterator[Remark]:
        iam = aws.client("iam")
        for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
            yield f"has the policy {policy['PolicyName']} beside its own", True
        allowed: set[tuple[str, str]] = set()
        for policy_name in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            allowed |= _allowed(iam.get_role_policy(RoleName=name, PolicyName=policy_name)["PolicyDocument"])
        yield from _grants(_allowed(static_policy(function, stage, tables)), allowed, log_group)

    return look_at("role", name, look)


def _grants(wanted: set[tuple[str, str]], allowed: set[tuple[str, str]], group: str) -> Iterator[Remark]:
    own = f"arn:*:logs:*:*:log-group:{group}:*"
    wanted = {(action, own if action.startswith("logs:") else resource) for action, resource in wanted}
    # The log group by a pattern in the package: the function's name is not known before it exists.
    allowed = {
        (action, own if action.startswith("logs:") and fnmatchcase(own, resource) else resource)
        for action, resource in allowed
    }
    for action, resource in sorted(wanted - allowed):
        if action != "sqs:GetQueueUrl":  # a packaged function has the URLs
            yield f"may not {action} on {resource}", True
    for action, resource in sorted(allowed - wanted):
        yield f"may {action} on {resource}", True


def _allowed(document: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Each action with its resource, whose partition, region and account are left open."""
    return {
        (action if statement["Effect"] == "Allow" else f"not {action}", _anywhere(resource))
        for statement in document["Statement"]
        for action in _many(statement["Action"])
        for resource in _many(statement["Resource"])
    }


def _anywhere(arn: str) -> str:
    parts = arn.split(":", 5)
    return f"arn:*:{parts[2]}:*:*:{parts[5]}" if len(parts) == 6 else arn


def _many(value: Any) -> Sequence[str]:
    return [value] if isinstance(value, str) else list(value)
