"""What the parts of an order cost beside what they replace: `python -m benchmarks.parts`, in µs of CPU, by turns."""

import json
import os
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from benchmarks.scenario import ENVIRONMENT, ORDER
from chalicelib import exact_json
from chalicelib.adapters.dynamodb.attributes import plain, typed
from chalicelib.entrypoints.acceptance import acceptance
from chalicelib.entrypoints.schema import validator

ROUNDS, CALLS = 200, 50


def pairs() -> Mapping[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Each part as it is here, and what it replaces."""
    document = exact_json.loads(json.dumps(ORDER))
    item: Any = typed(document)
    floats = json.loads(json.dumps(ORDER))
    accepts, jsonschema = acceptance("order_request"), validator("order_request")
    serialize, deserialize = TypeSerializer().serialize, TypeDeserializer().deserialize
    return {
        "accepting a request; jsonschema": (lambda: accepts(document), lambda: list(jsonschema.iter_errors(document))),
        "writing an item; boto3's serializer": (lambda: typed(document), lambda: serialize(document)),
        "reading an item; boto3's deserializer": (lambda: plain(item), lambda: deserialize(item)),
        "writing exact JSON; json.dumps, with floats": (lambda: exact_json.dumps(document), lambda: json.dumps(floats)),
    }


def microseconds(calls: tuple[Callable[[], object], ...]) -> list[float]:
    """The median of each."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, taken in zip(calls, times, strict=True):
            began = time.process_time()
            for _ in range(CALLS):
                call()
            taken.append((time.process_time() - began) / CALLS * 1e6)
    return list(map(median, times))


def main() -> None:
    os.environ.update(ENVIRONMENT)
    print("| part; what it replaces | here, µs | replaced, µs |\n| --- | ---: | ---: |")
    for name, calls in pairs().items():
        here, replaced = microseconds(calls)
        print(f"| {name} | {here:.1f} | {replaced:.1f} |")


if __name__ == "__main__":
    main()
