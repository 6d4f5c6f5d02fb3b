"""Orders a second on DynamoDB Local: this service and the usual design, with 1, 8 and 32 clients.

`make clients` prints the table of docs/performance.md. A client is a process, as each request at a time has a Lambda
of its own; it places one order after the other, each of three lines. The designs take turns, window by window, on one
engine; a figure is the median of the windows. The queue is in the process: what it costs is in no figure.
"""

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import boto3
from botocore.config import Config

from benchmarks.scenario import ENVIRONMENT, Context, Document, fresh
from benchmarks.sustained import World, app_in, fill, tables

WARM_UP = 3
"""Orders of each client that are placed before a window opens."""

Place = Callable[[Document], Any]

_forked = multiprocessing.get_context("fork")


def ours() -> Place:
    """This service, its own client of DynamoDB included."""
    application = app_in(World())
    return lambda event: application.app(event, Context())


def usual(**options: Any) -> Place:
    """The usual design; `options` of its client of DynamoDB."""
    from benchmarks.usual.app import placing_handler

    queue: Any = World()
    handler = placing_handler(boto3.client("dynamodb", config=Config(**options)), queue)
    return lambda event: handler(event, Context())


def designs() -> Mapping[str, Place]:
    """Those compared. Powertools' import adds to each client that is made after it: it comes last."""
    return {"this": ours(), "bare": usual(), "tuned": usual(user_agent="orderonce", parameter_validation=False)}


def window(place: Place, clients: int, seconds: float) -> float:
    """Orders a second that so many clients place, all answered 201."""
    ready, rates = _forked.Barrier(clients), _forked.SimpleQueue()

    def one_order() -> None:
        answer = place(fresh())
        if answer["statusCode"] != 201:
            raise RuntimeError(f"an order was not placed: {answer}")

    def client() -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is logged is written, to nobody
        orders = 0
        try:
            for _ in range(WARM_UP):
                one_order()
            ready.wait()
            began = time.monotonic()
            while time.monotonic() < began + seconds:
                one_order()
                orders += 1
            rates.put(orders / (time.monotonic() - began))
        except Exception as fault:  # noqa: BLE001 - whatever it is, nobody may wait for this client
            ready.abort()
            rates.put(str(fault))

    processes = [_forked.Process(target=client) for _ in range(clients)]
    for process in processes:
        process.start()
    found = [rates.get() for _ in processes]
    for process in processes:
        process.join()
    if faults := [rate for rate in found if isinstance(rate, str) and rate]:
        raise SystemExit(faults[0])
    return float(sum(found))


def printed(rates: Mapping[int, Mapping[str, float]]) -> Iterator[str]:
    """Orders a second, and how many times a peer's they are."""
    yield "| clients | this | bare | tuned | this / bare | this / tuned |"
    yield "| ---: " * 6 + "|"
    for clients, rate in rates.items():
        times = [f"{rate['this'] / rate[peer]:.2f}" for peer in ("bare", "tuned")]
        yield f"| {clients} | {' | '.join(f'{rate[name]:,.0f}' for name in rate)} | {' | '.join(times)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Orders a second on DynamoDB Local, compared.")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=5, help="windows of each design, for each number of clients")
    parser.add_argument("--seconds", type=float, default=3, help="of a window")
    parser.add_argument("--endpoint", help="of a DynamoDB Local that runs already; otherwise one is started")
    given = parser.parse_args()
    from tests.support.dynamodb_local import running

    ENVIRONMENT.update(tables())
    os.environ.update(ENVIRONMENT)
    rates: dict[int, dict[str, float]] = {}
    with nullcontext(given.endpoint) if given.endpoint else running() as endpoint:
        os.environ["AWS_ENDPOINT_URL_DYNAMODB"] = endpoint
        fill(boto3.client("dynamodb", config=Config(read_timeout=60)))
        compared = designs()
        for clients in given.clients:
            windows: dict[str, list[float]] = {name: [] for name in compared}
            for _ in range(given.rounds):
                for name, place in compared.items():
                    windows[name].append(window(place, clients, given.seconds))
            rates[clients] = {name: statistics.median(found) for name, found in windows.items()}
    for line in printed(rates):
        print(line)


if __name__ == "__main__":
    main()
