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
    made = (clients.dynamodb(), clients.sqs(), clients.events(), clients.sns())
    assert [client.meta.service_model.service_name for client in made] == ["dynamodb", "sqs", "events", "sns"]
    clients.forget()
    assert clients.dynamodb() is not made[0]
