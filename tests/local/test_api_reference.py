"""The API reference of the laptop stack: whole, made of what is here, and working."""

import json
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.support.browser import visited
from tests.support.laptop import Laptop, running_laptop
from tests.support.openapi import operations


@pytest.fixture(scope="module")
def laptop() -> Iterator[Laptop]:
    with running_laptop() as laptop:
        yield laptop


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/", "text/html; charset=utf-8"),
        ("/docs?filter=orders", "text/html; charset=utf-8"),
        ("/docs/swagger-ui.css", "text/css"),
        ("/docs/swagger-ui-bundle.js", "text/javascript"),
    ],
)
def test_the_page_and_its_files_are_served(laptop: Laptop, path: str, content_type: str) -> None:
    with urlopen(f"{laptop.api}{path}", timeout=10) as answer:
        body = answer.read()
    assert answer.headers["Content-Type"] == content_type
    assert len(body) == int(answer.headers["Content-Length"]) > 0
    with urlopen(Request(f"{laptop.api}{path}", method="HEAD"), timeout=10) as head:
        assert head.read() == b""
        assert head.headers["Content-Length"] == answer.headers["Content-Length"]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/docs/oauth2-redirect.html"), ("GET", "/swagger-ui.css"), ("POST", "/docs")]
)
def test_nothing_else_is_served(laptop: Laptop, method: str, path: str) -> None:
    with pytest.raises(HTTPError) as refused:
        urlopen(Request(f"{laptop.api}{path}", method=method), timeout=10)
    with refused.value as problem:
        assert problem.status == 404
        assert problem.headers["Content-Type"] == "application/problem+json"


def test_a_browser_shows_every_operation_and_tries_them_out_and_nothing_leaves_the_machine(laptop: Laptop) -> None:
    seen = visited(f"{laptop.api}/docs", ("GET", "/health"), ("POST", "/orders"))
    assert seen.errors == []
    assert seen.operations == operations()
    health, placed = seen.answers
    assert (health["status"], json.loads(health["body"])) == ("200", {"status": "ok"})
    assert (placed["status"], json.loads(placed["body"])["status"]) == ("201", "PENDING")
    assert [url for url in seen.requests if not url.startswith((f"{laptop.api}/", "data:"))] == []
