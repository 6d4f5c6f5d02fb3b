"""The program of a process of the release before this one: only its own code and the standard library are imported.

It does what it is asked for, line by line, and asks for its queue and its bus itself: JSON both ways. Its clock is the
test's: `began` on the machine's monotonic clock, and `rate` times as fast.
"""

import json
import os
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import boto3
from botocore.config import Config

import chalicelib
from chalicelib import service
from chalicelib.deadline import NO_DEADLINE
from chalicelib.entrypoints import messages
from chalicelib.entrypoints.api import cancel_order, place_order
from chalicelib.entrypoints.exchange import Request
from chalicelib.entrypoints.problems import Problem
from chalicelib.settings import Settings
from chalicelib.use_cases.consuming import MessagesLeft

answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)  # what is logged and counted is not an answer
_asking = threading.Lock()


def say(**what: Any) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


def heard() -> Any:
    line = sys.stdin.readline()
    if not line:
        sys.exit()
    return json.loads(line)


class Remote:
    """The queue or the bus, which the test has."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, call: str) -> Any:
        def asked(**arguments: Any) -> Any:
            with _asking:
                say(ask=self._name, call=call, arguments=arguments)
                return heard()

        return asked


class Clock:
    """As tests/support/world.py's FastClock is at the moment of the last command."""

    def __init__(self) -> None:
        self.now, self.at, self.rate = datetime.now(UTC), time.monotonic(), 0.0

    def set(self, now: str, at: float, rate: float) -> None:
        self.now, self.at, self.rate = datetime.fromisoformat(now), at, rate

    def __call__(self) -> datetime:
        moment = self.now + timedelta(seconds=(time.monotonic() - self.at) * self.rate)
        return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


class Previous:
    """What it can be asked for."""

    def __init__(self) -> None:
        self.clock = Clock()
        config = Config(read_timeout=20, max_pool_connections=32)
        dynamodb = boto3.client("dynamodb", config=config, endpoint_url=os.environ["DYNAMODB_ENDPOINT"])
        queue, bus, nobody = cast(Any, Remote("queue")), cast(Any, Remote("bus")), cast(Any, None)
        settings = Settings.from_environment()
        self.service = service.compose(settings, dynamodb, queue, bus, nobody, clock=self.clock)

    def consume(self, records: list[Any]) -> bool:
        """Whether Lambda may delete the batch."""
        try:
            self.service.consumer.consume(messages.read_records(self.service, records), NO_DEADLINE)
        except MessagesLeft:
            return False
        return True

    def recover(self) -> int:
        return self.service.recovery.recover(NO_DEADLINE) + self.service.dead_letters.replay_due(NO_DEADLINE)

    def place(self, headers: dict[str, str], body: str) -> list[Any]:
        return self._answered(lambda: place_order(self.service, Request(headers, {}, body.encode(), "test")))

    def cancel(self, order_id: str) -> list[Any]:
        return self._answered(lambda: cancel_order(self.service, Request({}, {}, b"", "test"), order_id))

    def _answered(self, act: Any) -> list[Any]:
        try:
            answer = act()
        except Problem as problem:
            return [problem.status, json.dumps(problem.body, default=str)]
        return [answer.status, answer.body]


def main() -> None:
    previous = Previous()
    say(done=str(chalicelib.__file__))
    while True:
        command = heard()
        previous.clock.set(*command["clock"])
        say(done=getattr(previous, command["do"])(**command["arguments"]))


if __name__ == "__main__":
    main()
