"""The service's processes: its real entry points, each in a loop of its own, until somebody kills it.

`python -m tests.faults.workers` imports all of it once, and forks a process for each line that it reads: so a new one
takes the place of a killed one at once. It answers with the process id, and ends them all when its input ends.

Their clock is faster than real time: NOW was at CHAOS_BEGAN, in seconds since 1970, and CHAOS_RATE is how much faster.
They pay by Stripe if CHAOS_STRIPE says at which address.
"""

import contextlib
import http.client
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any
from urllib.parse import urlsplit

from chalice.app import Chalice
from chalice.config import Config

from chalicelib import times
from tests.support.orders import NOW
from tests.support.template import ROOT

IDLE_SECONDS = 0.05


def fast_clock(began: float, rate: float) -> Callable[[], datetime]:
    """The time, for all processes alike."""
    return lambda: times.whole_milliseconds(NOW + timedelta(seconds=(time.time() - began) * rate))


if __name__ == "__main__":
    # Before the service is imported, which takes its clock from here.
    times.utc_now = fast_clock(float(os.environ["CHAOS_BEGAN"]), float(os.environ["CHAOS_RATE"]))

from chalicelib import service as composition  # noqa: E402
from chalicelib import telemetry  # noqa: E402
from chalicelib.adapters import clients  # noqa: E402
from chalicelib.adapters.dynamodb.payment_ledger import PaymentLedger  # noqa: E402
from chalicelib.adapters.stripe_api import StripeApi  # noqa: E402
from chalicelib.adapters.stripe_payments import StripePayments  # noqa: E402
from chalicelib.service import service  # noqa: E402
from chalicelib.settings import Settings  # noqa: E402
from local.invoking import Function  # noqa: E402
from local.schedules import schedules  # noqa: E402
from local.server import ApiServer, listen  # noqa: E402
from local.settings import read_json  # noqa: E402
from local.stack import import_app  # noqa: E402
from tests.support.stripe_fake import SECRET_KEY  # noqa: E402


def api(app: Chalice, config: Config, port: str) -> None:
    """Serve the API. Its socket outlives it: requests wait for the next one, as behind a load balancer."""
    with ApiServer(app, config, _listener(port)):
        while _wanted():
            time.sleep(1)


@cache
def _listener(port: str) -> socket.socket:
    return listen("127.0.0.1", int(port), "PORT")


def consumer(app: Chalice, config: Config, aws: str) -> None:
    """What Lambda does: the next batch to the function, and if it returns, the batch is deleted."""
    function = Function.from_app(app, config, "order_consumer")
    connection = http.client.HTTPConnection(urlsplit(aws).netloc)
    while _wanted():
        records = _ask(connection, "/receive", 10)
        if not records:
            time.sleep(IDLE_SECONDS)
            continue
        try:
            function.invoke({"Records": records}, app.app_name)
        except Exception:  # noqa: BLE001 - Lambda deletes nothing then
            continue
        _ask(connection, "/done", [record["receiptHandle"] for record in records])


def recover(app: Chalice, config: Config, minute: str) -> None:
    """The schedule, every `minute` seconds."""
    (schedule,) = (one for one in schedules(app, config) if one.name == "recover")
    while _wanted():
        time.sleep(float(minute))
        schedule.fire()


def _wanted() -> bool:
    """Whether the server is there that forked this process."""
    return os.getppid() == SERVER[0]


def _ask(connection: http.client.HTTPConnection, path: str, document: Any) -> Any:
    """None if the answer is lost: what was to be deleted comes again."""
    try:
        connection.request("POST", path, json.dumps(document), {"Content-Type": "application/json"})
        return json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException):
        connection.close()
        return None


SERVER: list[int] = []
"""The server's process id."""

ROLES: dict[str, Callable[[Chalice, Config, str], None]] = {"api": api, "consumer": consumer, "recover": recover}


def pay_by_stripe(address: str) -> None:
    """From now on a service is made with Stripe at this address."""
    settings, clock = Settings.from_environment(), times.utc_now
    ledger = PaymentLedger(clients.dynamodb(), settings.payments_table, "stripe", clock)
    payments = StripePayments(StripeApi(SECRET_KEY, address), ledger)
    composition.compose = partial(composition.compose, payments=payments)


def main() -> None:
    """Fork a process for each line such as `api 8001`, and answer with its id."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    logging.disable(logging.CRITICAL)
    app = import_app()
    config = Config(
        chalice_stage="local",
        user_provided_params={"chalice_app": app, "project_dir": str(ROOT)},
        config_from_disk=read_json(ROOT / ".chalice" / "config.json"),
    )
    if address := os.environ.get("CHAOS_STRIPE"):
        pay_by_stripe(address)
    # Made once, before anything is forked.
    service()
    telemetry.logger()
    SERVER.append(os.getpid())
    children: list[int] = []
    for line in sys.stdin:
        role, argument = line.split()
        if role == "api":
            _listener(argument)
        if not (child := os.fork()):
            ROLES[role](app, config, argument)
            os._exit(0)
        children.append(child)
        print(child, flush=True)
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main()
