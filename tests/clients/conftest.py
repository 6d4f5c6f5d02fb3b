"""The clients, and a laptop stack for them to call."""

from collections.abc import Iterator

import pytest

from tests.clients.callers import CLIENTS, Client
from tests.support.laptop import Laptop, running_laptop


@pytest.fixture(scope="session")
def laptop() -> Iterator[Laptop]:
    with running_laptop(CORS_ORIGIN="*") as laptop:
        yield laptop


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> Client:
    """Each client in turn."""
    return CLIENTS[request.param]
