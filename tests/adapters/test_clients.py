"""The clients are made when they are needed, and once."""

from typing import Any

from chalicelib.adapters import clients
from tests.support.stage import Stage


def test_a_client_is_made_when_it_is_used_and_once(aws: Stage) -> None:
    made: list[str] = []

    def make() -> Any:
        made.append("once")
        return clients.events()

    late = clients.AtFirstUse(make)
    assert not made
    assert late.meta.service_model.service_name == "events"
    assert made
    assert clients.events() is clients.events()
    clients.forget()


def test_each_service_that_is_called_can_be(aws: Stage) -> None:
    names = ["dynamodb", "events", "secretsmanager", "sns", "sqs", "ssm"]
    made = [getattr(clients, name)() for name in names]
    assert [client.meta.service_model.service_name for client in made] == names
    assert {(client.meta.config.read_timeout, client.meta.config.connect_timeout) for client in made} == {(1, 1)}
    clients.forget()
    assert clients.dynamodb() is not made[0]
