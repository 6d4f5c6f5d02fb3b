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
    "call.py": snippet("docs/api.md", "import os"),
    "call.mjs": snippet("docs/api.md", "import { createHash"),
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


def answers(printed: str) -> list[Any]:
    """The documents that a script printed one after the other."""
    decoder, found = json.JSONDecoder(), []
    while printed := printed.lstrip():
        document, end = decoder.raw_decode(printed)
        found.append(document)
        printed = printed[end:]
    return found


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("credentials", [PERMANENT, TEMPORARY], ids=["permanent", "temporary"])
def test_a_signed_order_is_placed_and_listed(
    reader: Reader, laptop: Laptop, credentials: Credentials, name: str
) -> None:
    reader.save("order.json", ORDER)
    script, program = reader.save(name, SIGNED[name]), interpreter(SIGNED[name].language)
    with signed_gateway(laptop.api, credentials) as gateway:
        placed, page = answers(reader.runs(program, str(script), also=gateway.environment))
    assert placed["status"] == "PENDING"
    assert placed["orderId"] in [order["orderId"] for order in page["orders"]]


@pytest.mark.parametrize(("language", "program"), [("js", "node"), ("sh", "curl")])
@pytest.mark.parametrize("installed", ["", "v7.74.0"])
def test_a_machine_without_what_a_block_needs_skips_it_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str, program: str, installed: str
) -> None:
    if installed:
        (tmp_path / program).write_text(f"#!/bin/sh\necho {installed}\n", "utf-8")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match=f"install {program} "):
        interpreter(language)


@pytest.mark.parametrize("name", SIGNED)
def test_a_call_signed_with_another_secret_is_refused(reader: Reader, gateway: Gateway, name: str) -> None:
    reader.save("order.json", ORDER)
    script, program = reader.save(name, SIGNED[name]), interpreter(SIGNED[name].language)
    before = len(gateway.received)
    wrong = gateway.environment | {"AWS_SECRET_ACCESS_KEY": "wrong"}
    assert ("403" if name == "call.py" else '{"message": "') in reader.runs(
        program, str(script), also=wrong, status=None
    )
    assert len(gateway.received) == before


@pytest.mark.parametrize("name", ["call.py", "call.mjs"])
def test_python_and_javascript_sign_what_a_url_must_escape(reader: Reader, gateway: Gateway, name: str) -> None:
    path = f"/customers/{quote('Zoë&Söhne+a@b:(c)', safe='')}/orders?limit=5&cursor={quote('a+b=', safe='')}"
    reader.save("order.json", ORDER)
    script = reader.folder / name
    script.write_text(SIGNED[name].text.replace("/customers/CUST-42/orders?limit=5", path), "utf-8")
    reader.runs(interpreter(SIGNED[name].language), str(script), also=gateway.environment, status=None)
    assert gateway.received[-1].target.endswith(path)  # the gateway keeps only what is signed rightly


def test_a_request_changed_after_it_was_signed_is_refused(reader: Reader, gateway: Gateway) -> None:
    reader.save("order.json", ORDER)
    signed = []
    for name, block in SIGNED.items():
        reader.runs(interpreter(block.language), str(reader.save(name, block)), also=gateway.environment)
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
