"""Merging parts of a template, by the rules of `chalice package --merge-template`."""

from collections.abc import Mapping
from functools import reduce
from typing import Any


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """One template of all parts; a later part overrides an earlier one.

    Objects are merged member by member; anything else, lists too, is replaced.
    """
    return reduce(_over, parts, {})


def _over(below: Any, above: Any) -> Any:
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    return {**below, **{name: _over(below.get(name), value) for name, value in above.items()}}
