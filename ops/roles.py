"""What the roles of the functions, and of the state machine, may do, compared with what `deploy/` gives them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from deploy import state_machine
from deploy.policies import static_policy
from ops.findings import Aws, Finding, Remark, look_at

Grant = tuple[str, str]
"""An action, and its resource."""


def role(aws: Aws, stage: str, function: str, name: str, log_group: str, tables: Mapping[str, str]) -> Finding:
    """Whether the role may do what `deploy/policies.py` grants to the function, and nothing else.

    `tables` are those in use, by setting.
    """

    wanted = _allowed(static_policy(function, stage, tables))
    return _role(aws, name, lambda allowed: _grants(wanted, allowed, log_group))


def role_of_machine(aws: Aws, name: str, invoked: str) -> Finding:
    """Whether the role of the state machine may do what `deploy/state_machine.py` says, and nothing else."""
    wanted = _allowed(state_machine.policy(invoked))
    return _role(aws, name, lambda allowed: _differences(wanted, allowed))


def _role(aws: Aws, name: str, compare: Callable[[set[Grant]], Iterator[Remark]]) -> Finding:
    def look() -> Iterator[Remark]:
        iam = aws.client("iam")
        for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
            yield f"has the policy {policy['PolicyName']} beside its own", True
        allowed: set[Grant] = set()
        for policy_name in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            allowed |= _allowed(iam.get_role_policy(RoleName=name, PolicyName=policy_name)["PolicyDocument"])
        yield from compare(allowed)

    return look_at("role", name, look)


def _grants(wanted: set[Grant], allowed: set[Grant], group: str) -> Iterator[Remark]:
    own = f"arn:*:logs:*:*:log-group:{group}:*"
    wanted = {(action, own if action.startswith("logs:") else resource) for action, resource in wanted}
    # The log group by a pattern in the package: the function's name is not known before it exists.
    allowed = {
        (action, own if action.startswith("logs:") and fnmatchcase(own, resource) else resource)
        for action, resource in allowed
    }
    # A packaged function has the URLs.
    yield from _differences({grant for grant in wanted if grant in allowed or grant[0] != "sqs:GetQueueUrl"}, allowed)


def _differences(wanted: set[Grant], allowed: set[Grant]) -> Iterator[Remark]:
    for action, resource in sorted(wanted - allowed):
        yield f"may not {action} on {resource}", True
    for action, resource in sorted(allowed - wanted):
        yield f"may {action} on {resource}", True


def _allowed(document: Mapping[str, Any]) -> set[Grant]:
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
