"""`python -m local.seeding`: fill the running stack with N orders of the sample catalogue, through its API.

Environment: N (1000), HOST and PORT as for the stack, TOKEN (a service's, for a stack with AUTH=cognito). Ends with
status 0, or 1 with one sentence; what was placed until then is placed.
"""

import http.client
import json
import os
import random
import re
import sys
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from typing import Any

from local.banner import METHOD
from local.faults import StartError
from local.resources import read_catalogue
from local.settings import Settings

CLIENTS = 4
CUSTOMERS = 50
MAX_ORDERS = 1_000_000


def number_of_orders(environ: Mapping[str, str]) -> int:
    """From N. Raises StartError."""
    given = environ.get("N") or "1000"
    if not re.fullmatch("[0-9]{1,7}", given) or not 1 <= int(given) <= MAX_ORDERS:
        raise StartError(f"N must be a whole number from 1 to {MAX_ORDERS}, not {given!r}.")
    return int(given)


def seed(host: str, port: int, orders: int, placed: Callable[[int], None], token: str = "") -> None:
    """Place so many new orders; `placed` is called with the number of those that are. Raises StartError."""
    products = read_catalogue()
    run = uuid.uuid4()
    bearer = {"Authorization": f"Bearer {token}"} if token else {}

    def place(number: int) -> None:
        product = random.choice(products)
        order = {
            "customerId": f"CUST-{number % CUSTOMERS}",
            "items": [{"productId": product["productId"], "quantity": 1}],
            "totalAmount": float(Decimal(product["price"])),
            "paymentMethod": METHOD,
        }
        _post(host, port, order, {"Idempotency-Key": f"seed-{run}-{number}", **bearer})

    with ThreadPoolExecutor(CLIENTS) as threads:
        try:
            for number, _ in enumerate(threads.map(place, range(orders)), 1):
                placed(number)
        finally:
            threads.shutdown(cancel_futures=True)


def _post(host: str, port: int, order: dict[str, Any], headers: dict[str, str]) -> None:
    try:
        with closing(http.client.HTTPConnection(host, port, timeout=30)) as connection:
            connection.request("POST", "/orders", json.dumps(order), {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            text = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise StartError(f"No stack answers on {host}:{port} ({error}): start one with make run.") from error
    if answer.status in (401, 403):
        how = "TOKEN=$(.venv/bin/python -m local token --service)"
        raise StartError(f"This stack takes orders for all customers from a service only: give its token as {how}.")
    if answer.status != 201:
        raise StartError(f"An order was refused with {answer.status}: {text.decode(errors='replace')}")


def main() -> int:
    """Seed; the exit status."""
    try:
        settings, orders = Settings.read(os.environ), number_of_orders(os.environ)

        def show(number: int) -> None:
            if number == orders or number % max(1, orders // 100) == 0:
                end = "\n" if number == orders or not sys.stderr.isatty() else "\r"
                print(f"{number} of {orders} orders placed", end=end, file=sys.stderr, flush=True)

        seed(settings.reachable_host, settings.port, orders, show, os.environ.get("TOKEN", ""))
    except StartError as fault:
        print(fault, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
