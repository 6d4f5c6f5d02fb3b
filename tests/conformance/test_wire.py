"""Requests go out as they are, and every way to have no answer is told apart from an answer."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from conformance.wire import Answer, NoAnswer, Request, Unreachable, Wire
from tests.support.network import free_port

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


@contextmanager
def answering(answer: bytes, *, keeps_open: bool = False) -> Iterator[tuple[Wire, list[bytes]]]:
    """A server that reads one request and answers this, and what it read."""
    read: list[bytes] = []
    done = threading.Event()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            read.append(_whole(connection))
            connection.sendall(answer)
            if keeps_open:
                done.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield Wire(f"http://127.0.0.1:{listener.getsockname()[1]}/base/", 0.5), read
        done.set()
        thread.join()


def _whole(connection: socket.socket) -> bytes:
    request = b""
    while part := connection.recv(65536):
        request += part
        head, ended, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        if ended and len(body) >= (int(length[1]) if length else 0):
            break
    return request


def test_fields_go_out_in_their_order_repeated_and_odd_ones_too() -> None:
    fields = (("Idempotency-Key", '"a"'), ("Idempotency-Key", ""), ("Idempotency-Key", '"é'), ("User-Agent", "mine"))
    with answering(OK + b"ok") as (wire, read):
        assert wire.send(Request("POST", "/base/orders", fields, b"{}")).body == b"ok"
    head, _, body = read[0].partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"POST /base/orders HTTP/1.1"
    assert [line for line in head.split(b"\r\n") if line.startswith(b"Idem")] == [
        b'Idempotency-Key: "a"',
        b"Idempotency-Key: ",
        'Idempotency-Key: "é'.encode("latin-1"),
    ]
    assert head.count(b"User-Agent: ") == 1
    assert body == b"{}"


@pytest.mark.parametrize("keeps_open", [False, True])
@pytest.mark.parametrize("content", [b"", b"ok"])
def test_content_after_head_is_seen(content: bytes, keeps_open: bool) -> None:
    with answering(OK + content, keeps_open=keeps_open) as (wire, _):
        assert wire.content_after_head(Request("HEAD", "/", ())) == content


@pytest.mark.parametrize("keeps_open", [False, True])
@pytest.mark.parametrize("begun", [b"", OK + b"o", b"not http at all\r\n\r\n"])
def test_half_an_answer_is_none(begun: bytes, keeps_open: bool) -> None:
    with answering(begun, keeps_open=keeps_open) as (wire, _), pytest.raises(NoAnswer):
        wire.send(Request("GET", "/", ()))


def test_who_hangs_up_has_sent_all_of_the_request() -> None:
    with answering(OK + b"ok") as (wire, read):
        wire.send_and_hang_up(Request("POST", "/orders", (("A", "b"),), b"all of it"))
    assert read[0].endswith(b"all of it")


def test_nobody_there_is_told_apart_from_no_answer() -> None:
    wire = Wire(f"http://127.0.0.1:{free_port()}", 1)
    with pytest.raises(NoAnswer):
        wire.send(Request("GET", "/", ()))
    with pytest.raises(Unreachable, match="cannot be reached: Connection refused"):
        wire.reach()


@pytest.mark.parametrize(
    "url", ["", "api.example", "ftp://api.example", "http://", "http://a:b", "http://a/?q", "http://a/#f"]
)
def test_what_is_not_the_address_of_an_api_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is not the http or https address of an API"):
        Wire(url, 1)


def test_values_of_a_repeated_field_are_joined() -> None:
    answer = Answer(
        200, (("Allow", "GET"), ("allow", "POST"), ("Content-Type", "Application/JSON; charset=utf-8")), b"{"
    )
    assert answer.header("ALLOW") == "GET, POST"
    assert answer.header("Retry-After") is None
    assert answer.media_type == "application/json"
    assert answer.document is None
