"""Stripe's key: read once, again when Stripe refuses it, and seen nowhere. While it is bad, orders wait."""

import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib import telemetry
from chalicelib.adapters import clients
from chalicelib.adapters.stripe_account import PAUSE, StripeAccount, fault_of_key, read_secret
from chalicelib.faults import PaymentUnknown, Rejected
from tests.support.aws_calls import AwsCalls
from tests.support.events import Clock
from tests.support.shop import Shop, opened
from tests.support.stage import Stage
from tests.support.stripe_fake import SECRET_KEY, StripeFake
from tests.support.stripe_server import serving

NAME = "/orderonce/test/stripe"
STORES = ("ssm", "secretsmanager")
READS = {"ssm": "GetParameter", "secretsmanager": "GetSecretValue"}


def store(place: str, secret: str) -> None:
    kind, _, name = place.partition(":")
    if kind == "ssm":
        clients.ssm().put_parameter(Name=name, Value=secret, Type="SecureString", Overwrite=True)
        return
    secrets = clients.secretsmanager()
    try:
        secrets.put_secret_value(SecretId=name, SecretString=secret)
    except secrets.exceptions.ResourceNotFoundException:
        secrets.create_secret(Name=name, SecretString=secret)


@pytest.fixture
def fake() -> StripeFake:
    return StripeFake()


@pytest.fixture
def url(fake: StripeFake) -> Iterator[str]:
    with serving(fake) as address:
        yield address


@pytest.fixture
def reads(aws: Stage, aws_calls: AwsCalls) -> Callable[[], int]:
    """How often the secret was read so far."""
    aws_calls.watch(clients.ssm(), clients.secretsmanager())
    return lambda: sum(len(aws_calls.of(operation)) for operation in READS.values())


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged, at whatever level."""
    noted: list[str] = []

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            noted.append(self.format(record))

    logger, noting = telemetry.logger(), Noting()
    noting.setFormatter(logger.handlers[0].formatter)
    logger.addHandler(noting)
    yield noted
    logger.removeHandler(noting)


def use(account: StripeAccount) -> bool:
    """Whether a call of Stripe gets through; if not, it is unknown."""
    try:
        account.api().refunds("pi_none")
    except PaymentUnknown:
        return False
    return True


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("around", ["{}", " {}\n"])
def test_the_key_is_read_once_however_many_payments_begin_at_once(
    aws: Stage, fake: StripeFake, url: str, clock: Clock, reads: Callable[[], int], kind: str, around: str
) -> None:
    store(f"{kind}:{NAME}", around.format(SECRET_KEY))
    account = StripeAccount(f"{kind}:{NAME}", "test", url, clock)
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda _: use(account), range(40)))
    assert (reads(), len(fake.requests)) == (1, 40)


@pytest.mark.parametrize("kind", STORES)
def test_a_key_that_stripe_refuses_is_read_again_and_one_that_stays_bad_now_and_then_only(
    aws: Stage, fake: StripeFake, url: str, clock: Clock, reads: Callable[[], int], lines: list[str], kind: str
) -> None:
    place = f"{kind}:{NAME}"
    store(place, SECRET_KEY)
    account = StripeAccount(place, "test", url, clock)
    assert use(account)
    fake.secret_key = "sk_test_next"
    for _ in range(20):
        assert not use(account)
        clock.advance(seconds=PAUSE.total_seconds() / 10)
    assert reads() == 2
    told = [json.loads(line) for line in lines]
    assert [(line["level"], line["setting"], line["place"]) for line in told] == [("ERROR", "STRIPE_KEY", place)] * 2
    assert {line["reason"] for line in told} == {"Stripe refuses the key there"}
    store(place, "sk_test_next")
    clock.advance(seconds=PAUSE.total_seconds())
    assert use(account)
    assert reads() == 3


SECRETS = st.one_of(
    st.sampled_from(["", " ", "pk_test_abc", "sk_live", "rk_live_", "SK_TEST_abc", "whsec_abc", "sk_test_a b"]),
    st.from_regex(r"[sr]k_(live|test)_[a-z]{1,9}", fullmatch=True).map(lambda key: json.dumps({"key": key})),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40),
)


@given(key=SECRETS, stage=st.sampled_from(["dev", "prod", "local"]))
def test_whatever_is_no_key_of_stripe_is_refused_in_words_that_do_not_have_it(key: str, stage: str) -> None:
    assert fault_of_key(key.strip(), stage) == "what is there is not a secret key of Stripe"


@given(
    kind=st.sampled_from("sr"),
    mode=st.sampled_from(["live", "test"]),
    rest=st.from_regex(r"[A-Za-z0-9]{20,100}", fullmatch=True),
    stage=st.sampled_from(["dev", "prod", "local", "production"]),
)
def test_a_live_key_is_for_prod_and_a_test_key_for_every_other_stage(
    kind: str, mode: str, rest: str, stage: str
) -> None:
    fault = fault_of_key(f"{kind}k_{mode}_{rest}", stage)
    assert fault == (
        None if (mode == "live") == (stage == "prod") else f"what is there is a {mode} key, and the stage is {stage}"
    )


def test_a_secret_that_is_not_there_is_rejected_and_a_binary_one_is_empty(aws: Stage) -> None:
    for kind in STORES:
        with pytest.raises(Rejected, match="NotFound"):
            read_secret(f"{kind}:{NAME}")
    clients.secretsmanager().create_secret(Name=f"{NAME}/binary", SecretBinary=SECRET_KEY.encode())
    assert read_secret(f"secretsmanager:{NAME}/binary") == ""


BAD = {
    "is not there": (None, "NotFound"),
    "is empty": (" ", "not a secret key"),
    "is not a key": ("planted-secret-51", "not a secret key"),
    "is JSON": ('{"key": "sk_test_planted"}', "not a secret key"),
    "is a live key": ("sk_live_planted51", "a live key, and the stage is test"),
    "is refused by Stripe": ("sk_test_planted51", "refuses"),
    "may not be read": (SECRET_KEY, "AccessDenied"),
    "cannot be read now": (SECRET_KEY, "InternalServerError"),
}


@pytest.mark.parametrize(("secret", "kind"), list(zip(BAD, STORES * 4, strict=True)))
def test_while_the_key_is_bad_orders_wait_and_once_it_is_right_they_go_on(
    aws: Stage,
    aws_calls: AwsCalls,
    clock: Clock,
    fake: StripeFake,
    url: str,
    capfd: pytest.CaptureFixture[str],
    secret: str,
    kind: str,
) -> None:
    """Without a deployment, and in the same process. The secret is seen nowhere."""
    place = f"{kind}:{NAME}"
    value, reason = BAD[secret]
    if value:
        store(place, value)
    if reason.startswith(("Access", "Internal")):
        aws_calls.watch(clients.ssm(), clients.secretsmanager())
        aws_calls.refuse(f"{reason}Exception" if kind == "ssm" else reason, READS[kind], times=None)
    aws.settings["STRIPE_KEY"] = place
    given = {"PAYMENTS": "stripe", "STRIPE_URL": url}
    with opened(aws, aws_calls, clock, settings=given) as shop:
        shop.payments.provider = replace(shop.service, given_payments=None).payments
        orders = place_orders(shop, fake)
        for _ in range(3):
            shop.run_queue()
            shop.come_again()
        assert {shop.status(order_id) for order_id in orders} == {"RESERVED"}
        (error,) = {(line["setting"], line["place"]) for line in errors(shop)}
        assert error == ("STRIPE_KEY", place)
        assert all(reason in line["reason"] for line in errors(shop))
        aws_calls.heal()
        store(place, SECRET_KEY)
        clock.advance(seconds=PAUSE.total_seconds())
        shop.drain()
        assert {shop.status(order_id) for order_id in orders} == {"CONFIRMED"}
        assert len(fake.paid) == len(orders)
        said = "\n".join([*shop.lines, *capfd.readouterr(), repr(shop.service), repr(vars(shop.service))])
    assert "planted" not in said
    assert SECRET_KEY not in said


def place_orders(shop: Shop, fake: StripeFake) -> list[str]:
    bodies = [shop.order("p1", paymentMethod=fake.add_method()) for _ in range(3)]
    return [shop.place(body, f"k{n}").order_id for n, body in enumerate(bodies)]


def errors(shop: Shop) -> list[dict[str, str]]:
    lines = [json.loads(line) for line in shop.lines if line.startswith("{")]
    return [line for line in lines if line["level"] == "ERROR"]
