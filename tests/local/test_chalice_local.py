"""`chalice local --stage local`, beside the running stack."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from typing import Any

from local.server import listen
from local.settings import LOOPBACK, ROOT
from tests.support.laptop import running_laptop

ORDER = (ROOT / "tests" / "samples" / "api_order.json").read_bytes()


def asked(url: str, body: bytes | None = None) -> Any:
    headers = {"Content-Type": "application/json", "Idempotency-Key": "beside"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=5) as answer:
        return json.load(answer)


def within(seconds: float, what: Any) -> Any:
    """The first true result, within so many seconds."""
    until = time.monotonic() + seconds
    while True:
        try:
            if found := what():
                return found
        except (urllib.error.URLError, ConnectionError):
            pass
        assert time.monotonic() < until, "it did not come in time"
        time.sleep(0.05)


def test_a_second_api_serves_the_running_stack_on_the_port_that_aws_port_names() -> None:
    with closing(listen(LOOPBACK, 0, "PORT")) as free:
        port = free.getsockname()[1]
    with running_laptop() as laptop:
        command = ["local", "--stage", "local", "--port", str(port), "--no-autoreload"]
        chalice = subprocess.Popen(
            [sys.executable, "-c", "from chalice.cli import main; main()", *command],
            cwd=ROOT,
            env=os.environ | {"AWS_PORT": laptop.aws.rpartition(":")[2]},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with chalice:
            try:
                order = within(20, lambda: asked(f"http://{LOOPBACK}:{port}/orders", ORDER))
                beside = f"{laptop.api}/orders/{order['orderId']}"
                within(10, lambda: asked(beside)["status"] == "CONFIRMED")
            finally:
                chalice.kill()
