"""No test leaves this machine, and code that swallows the refusal is still found out."""

import os
import socket

import pytest

from tests.support.network import Attempts, NetworkForbidden

OUTSIDE = "192.0.2.1"  # reserved for documentation by RFC 5737


def test_a_connection_beyond_this_machine_is_refused_and_remembered(network: Attempts) -> None:
    with socket.socket() as client, pytest.raises(NetworkForbidden):
        client.connect((OUTSIDE, 443))
    assert network.take() == [f"('{OUTSIDE}', 443)"]


def test_a_name_beyond_this_machine_is_not_even_looked_up(network: Attempts) -> None:
    with pytest.raises(NetworkForbidden):
        socket.create_connection(("sqs.us-east-1.amazonaws.com", 443))
    assert network.take() == ["sqs.us-east-1.amazonaws.com"]


def test_this_machine_is_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1])).close()


def test_the_machines_own_aws_settings_are_out_of_reach() -> None:
    assert os.environ["AWS_ACCESS_KEY_ID"] == "testing"
    assert os.environ["AWS_CONFIG_FILE"] == os.environ["AWS_SHARED_CREDENTIALS_FILE"] == os.devnull
    assert "AWS_PROFILE" not in os.environ
    assert "AWS_ENDPOINT_URL" not in os.environ
