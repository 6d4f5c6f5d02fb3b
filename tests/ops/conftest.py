"""The command line in this process, on a shop of the test's own; and what the tests of a live stage share."""

from collections.abc import Iterator, Sequence
from typing import Any
from unittest.mock import patch

import pytest
from botocore.session import Session
from click.testing import CliRunner, Result

from chalicelib import exact_json, telemetry
from chalicelib.adapters import clients
from ops.cli import ops
from tests.ops.live_stage import Answers
from tests.support.aws_calls import AwsCalls
from tests.support.events import Clock
from tests.support.shop import Shop, opened
from tests.support.stage import Stage


class Operator:
    """Runs commands. `calls` sees their calls of AWS, and can make them fail."""

    def __init__(self, calls: AwsCalls) -> None:
        self.calls = calls

    def __call__(self, *words: str, typed: str | None = None) -> Result:
        """The result of a command; `typed` is its input."""
        make = Session.create_client

        def watched(session: Session, *args: Any, **options: Any) -> Any:
            client = make(session, *args, **options)
            self.calls.watch(client)
            return client

        telemetry.logger()  # made before the streams are the runner's
        clients.forget()  # a command is a process of its own
        with patch.object(Session, "create_client", watched):
            return CliRunner().invoke(ops, words, input=typed, catch_exceptions=False)

    def does(self, *words: str, typed: str | None = None) -> str:
        """The output of a command that succeeds."""
        result = self(*words, typed=typed)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *words: str) -> Any:
        """The same, parsed; amounts are Decimals."""
        return exact_json.loads(self.does(*words, "--json"))

    def refused(self, *words: str, status: int = 1, typed: str | None = None) -> str:
        """The one sentence of a command that does not succeed."""
        result = self(*words, typed=typed)
        assert result.exit_code == status, result.output
        sentences = [line for line in result.stderr.splitlines() if not line.startswith("{")]
        assert sentences, result.output
        return sentences[-1]


@pytest.fixture
def shop(aws: Stage, clock: Clock) -> Iterator[Shop]:
    own = AwsCalls()
    with opened(aws, own, clock) as shop:
        yield shop
    own.unwatch()


@pytest.fixture
def operator(shop: Shop, aws_calls: AwsCalls) -> Operator:
    return Operator(aws_calls)


def audit_of(result: Result) -> list[dict[str, Any]]:
    """The audit lines on stderr."""
    lines: Sequence[str] = result.stderr.splitlines()
    return [exact_json.loads(line) for line in lines if line.startswith('{"audit"')]


# --- of a live stage: a module says by its fixture `way` which stage that is, and what AWS answers about it ---


@pytest.fixture
def stage(way: tuple[str, Answers]) -> str:
    """Its name."""
    return way[0]


@pytest.fixture
def answers(way: tuple[str, Answers]) -> Iterator[Answers]:
    """What AWS answers about it, to be spoiled; as it was after each test."""
    way[1].restore()
    yield way[1]
    way[1].restore()
