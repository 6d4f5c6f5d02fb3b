"""What policies of IAM allow: statements of identity-based policies, as AWS evaluates them (IAM User Guide, "Policy
evaluation logic"), for the operators of conditions that this project uses."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

ACCOUNT, REGION = "123456789012", "eu-west-1"


def allows(
    policies: Iterable[Mapping[str, Any]], action: str, resource: str, context: Mapping[str, str] | None = None
) -> bool:
    """Whether a statement allows the action on the ARN, and none denies it. What `context` lacks meets no condition."""
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in policy["Statement"]
        if _matches(_many(statement["Action"]), action, ignoring_case=True)
        and _matches(_many(statement["Resource"]), resource)
        and _meets(statement.get("Condition", {}), context or {})
    }
    return effects == {"Allow"}


def filled(value: Any, values: Mapping[str, str]) -> Any:
    """A part of a template with its parameters filled in, by Ref, Fn::Sub, and Fn::GetAtt (`Name.Attribute`)."""
    known = {"AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": ACCOUNT, **values}
    match value:
        case {"Ref": name}:
            return known[name]
        case {"Fn::Sub": str(text)}:
            return re.sub(r"\$\{([^}]+)\}", lambda found: known[found[1]], text)
        case {"Fn::GetAtt": [name, attribute]}:
            return known[f"{name}.{attribute}"]
        case dict():
            return {name: filled(inner, values) for name, inner in value.items()}
        case list():
            return [filled(inner, values) for inner in value]
    return value


def _matches(patterns: Sequence[str], value: str, *, ignoring_case: bool = False) -> bool:
    flags = re.IGNORECASE if ignoring_case else 0
    return any(re.fullmatch(_pattern(pattern), value, flags) for pattern in patterns)


def _pattern(text: str) -> str:
    return "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in text)


def _meets(condition: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    for operator, keys in condition.items():
        for key, wanted in keys.items():
            if operator == "StringEquals":
                met = context.get(key) in _many(wanted)
            elif operator == "StringLike":
                met = key in context and _matches(_many(wanted), context[key])
            else:
                raise NotImplementedError(operator)
            if not met:
                return False
    return True


def _many(value: Any) -> Sequence[str]:
    return [value] if isinstance(value, str) else list(value)
