"""The local server answers every refusal with a problem."""

import http.client
import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from chalice.app import AuthResponse, Chalice, CORSConfig

from local.faults import StartError
from local.server import ApiServer, ProblemHandler, listen
from local.settings import LOOPBACK
from tests.local.conftest import stage_config


@pytest.fixture
def port(config_json: dict[str, Any]) -> Iterator[int]:
    app = Chalice("orderonce")
    app.api.cors = True

    @app.authorizer()
    def nobody(request: Any) -> AuthResponse:
        return AuthResponse(routes=[], principal_id="nobody")

    @app.route("/echo", methods=["POST"])
    def echo() -> Any:
        assert app.current_request
        return app.current_request.json_body

    @app.route("/closed", authorizer=nobody)
    def closed() -> dict[str, Any]:
        return {}

    with closing(listen(LOOPBACK, 0, "PORT")) as listener, ApiServer(app, stage_config(app, config_json), listener):
        yield listener.getsockname()[1]


def ask(
    port: int, method: str, path: str, headers: dict[str, str] | None = None, body: str | None = None
) -> tuple[http.client.HTTPResponse, Any]:
    with closing(http.client.HTTPConnection(LOOPBACK, port, timeout=5)) as connection:
        connection.putrequest(method, path)
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders(body.encode() if body else None)
        response = connection.getresponse()
        return response, json.loads(response.read())


def test_a_route_of_the_app_is_served(port: int) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": "8"}
    response, body = ask(port, "POST", "/echo", headers, '{"a": 1}')
    assert (response.status, body) == (200, {"a": 1})


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer x"}])
def test_an_unknown_route_is_a_problem_that_a_browser_may_read(port: int, headers: dict[str, str]) -> None:
    response, body = ask(port, "GET", "/nowhere?secret=1", headers)
    assert response.status == body["status"] == 404
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert body["type"] == "about:blank"
    assert body["title"] == "Not Found"
    assert body["detail"] == "GET /nowhere does not exist."


def test_what_one_route_allows_a_browser_an_unknown_one_allows_too(config_json: dict[str, Any]) -> None:
    app = Chalice("orderonce")
    app.route("/closed")(dict)
    app.route("/open", cors=CORSConfig(allow_origin="https://shop.example"))(dict)
    with closing(listen(LOOPBACK, 0, "PORT")) as listener, ApiServer(app, stage_config(app, config_json), listener):
        response, _ = ask(listener.getsockname()[1], "GET", "/nowhere")
    assert response.headers["Access-Control-Allow-Origin"] == "https://shop.example"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        pytest.param("GET", "/closed", {"Authorization": "x"}, 403, id="the authorizer refuses"),
        pytest.param("POST", "/echo", {"Transfer-Encoding": "chunked"}, 411, id="unknown length"),
        pytest.param("POST", "/echo", {"Content-Length": "many"}, 400, id="length is not a number"),
        pytest.param("POST", "/echo", {"Content-Length": "-1"}, 400, id="negative length"),
        pytest.param("POST", "/echo", {"Content-Length": "99999999999"}, 413, id="too long"),
        pytest.param("BREW", "/echo", {}, 501, id="unknown method"),
    ],
)
def test_what_never_reaches_the_app_is_a_problem(
    port: int, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    response, body = ask(port, method, path, headers)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.status == body["status"] == status


def test_the_answer_to_head_has_no_body(port: int) -> None:
    with socket.create_connection((LOOPBACK, port), timeout=5) as client:
        client.sendall(b"HEAD /nowhere HTTP/1.1\r\nHost: here\r\n\r\nBREW / HTTP/1.1\r\n\r\n")
        answers = b"".join(iter(lambda: client.recv(4096), b""))
    head, _, rest = answers.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 ")
    assert int(re.search(rb"Content-Length: (\d+)", head)[1]) > 0  # type: ignore[index]
    assert rest.startswith(b"HTTP/1.1 501 ")


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"POST /ec",
        b"POST /echo HTTP/1.1\r\nContent-Type: appl",
        b"POST /echo HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{",
    ],
)
def test_a_request_that_never_ends_is_timed_out_and_others_go_on(
    port: int, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    assert 0 < ProblemHandler.timeout <= 60
    monkeypatch.setattr(ProblemHandler, "timeout", 1.0)
    with socket.create_connection((LOOPBACK, port), timeout=10) as client:
        client.sendall(begun)
        headers = {"Content-Type": "application/json", "Content-Length": "1"}
        assert ask(port, "POST", "/echo", headers, "1")[1] == 1
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 408 ")
    assert begun.endswith(b"{") == bool(answer)


def test_a_body_that_is_cut_off_never_reaches_the_app(port: int) -> None:
    with socket.create_connection((LOOPBACK, port), timeout=10) as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n123")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(4096) == b""


def test_a_kept_connection_serves_one_request_after_another(port: int) -> None:
    with closing(http.client.HTTPConnection(LOOPBACK, port, timeout=5)) as connection:
        for number in range(3):
            connection.request("POST", "/echo", str(number), {"Content-Type": "application/json"})
            assert json.loads(connection.getresponse().read()) == number


@pytest.mark.parametrize("host", ["203.0.113.7", "2001:db8::7"])
def test_an_address_of_another_machine_is_one_sentence_that_names_host(host: str) -> None:
    with pytest.raises(StartError, match=f"^HOST must be an IP address of this machine, not '{host}'"):
        listen(host, 0, "PORT")


def test_a_taken_port_is_one_sentence_that_names_the_setting() -> None:
    with closing(listen(LOOPBACK, 0, "PORT")) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"127.0.0.1:{port}.*in use.*set AWS_PORT"):
            listen(LOOPBACK, port, "AWS_PORT")
