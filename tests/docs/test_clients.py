"""clients/README.md: its examples for the laptop stack and for a user pool are run. tests/docs/test_api.py signs."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.docs.conftest import LAPTOP_API, Reader
from tests.support.laptop import Laptop, running_laptop
from tests.support.lossy_proxy import Instead, Trouble, lossy_proxy
from tests.support.snippets import snippet
from tests.support.template import ROOT

ON_A_LAPTOP = {
    "laptop.py": snippet("clients/README.md", "# laptop.py"),
    "laptop.mjs": snippet("clients/README.md", "// laptop.mjs"),
}
WITH_A_TOKEN = {
    "cognito.py": snippet("clients/README.md", "# cognito.py"),
    "cognito.mjs": snippet("clients/README.md", "// cognito.mjs"),
}
ORDER = snippet("docs/api.md", '"customerId": "CUST-42"')


@pytest.mark.parametrize("name", ON_A_LAPTOP)
def test_an_order_is_placed_and_all_are_listed(reader: Reader, name: str) -> None:
    (first, placed, amount), *listed = map(str.split, reader.runs_block(name, ON_A_LAPTOP[name]).splitlines())
    assert (first, amount) == ("placed", "59.98")
    assert placed in [order_id for _, order_id in listed]


@pytest.fixture(scope="module")
def closed() -> Iterator[Laptop]:
    """A laptop stack that asks for tokens."""
    with running_laptop(AUTH="cognito") as closed:
        yield closed


@pytest.mark.parametrize("name", WITH_A_TOKEN)
def test_a_closed_stage_takes_an_order_with_a_token(
    reader: Reader, closed: Laptop, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    reader.save("order.json", ORDER)
    monkeypatch.setenv("AWS_PORT", closed.aws.rpartition(":")[2])
    command = [sys.executable, "-m", "local", "token", "--customer", "CUST-42"]
    token = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    with lossy_proxy(closed.api, [Trouble.LOST]) as proxy:
        printed = reader.runs_block(name, WITH_A_TOKEN[name], also={"API": proxy.url, "TOKEN": token})
    assert printed.startswith("placed ")
    assert len(proxy.received) == 2
    refused = reader.runs_block(name, WITH_A_TOKEN[name], also={"API": closed.api, "TOKEN": token[:-5]}, status=1)
    assert "Problem: 401 " in refused


@pytest.mark.parametrize("name", ON_A_LAPTOP)
def test_what_went_wrong_is_said(reader: Reader, name: str) -> None:
    refused = Instead(400, body=b'{"detail": "Nothing was stored.", "instance": "urn:x"}')
    with lossy_proxy("http://127.0.0.1:9", [refused, Trouble.DROPPED]) as proxy:
        once = {"laptop.py": f'("{proxy.url}", tries=1)', "laptop.mjs": f'("{proxy.url}", {{ tries: 1 }})'}[name]
        block = ON_A_LAPTOP[name]
        block = replace(block, text=block.text.replace(f'("{LAPTOP_API}")', once))
        assert "Nothing was stored. [] (quote urn:x)" in reader.runs_block(name, block, status=1)
        printed = reader.runs_block(name, block, status=1)
    key = proxy.received[1].headers["Idempotency-Key"].strip('"')
    assert f"client.place(order, {key!r})" in printed.replace('"', "'")
