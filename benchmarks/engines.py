"""How long a saga takes with either engine, on an emulator of AWS: `python -m benchmarks.engines`.

From SendMessage to the order's CONFIRMED, as its history says, on one machine that runs everything. The emulator has
neither AWS's network nor its queues inside: what can be read from it is how the engines compare, not what AWS takes.
"""

import os
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from chalicelib.times import utc_now
from tests.deploy.support.deployed_shop import DeployedShop, deployed, event
from tests.deploy.support.deployment import STAGE
from tests.deploy.support.emulator import ACCOUNT
from tests.support.step_functions import step_functions

ORDERS = 20


def seconds(order: Mapping[str, Any], since: datetime) -> float:
    """From then to its confirmation."""
    (at,) = (entry["at"] for entry in order["history"] if entry["status"] == "CONFIRMED")
    return (datetime.fromisoformat(at) - since).total_seconds()


def alone(shop: DeployedShop, name: str) -> float:
    """Of one order, with nothing else to do."""
    sent = utc_now()
    shop.send(event(name, "P-STREAM"))
    return seconds(shop.once_confirmed(name)[0], sent)


def measured(engine: str) -> tuple[float, float]:
    """Median and slowest of orders that come one by one. (Many at once would each have a process of its own started,
    which is the emulator's cost, and not AWS's.)"""
    configured = step_functions(STAGE, account=ACCOUNT) if engine == "step-functions" else nullcontext()
    with tempfile.TemporaryDirectory() as folder, configured, deployed(Path(folder), "") as shop:
        for number in range(5):
            alone(shop, f"warm-{number}")
        times = [alone(shop, f"alone-{number}") for number in range(ORDERS)]
        return median(times), max(times)


def main() -> None:
    os.environ["REQUIRE_EMULATOR"] = "1"
    print(f"| engine | from sent to CONFIRMED, s: median of {ORDERS} orders | slowest |")
    print("| --- | ---: | ---: |")
    for engine in ("queue", "step-functions"):
        print(f"| `{engine}` | " + " | ".join(f"{value:.2f}" for value in measured(engine)) + " |", flush=True)


if __name__ == "__main__":
    main()
