"""An embedded AWS for each test, and small apps to run on it."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import boto3
import pytest
from chalice.app import Chalice
from chalice.config import Config

from local.aws import EmbeddedAws
from local.event_source_mapping import EventSourceMapping, event_source_mappings
from local.resources import create_resources
from local.server import listen
from local.settings import LOOPBACK, ROOT, STAGE, enter_stage, read_json, stage_variables

Clients = Callable[[str], Any]
MapTo = Callable[..., EventSourceMapping]


@pytest.fixture
def config_json() -> dict[str, Any]:
    return read_json(ROOT / ".chalice" / "config.json")


@pytest.fixture
def embedded_aws(monkeypatch: pytest.MonkeyPatch, config_json: dict[str, Any]) -> Iterator[EmbeddedAws]:
    """Running and empty; the environment leads to it."""
    with closing(listen(LOOPBACK, 0, "AWS_PORT")) as listener:
        environ = dict(os.environ)
        enter_stage(environ, stage_variables(config_json), "orderonce", listener.getsockname()[1])
        for name in os.environ.keys() - environ.keys():
            monkeypatch.delenv(name)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        with EmbeddedAws(listener) as aws:
            yield aws


@pytest.fixture
def clients(embedded_aws: EmbeddedAws) -> Iterator[Clients]:
    """boto3 clients of the embedded AWS, closed with the test."""
    made: list[Any] = []

    def client(service: str) -> Any:
        made.append(boto3.client(service))  # type: ignore[call-overload]
        return made[-1]

    yield client
    for one in made:
        one.close()


@pytest.fixture
def outputs(embedded_aws: EmbeddedAws) -> dict[str, str]:
    """The template's outputs, once its resources are created."""
    return create_resources()


@pytest.fixture
def map_to(outputs: dict[str, str], config_json: dict[str, Any]) -> Iterator[MapTo]:
    """Maps the order queue to a consumer of the test's own; other settings of the mapping can be given."""
    made: list[EventSourceMapping] = []

    def mapping(consume: Callable[[Any], Any], **given: Any) -> EventSourceMapping:
        app = Chalice("orderonce")
        app.on_sqs_message(**{"queue": outputs["OrderQueueName"], "batch_size": 10, "name": "order_consumer", **given})(
            consume
        )
        [one] = event_source_mappings(app, stage_config(app, config_json))
        made.append(one)
        return one

    yield mapping
    for one in made:
        one.close()


def stage_config(app: Chalice, config_json: dict[str, Any]) -> Config:
    return Config(
        chalice_stage=STAGE,
        user_provided_params={"chalice_app": app, "project_dir": str(ROOT)},
        config_from_disk=config_json,
    )
