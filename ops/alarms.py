"""The alarms of a stage, compared with the template: what they look at, when they ring, and whom they notify."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ops.findings import Aws, Finding, Remark, look_at
from ops.template import UNRESOLVED

_TOLD_APART = ("AlarmName", "AlarmDescription", "AlarmActions", "OKActions")
"""Compared in another way, or not at all."""


def alarms(aws: Aws, wanted: Sequence[Mapping[str, Any]], topic: str) -> Iterator[Finding]:
    """One finding for each alarm. `topic`: the name of the topic that they notify."""
    actual: dict[str, Mapping[str, Any]] = {}

    def look() -> Iterator[Remark]:
        names = [alarm["AlarmName"] for alarm in wanted]
        pages = aws.client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNames=names)
        actual.update({alarm["AlarmName"]: alarm for page in pages for alarm in page["MetricAlarms"]})
        yield from ()

    finding = look_at("alarm", "all of them", look)
    if finding.unseen:
        yield finding
        return
    for alarm in wanted:
        name = alarm["AlarmName"]
        if name in actual:
            found = list(_differences(alarm, actual[name], topic))
            ringing = ("is ringing",) if actual[name].get("StateValue") == "ALARM" else ()
            yield Finding("alarm", name, tuple(found), ringing)
        else:
            yield Finding("alarm", name, ("does not exist",))


def _differences(wanted: Mapping[str, Any], actual: Mapping[str, Any], topic: str) -> Iterator[str]:
    if not actual.get("ActionsEnabled", True):
        yield "its actions are switched off"
    for actions in ("AlarmActions", "OKActions"):
        if topic not in {arn.rpartition(":")[2] for arn in actual.get(actions, ())}:
            yield f"{actions}: does not notify {topic}"
    for name, value in wanted.items():
        if name not in _TOLD_APART and not _covers(value, actual.get(name)):
            yield (
                f"{name} differs from the template"
                if isinstance(value, (list, dict))
                else (f"{name}: {actual.get(name)}, should be {value}")
            )


def _covers(wanted: Any, actual: Any) -> bool:
    """Whether all that is wanted is there. AWS answers with more members, and lists in another order."""
    if wanted is UNRESOLVED:
        return True
    if isinstance(wanted, dict):
        return isinstance(actual, dict) and all(_covers(value, actual.get(name)) for name, value in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(actual, list)
            and len(actual) == len(wanted)
            and all(any(_covers(each, other) for other in actual) for each in wanted)
        )
    return bool(wanted == actual)
