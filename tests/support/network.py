"""No test leaves this machine: connections and name look-ups beyond the loopback are refused and remembered.

Remembered, because code that is made to survive a broken network would swallow the refusal and the test would
pass.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any, NoReturn

import pytest


class NetworkForbidden(RuntimeError):
    """A test tried to reach beyond this machine."""


class Attempts:
    """The destinations that were asked for and refused, as text."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def refuse(self, destination: object) -> NoReturn:
        self.refused.append(str(destination))
        raise NetworkForbidden(f"a test tried to reach {destination}")

    def take(self) -> list[str]:
        taken, self.refused = self.refused, []
        return taken


@contextmanager
def loopback_only() -> Iterator[Attempts]:
    attempts = Attempts()
    look_up = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if not _stays_here(host):
            attempts.refuse(host)
        return look_up(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, _guarded(getattr(socket.socket, name), attempts))
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield attempts


def _guarded(connect: Callable[[socket.socket, Any], Any], attempts: Attempts) -> Callable[..., Any]:
    def guarded(self: socket.socket, address: Any) -> Any:
        if isinstance(address, tuple) and not _stays_here(address[0]):
            attempts.refuse(address)
        return connect(self, address)

    return guarded


def _stays_here(host: Any) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if name in (None, "", "localhost", "0.0.0.0", "::"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
