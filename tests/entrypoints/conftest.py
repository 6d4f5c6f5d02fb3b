"""The laptop's server, for what only a server can show."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from chalice import Chalice
from chalice.config import Config

import app as entry
from local.server import ApiServer, listen
from local.settings import LOOPBACK
from tests.support.shop import Shop


@pytest.fixture
def port(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Its port; it serves the shop of the test's file."""
    monkeypatch.setattr(entry.app, "__class__", Chalice)  # which the server changes, and the test's end sets back
    config = Config(chalice_stage="local", user_provided_params={"chalice_app": entry.app})
    with closing(listen(LOOPBACK, 0, "PORT")) as listener, ApiServer(entry.app, config, listener):
        yield listener.getsockname()[1]
