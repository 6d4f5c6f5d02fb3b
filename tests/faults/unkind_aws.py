"""An AWS on 127.0.0.1 that is unkind: DynamoDB Local behind a proxy, and a queue and a bus of its own.

It loses answers, resets connections before anything happens, and is late: past the second that a client waits, too. The
queue gives messages twice and in no order, the bus fails for some entries. What Lambda does between queue and consumer
is asked for by two requests more: `/receive` and `/done`.
"""

import json
import random
import re
import socket
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from chalicelib import exact_json
from tests.support.stage import Stage
from tests.support.world import FakeBus, FakeQueues

LOST, RESET, LATE = 0.01, 0.01, 0.005
"""How many of the calls: the answer lost, the connection reset before anything happened, late."""

MAX_DELAY = 2.0
TWICE, BUS_FAILS = 0.1, 0.02

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TARGET = re.compile(rb"\r\nx-amz-target: *([A-Za-z0-9_]+)\.(\w+)", re.IGNORECASE)


class CountingQueues(FakeQueues):
    """Queues that know how many messages they gave twice."""

    doubled = 0

    def _record(self, message: Any, now: datetime) -> dict[str, Any]:
        record = super()._record(message, now)
        self.doubled += message.visible_at <= now
        return record


@dataclass
class UnkindAws:
    """The endpoint. `engine` is DynamoDB Local's URL."""

    stage: Stage
    engine: str
    clock: Callable[[], datetime]
    seed: int

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.counts: Counter[str] = Counter()
        self.unkind = True
        self.queue = CountingQueues(self.clock, random.Random(self.seed), self.stage["ORDER_DEAD_LETTERS"])
        self.bus = FakeBus(random.Random(self.seed))
        self.queue.twice, self.bus.fails = TWICE, BUS_FAILS
        aws = self

        class Handler(socketserver.StreamRequestHandler):
            disable_nagle_algorithm = True

            def handle(self) -> None:
                aws.serve(self.rfile, self.wfile)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that was killed is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def be_kind(self) -> None:
        """From now on nothing goes wrong."""
        self.unkind, self.queue.twice, self.bus.fails = False, 0.0, 0.0

    def serve(self, incoming: Any, outgoing: Any) -> None:
        """The requests of one connection, one after the other, until it is closed, or reset."""
        address = urlsplit(self.engine)
        with socket.create_connection((address.hostname, address.port)) as behind:
            behind.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answers = behind.makefile("rb")
            while request := _message(incoming):
                fault = self._fault(request)
                if fault == "reset":
                    return
                if fault == "late":
                    time.sleep(self.chance.random() * MAX_DELAY)
                answer = self._answer(request, behind, answers)
                if fault == "lost":
                    return
                outgoing.write(answer)

    def _fault(self, request: bytes) -> str | None:
        if request.startswith(b"POST /receive"):
            return None
        self.counts["calls"] += 1
        if not self.unkind:
            return None
        kinds, chances = ("lost", "reset", "late", None), (LOST, RESET, LATE, 1 - LOST - RESET - LATE)
        (fault,) = self.chance.choices(kinds, chances)
        if fault:
            self.counts[fault] += 1
        return fault

    def _answer(self, request: bytes, behind: socket.socket, answers: BinaryIO) -> bytes:
        head, _, body = request.partition(b"\r\n\r\n")
        target = _TARGET.search(head)
        if target is None:
            return _response(self._lambda(head.split()[1].decode(), json.loads(body)))
        if target[1].startswith(b"DynamoDB"):
            behind.sendall(request)
            return _message(answers)
        client: Any = self.bus if target[1] == b"AWSEvents" else self.queue
        operation = re.sub(r"(?<!^)(?=[A-Z])", "_", target[2].decode()).lower()
        return _response(getattr(client, operation)(**json.loads(body)))

    def _lambda(self, path: str, asked: Any) -> Any:
        """`/receive`: the records of the next batch; `/done`: the batch of these receipts is deleted."""
        queue = self.stage["ORDER_QUEUE"]
        if path == "/receive":
            return self.queue.receive(queue, asked)
        return self.queue.delete_message_batch(QueueUrl=queue, Entries=[{"ReceiptHandle": one} for one in asked])


def _message(stream: Any) -> bytes:
    """The next HTTP message, whole; nothing at the end of the stream."""
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return b""
        head += line
    length = _LENGTH.search(head)
    return bytes(head) + (stream.read(int(length[1])) if length else b"")


def _response(document: Any) -> bytes:
    body = exact_json.dumps(document).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
