"""Behind a gateway that checks signatures: both clients sign what they send, and each try again."""

import pytest
from botocore.credentials import Credentials

from tests.clients.callers import NOW, Caller, Client, InPython
from tests.clients.orders import PATIENT, an_order, stored
from tests.support.laptop import Laptop
from tests.support.lossy_proxy import Instead, Trouble, lossy_proxy
from tests.support.signed_gateway import PERMANENT, TEMPORARY, signed_gateway, why_refused

WRONG = Credentials(TEMPORARY.access_key, "wrong", TEMPORARY.token)
LONG = Instead(503, {"Retry-After": "301"})
"""A signature is valid for five minutes."""


@pytest.mark.parametrize("credentials", [PERMANENT, TEMPORARY], ids=["permanent", "temporary"])
def test_each_try_is_signed_again_with_the_same_key(laptop: Laptop, client: Client, credentials: Credentials) -> None:
    order = an_order()
    with (
        signed_gateway(laptop.api, credentials) as gateway,
        lossy_proxy(gateway.url, [LONG, Trouble.LOST, LONG, Trouble.HALF]) as proxy,
    ):
        outcome = client.call(proxy.url, "place", order, caller=Caller(credentials=credentials), options=PATIENT)
    assert [one["orderId"] for one in stored(laptop, order["customerId"])] == [outcome.result["order"]["orderId"]]
    assert len(set(proxy.keys)) == 1
    assert {why_refused(request, credentials) for request in proxy.received} == {None}
    dates = [request.headers["X-Amz-Date"] for request in proxy.received]
    assert len(set(dates)) >= 3
    assert dates[0] == NOW.strftime("%Y%m%dT%H%M%SZ")
    assert dates == sorted(dates)


def test_what_a_url_must_escape_is_signed(laptop: Laptop, client: Client) -> None:
    order, key = an_order(), "a+b=c&d,'(e)*!~/?%20"
    customer = order["customerId"] = order["customerId"] + "Zoë&Söhne+a@b:(c)*'!~=;,$"
    caller = Caller(credentials=TEMPORARY)
    placed = [InPython().call(laptop.api, "place", order, key + n).result["order"]["orderId"] for n in ("", "1", "2")]
    with signed_gateway(laptop.api, TEMPORARY) as gateway:
        listed = client.call(gateway.url, "orders", customer, 1, caller=caller).result
        found = client.call(gateway.url, "find", customer, key, caller=caller).result
    assert [one["orderId"] for one in listed] == placed[::-1]
    assert found["orderId"] == placed[0]
    assert len(gateway.received) == 4


def test_a_wrong_signature_is_a_problem_at_once(laptop: Laptop, client: Client) -> None:
    with signed_gateway(laptop.api, TEMPORARY) as gateway:
        outcome = client.call(gateway.url, "place", an_order(), "mine", caller=Caller(credentials=WRONG))
    assert outcome.failed
    assert (outcome.failed["status"], outcome.failed["key"], outcome.waits) == (403, "mine", [])
    assert "signature" in outcome.failed["detail"]
    assert not gateway.received
