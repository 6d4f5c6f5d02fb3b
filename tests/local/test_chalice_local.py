"""`chalice local`, beside the running stack. It verifies nothing."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from local.server import listen
from local.settings import LOOPBACK, ROOT
from tests.support.checkout import checkout
from tests.support.laptop import running_laptop
from tests.support.tokens import encoded

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


@contextmanager
def chalice_local(project: Path, said: Path, **settings: str) -> Iterator[str]:
    """The address of `chalice local` in a project; what it says goes to a file."""
    with closing(listen(LOOPBACK, 0, "PORT")) as free:
        port = free.getsockname()[1]
    command = ["local", "--stage", "local", "--port", str(port), "--no-autoreload"]
    with (
        said.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-c", "from chalice.cli import main; main()", *command],
            cwd=project,
            env=os.environ | settings,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as chalice,
    ):
        try:
            yield f"http://{LOOPBACK}:{port}"
        finally:
            chalice.kill()


def test_a_second_api_serves_the_running_stack_on_the_port_that_aws_port_names(tmp_path: Path) -> None:
    with running_laptop() as laptop:
        aws_port = laptop.aws.rpartition(":")[2]
        with chalice_local(ROOT, tmp_path / "said", AWS_PORT=aws_port, AUTH="cognito") as api:
            order = within(20, lambda: asked(f"{api}/orders", ORDER))
            beside = f"{laptop.api}/orders/{order['orderId']}"
            within(10, lambda: asked(beside)["status"] == "CONFIRMED")
    open_to_all = "AUTH is none: everybody who can reach this API has access to it.\n"
    assert open_to_all in (tmp_path / "said").read_text("utf-8")


def test_a_stage_of_customers_is_not_served_because_nobody_verifies_their_tokens(tmp_path: Path) -> None:
    project = checkout(tmp_path / "orderonce")
    config = project / ".chalice" / "config.json"
    document = json.loads(config.read_text("utf-8"))
    document["stages"]["local"]["environment_variables"] |= {
        "AUTH": "cognito",
        "USER_POOL_ARN": "arn:aws:cognito-idp:us-east-1:123456789012:userpool/us-east-1_Test",
        "USER_POOL_CLIENTS": "people",
    }
    config.write_text(json.dumps(document), "utf-8")
    claims = {"sub": "bob", "username": "bob", "client_id": "people", "token_use": "access", "cognito:username": "bob"}
    request = {"Authorization": f"{encoded({})}.{encoded(claims)}.junk"}

    def status(api: str) -> int:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"{api}/customers/bob/orders", headers=request)
            ) as found:
                return int(found.status)
        except urllib.error.HTTPError as refused:
            return refused.code

    with chalice_local(project, tmp_path / "said") as api:
        assert within(20, lambda: status(api)) == 500
    assert "AUTH must not be cognito under chalice local" in (tmp_path / "said").read_text("utf-8")
