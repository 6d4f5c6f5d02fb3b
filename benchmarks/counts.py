"""What an order costs in things that can be counted: they are the same on every machine, however busy.

`python -m benchmarks.counts` prints them, `--write` stores them in `benchmarks/counts.json`, which CI compares. Calls
of Python functions depend on the interpreter and on each pinned package, so the file says whose they are.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.network import Network, refused_with, without_network
from benchmarks.scenario import ENVIRONMENT, Context, Document, batch_of_ten, everything_succeeds, fresh, request

FILE = Path(__file__).parent / "counts.json"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
UNIT = 1024
"""Bytes of a write unit (Amazon DynamoDB Developer Guide, "Capacity units")."""

FUNCTIONS = ("api_handler", "order_consumer", "recover", "dead_letter_monitor")


def function_calls(call: Callable[[], object]) -> int:
    """Calls of Python functions in this thread, of the third time: what is remembered is remembered by then."""
    counted = 0

    def count(_: FrameType, event: str, __: object) -> None:
        nonlocal counted
        counted += event == "call"

    for _ in range(3):
        counted = 0
        sys.setprofile(count)
        try:
            call()
        finally:
            sys.setprofile(None)
    return counted


def size(item: Document) -> int:
    """Bytes of an item: names and values (Amazon DynamoDB Developer Guide, "Item sizes and formats"), about."""
    return sum(len(name) + _size(value) for name, value in item.items())


def _size(attribute: Document) -> int:
    ((kind, value),) = attribute.items()
    if kind == "M":
        return 3 + sum(1 + len(name) + _size(inside) for name, inside in value.items())
    if kind == "L":
        return 3 + sum(1 + _size(inside) for inside in value)
    return len(value.encode()) if kind == "S" else 1 + math.ceil(len(str(value)) / 2)


def write_units(network: Network, order: Document) -> int:
    """Units that the tables' writes take, indexes apart; an item of Orders is as large as `order`."""
    units = 0
    for name, body in network.calls:
        if name == "PutItem":
            units += math.ceil(size(json.loads(body)["Item"]) / UNIT)
        if name == "TransactWriteItems":
            for action in json.loads(body)["TransactItems"]:
                (write,) = action.values()
                is_order = write["TableName"] == ENVIRONMENT["ORDERS_TABLE"]
                units += 2 * (math.ceil(size(order) / UNIT) if is_order else 1)
    return units


def counted() -> Document:
    """Everything, in this process and in a new one for each function."""
    import app
    from benchmarks.speed import consumer

    network = everything_succeeds()
    with without_network(lambda: network):
        app.app(fresh(), Context())
        network.calls.clear()
        app.app(request("k1"), Context())
        calls = [name for name, _ in network.calls]
        put, message = network.last("PutItem"), network.last("SendMessage")
        orders_units = write_units(network, put["Item"])
        new = function_calls(lambda: app.app(fresh(), Context()))
        network.always("PutItem", refused_with(put["Item"]), status=400)
        network.calls.clear()
        app.app(request("k1"), Context())
        again = [name for name, _ in network.calls]
        duplicate = function_calls(lambda: app.app(request("k1"), Context()))
    batch = consumer()
    with without_network(lambda: batch.network):
        ten = batch.argument()
        batch.network.calls.clear()
        batch.call(ten)
        calls_of_ten, units_of_ten = [name for name, _ in batch.network.calls], write_units(batch.network, put["Item"])
        of_ten = function_calls(lambda: batch.call(ten))
    return {
        "python": PYTHON,
        "AWS calls": {"new order": calls, "duplicate": again, "ten messages": calls_of_ten},
        "write units": {"new order": orders_units, "ten messages": units_of_ten},
        "bytes": {"item": size(put["Item"]), "message": len(message["MessageBody"])},
        "function calls": {"new order": new, "duplicate": duplicate, "ten messages": of_ten},
        "modules": {function: _in_a_new_process(function) for function in FUNCTIONS},
    }


def _in_a_new_process(function: str) -> int:
    run = [sys.executable, "-m", "benchmarks.counts", "--modules-of", function]
    environment = os.environ | ENVIRONMENT
    ended = subprocess.run(run, cwd=FILE.parents[1], env=environment, capture_output=True, text=True, check=True)
    return int(ended.stdout.splitlines()[-1])


def modules_of(function: str) -> int:
    """How many modules a function has imported by the end of its first invocation, those of Python itself included."""
    import app

    scheduled = {"account": "1", "region": "us-east-1", "detail": {}, "detail-type": "", "source": "", "time": ""}
    event: Any = scheduled | {"id": str(uuid.uuid4()), "version": "0", "resources": []}
    handler: Any = app.app if function == "api_handler" else getattr(app, function)
    network = everything_succeeds()
    if function == "api_handler":
        event = fresh()
    if function == "order_consumer":
        event = batch_of_ten([])
    with without_network(lambda: network):
        handler(event, Context())
    return len(sys.modules)


def main() -> None:
    parser = argparse.ArgumentParser(description="What an order costs in things that can be counted.")
    parser.add_argument("--write", action="store_true", help=f"store them in {FILE.name}")
    parser.add_argument("--modules-of", choices=FUNCTIONS, help="only how many modules this function imports")
    given = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    if given.modules_of:
        found: object = modules_of(given.modules_of)
        sys.stdout.write(f"{found}\n")
        return
    from benchmarks.speed import silent

    with silent():
        found = counted()
    text = json.dumps(found, indent=2) + "\n"
    if given.write:
        FILE.write_text(text, encoding="utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
