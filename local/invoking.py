"""Calling a function of the Chalice app as Lambda would."""

import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from chalice.app import Chalice
from chalice.config import Config

from local.settings import STAGE

ACCOUNT = "123456789012"
"""The account of everything in the embedded AWS (moto's own default)."""


class FunctionTimeoutError(Exception):
    """The function took longer than its configured timeout. Lambda would have killed it."""


@dataclass
class LambdaContext:
    """What Lambda passes to a handler with the event."""

    function_name: str
    memory_limit_in_mb: int
    invoked_function_arn: str
    timeout_seconds: int
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    function_version: str = "$LATEST"
    log_group_name: str = ""
    log_stream_name: str = ""
    identity: None = None
    client_context: None = None
    started: float = field(default_factory=time.monotonic)

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the configured timeout; never below zero."""
        left = self.started + self.timeout_seconds - time.monotonic()
        return max(0, int(left * 1000))


@dataclass(frozen=True)
class Function:
    """One Lambda function of the app, by its registered name."""

    name: str
    handler: Callable[[dict[str, Any], Any], Any]
    memory_limit_in_mb: int
    timeout_seconds: int

    @classmethod
    def from_app(cls, app: Chalice, config: Config, name: str) -> "Function":
        """The handler that the app registered, with memory and timeout from config.json."""
        scoped = config.scope(STAGE, name)
        return cls(name, app.handler_map[name], scoped.lambda_memory_size or 128, scoped.lambda_timeout or 60)

    def invoke(self, event: dict[str, Any], app_name: str) -> Any:
        """The handler's return value.

        Raises what the handler raises, and FunctionTimeoutError if it returned after its timeout.
        """
        full_name = f"{app_name}-{STAGE}-{self.name}"
        context = LambdaContext(
            function_name=full_name,
            memory_limit_in_mb=self.memory_limit_in_mb,
            invoked_function_arn=f"arn:aws:lambda:{region()}:{ACCOUNT}:function:{full_name}",
            timeout_seconds=self.timeout_seconds,
        )
        result = self.handler(event, context)
        if context.get_remaining_time_in_millis() == 0:
            raise FunctionTimeoutError(f"{self.name} took longer than {self.timeout_seconds} s")
        return result


def region() -> str:
    """The region of the embedded AWS, from the stage's settings."""
    return os.environ.get("AWS_DEFAULT_REGION", "us-east-1")
