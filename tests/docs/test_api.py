"""docs/api.md: its blocks are saved and run as they are, against the laptop stack."""

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from tests.docs.conftest import Reader, interpreter
from tests.support.laptop import Laptop
from tests.support.signed_gateway import PERMANENT, TEMPORARY, Gateway, Received, signed_gateway, why_refused
from tests.support.snippets import snippet
from tests.support.waiting import until

ORDER = snippet("docs/api.md", '"customerId": "CUST-42"')
EVENT = snippet("docs/api.md", '"orderId": "ORD-20260420-001"')
SEND = snippet("docs/api.md", "from pathlib import Path")
SIGNED = {
    "call.sh": snippet("docs/api.md", "#!/bin/sh"),
    "iam.py": snippet("clients/README.md", "# iam.py"),
    "iam.mjs": snippet("clients/README.md", "// iam.mjs"),
}


def orders_of(api: str, customer: str) -> list[Any]:
    with urlopen(f"{api}/customers/{quote(customer, safe='')}/orders", timeout=10) as answer:
        return list(json.load(answer)["orders"])


def test_a_producers_event_is_sent_twice_and_becomes_one_order(reader: Reader, laptop: Laptop) -> None:
    reader.save("event.json", EVENT)
    script = reader.save("send.py", SEND)
    for _ in range(2):
        assert reader.runs(interpreter(SEND.language), str(script)) == ""

    def confirmed() -> list[str]:
        orders = [order for order in orders_of(laptop.api, "CUST-42") if order["status"] == "CONFIRMED"]
        return [order["orderId"] for order in orders if order["orderId"].startswith("ORD-")]

    assert until(confirmed).count("ORD-20260420-001") == 1


# --- signed requests ---


@pytest.fixture(scope="module")
def gateway(laptop: Laptop) -> Iterator[Gateway]:
    with signed_gateway(laptop.api, TEMPORARY) as gateway:
        yield gateway


def placed_and_listed(name: str, printed: str) -> tuple[str, list[str]]:
    """The ids of the order that was placed, and of those that were listed."""
    if name == "call.sh":
        placed, page = map(json.loads, printed.splitlines())
        return placed["orderId"], [order["orderId"] for order in page["orders"]]
    (first, placed), *listed = map(str.split, printed.splitlines())
    assert first == "placed"
    return placed, [order_id for _, order_id in listed]


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("credentials", [PERMANENT, TEMPORARY], ids=["permanent", "temporary"])
def test_a_signed_order_is_placed_and_listed(
    reader: Reader, laptop: Laptop, credentials: Credentials, name: str
) -> None:
    reader.save("order.json", ORDER)
    with signed_gateway(laptop.api, credentials) as gateway:
        placed, listed = placed_and_listed(name, reader.runs_block(name, SIGNED[name], also=gateway.environment))
    assert placed in listed


@pytest.mark.parametrize("installed", ["", "v7.74.0"])
def test_a_machine_without_what_a_block_needs_skips_it_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: str
) -> None:
    if installed:
        (tmp_path / "curl").write_text(f"#!/bin/sh\necho {installed}\n", "utf-8")
        (tmp_path / "curl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match="install curl "):
        interpreter("sh")


@pytest.mark.parametrize("name", SIGNED)
def test_a_call_signed_with_another_secret_is_refused(reader: Reader, gateway: Gateway, name: str) -> None:
    reader.save("order.json", ORDER)
    before = len(gateway.received)
    wrong = gateway.environment | {"AWS_SECRET_ACCESS_KEY": "wrong"}
    printed = reader.runs_block(name, SIGNED[name], also=wrong, status=None)
    assert ('{"message": "' if name == "call.sh" else "Problem: 403 ") in printed
    assert len(gateway.received) == before


def test_a_request_changed_after_it_was_signed_is_refused(reader: Reader, gateway: Gateway) -> None:
    reader.save("order.json", ORDER)
    signed = []
    for name, block in SIGNED.items():
        reader.runs_block(name, block, also=gateway.environment)
        signed += gateway.received[-2:]

    @given(st.sampled_from(signed), st.data())
    def changed(request: Received, data: st.DataObject) -> None:
        assert why_refused(request, TEMPORARY) is None
        names = request.headers["Authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
        part = data.draw(st.sampled_from(["method", "target", "body", *names]))
        text = data.draw(st.text("abcXYZ019/-", min_size=1))
        if part == "method":
            spoilt = replace(request, method="DELETE")
        elif part == "target":
            spoilt = replace(request, target=request.target + text)
        elif part == "body":
            spoilt = replace(request, body=request.body + text.encode())
        else:
            headers = copy.deepcopy(request.headers)
            headers.replace_header(part, headers[part] + text)
            spoilt = replace(request, headers=headers)
        assert why_refused(spoilt, TEMPORARY)

    changed()
    with pytest.raises(HTTPError, match="403"):
        urlopen(f"{gateway.url}/orders/o1", timeout=10)
