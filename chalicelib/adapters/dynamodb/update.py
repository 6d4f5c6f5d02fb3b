"""An UpdateExpression and its condition, put together attribute by attribute."""

from typing import Any

from chalicelib.adapters.dynamodb.items import to_item


class Update:
    """An UpdateExpression and its condition, built attribute by attribute."""

    def __init__(self) -> None:
        self._sets: list[str] = []
        self._removes: list[str] = []
        self._conditions: list[str] = []
        self._names: dict[str, str] = {}
        self._values: dict[str, Any] = {}

    def set(self, name: str, value: Any, if_absent: bool = False) -> None:
        """The attribute becomes `value`, with `if_absent` only if it is not there; None removes it."""
        if value is None:
            self._removes.append(self._name(name))
            return
        new = self._value(name, value)
        self._sets.append(
            f"{self._name(name)} = " + (f"if_not_exists({self._name(name)}, {new})" if if_absent else new)
        )

    def append(self, name: str, entry: Any) -> None:
        """The list gets one more entry."""
        self._sets.append(f"{self._name(name)} = list_append({self._name(name)}, {self._value(name, [entry])})")

    def require(self, name: str, value: Any) -> None:
        """The update happens only if the attribute has this value."""
        self._conditions.append(f"{self._name(name)} = {self._value(f'old_{name}', value)}")

    def require_existence(self) -> None:
        """The update happens only if there is such an order: an update would create it."""
        self._conditions.append(f"attribute_exists({self._name('orderId')})")

    def require_absence(self, name: str) -> None:
        """The update happens only if the attribute is not there."""
        self._conditions.append(f"attribute_not_exists({self._name(name)})")

    def parameters(self) -> dict[str, Any]:
        """What UpdateItem and a transaction's Update take."""
        parts = ["SET " + ", ".join(self._sets)] if self._sets else []
        parts += ["REMOVE " + ", ".join(self._removes)] if self._removes else []
        return {
            "UpdateExpression": " ".join(parts),
            "ConditionExpression": " AND ".join(self._conditions),
            "ExpressionAttributeNames": self._names,
            "ExpressionAttributeValues": to_item(self._values),
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    def _name(self, name: str) -> str:
        self._names[f"#{name}"] = name
        return f"#{name}"

    def _value(self, name: str, value: Any) -> str:
        self._values[f":{name}"] = value
        return f":{name}"
