"""Fixtures that every test may ask for. What they are made of is in tests/support."""

import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.support import dynamodb_local as engine
from tests.support.aws_calls import AwsCalls
from tests.support.events import Clock
from tests.support.faults import retrying_at_once
from tests.support.network import Attempts, loopback_only
from tests.support.skipping import pytest_terminal_summary  # noqa: F401 - a hook of pytest's
from tests.support.stage import Stage, dummy_environment, on_dynamodb_local, on_moto, tables_on_dynamodb_local

if TYPE_CHECKING:
    from tests.support.shop import Shop

# A shared machine is slow now and then: that is not a failure of a property. SAME_EXAMPLES=1, in CI: no new examples,
# so that a change is judged by itself, and not by chance.
settings.register_profile("suite", deadline=None, print_blob=True, derandomize=os.environ.get("SAME_EXAMPLES") == "1")
settings.load_profile("suite")


dummy_environment()  # before any test module, or conftest of a folder, imports the app


def pytest_configure() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As in a job that a shell runs in the background: Ctrl-C is tested there too.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "dynamodb_local" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.dynamodb_local)


@pytest.fixture(scope="session", autouse=True)
def network() -> Iterator[Attempts]:
    with loopback_only() as attempts:
        yield attempts


@pytest.fixture(autouse=True)
def _stays_on_this_machine(network: Attempts) -> Iterator[None]:
    yield
    refused = network.take()
    assert not refused, f"the test tried to reach {', '.join(refused)}"


@pytest.fixture(scope="module", autouse=True)
def _leaves_the_app_as_it_was() -> Iterator[None]:
    """Or a later test would ask the service of an earlier one: patches inside one another end in the other order."""
    yield
    if entry := sys.modules.get("app"):
        assert entry.service is sys.modules["chalicelib.service"].service


@pytest.fixture(scope="session", autouse=True)
def _no_backoff() -> Iterator[None]:
    with retrying_at_once():
        yield


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def aws_calls() -> Iterator[AwsCalls]:
    """What is called on the clients that it watches, and what goes wrong with it."""
    calls = AwsCalls()
    yield calls
    calls.unwatch()


@pytest.fixture
def aws() -> Iterator[Stage]:
    """A stage of one's own on moto, whose settings are in the environment."""
    with on_moto() as stage, _app_forgets():
        yield stage


@pytest.fixture(scope="session")
def dynamodb_local() -> Iterator[str]:
    """The endpoint of a DynamoDB Local of this worker's own. Skips where it cannot run, or fails if required."""
    try:
        with engine.running() as endpoint:
            yield endpoint
    except engine.Unavailable as missing:
        engine.skip_or_fail(missing)


@pytest.fixture
def quiet() -> Iterator[None]:
    """Thousands of lines that nobody reads cost more than what they speak of."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def real_aws(dynamodb_local: str) -> Iterator[Stage]:
    """A stage of one's own whose tables are on DynamoDB Local: for conditions, transactions and races."""
    with on_dynamodb_local(dynamodb_local) as stage, _app_forgets():
        yield stage


@pytest.fixture
def real_tables(dynamodb_local: str) -> Iterator[Stage]:
    """The tables of `real_aws` alone: for those who bring queues and a bus of their own, as tests/support/world.py."""
    with tables_on_dynamodb_local(dynamodb_local) as stage, _app_forgets():
        yield stage


@pytest.fixture(params=["moto", pytest.param("dynamodb-local", marks=pytest.mark.dynamodb_local)])
def each_aws(request: pytest.FixtureRequest) -> Stage:
    """The test runs twice, on `aws` and on `real_aws`."""
    stage: Stage = request.getfixturevalue("aws" if request.param == "moto" else "real_aws")
    return stage


@pytest.fixture
def shop(each_aws: Stage, aws_calls: AwsCalls, clock: Clock) -> "Iterator[Shop]":
    """A shop on each engine: for rules that hang on conditions."""
    with _opened(each_aws, aws_calls, clock) as one:
        yield one


@pytest.fixture(params=["queue", "step-functions"])
def shop_of_each_engine(
    request: pytest.FixtureRequest, aws: Stage, aws_calls: AwsCalls, clock: Clock
) -> "Iterator[Shop]":
    """A shop with each value of ENGINE: for rules about what an order comes to, and not about calls."""
    with _opened(aws, aws_calls, clock, {"ENGINE": request.param}) as one:
        yield one


@pytest.fixture
def small_shop(aws: Stage, aws_calls: AwsCalls, clock: Clock) -> "Iterator[Shop]":
    """A shop on one engine only: for rules that do not hang on conditions."""
    with _opened(aws, aws_calls, clock) as one:
        yield one


def _opened(
    stage: Stage, calls: AwsCalls, clock: Clock, settings: Mapping[str, str] | None = None
) -> "AbstractContextManager[Shop]":
    from tests.support.shop import opened  # not before the environment is a dummy: it imports the app

    return opened(stage, calls, clock, settings=settings)


@contextmanager
def _app_forgets() -> Iterator[None]:
    """What the app keeps between calls, as a warm Lambda would, it keeps for one test only."""
    from chalicelib import service

    service.reset()
    yield
    service.reset()
