"""The JavaScript client in a browser: a page of another origin places one order, through the same proxy."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from tests.clients.orders import an_order, stored
from tests.support.laptop import Laptop
from tests.support.lossy_proxy import BUSY, Trouble, lossy_proxy
from tests.support.skipping import skip_or_fail
from tests.support.template import ROOT

CLIENT = ROOT / "clients" / "javascript" / "orderonce.mjs"
PAGE = """<script type="module">
import { OrderOnce } from "/orderonce.mjs";
const tell = (told) => fetch("/told", { method: "POST", body: JSON.stringify(told) });
try {
  const client = new OrderOnce("API", { timeout: 1, tries: 50, sleep: async () => {} });
  const { order, key, replayed } = await client.place(ORDER);
  const listed = [];
  for await (const one of client.orders(order.customerId)) listed.push(one.orderId);
  await tell({ order, key, replayed, listed });
} catch (failed) {
  await tell({ failed: String(failed) });
}
</script>"""


@pytest.fixture
def chromium() -> str:
    """Skips where there is none, or fails if REQUIRE_BROWSER=1."""
    found = shutil.which("chromium")
    if found is None:
        to_run = "install chromium (on Debian: apt-get install chromium), then make test ARGS=tests/clients"
        skip_or_fail("REQUIRE_BROWSER", "there is no `chromium` on this machine", to_run)
    return found


@contextmanager
def page(text: str) -> Iterator[tuple[str, "SimpleQueue[Any]"]]:
    """A page beside the client, on a server of its own; and what it tells."""
    told: SimpleQueue[Any] = SimpleQueue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(200)
            self.send_header("Content-Type", "text/javascript" if self.path == "/orderonce.mjs" else "text/html")
            self.end_headers()
            self.wfile.write(CLIENT.read_bytes() if self.path == "/orderonce.mjs" else text.encode())

        def do_POST(self) -> None:
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response_only(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", told
        finally:
            server.shutdown()


@contextmanager
def shown(chromium: str, url: str, profile: Path) -> Iterator[None]:
    """A browser that looks at this page."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}"]
    nowhere_else = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    command = [chromium, *options, nowhere_else, url]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            yield
        finally:
            browser.terminate()


def test_a_page_places_one_order_whatever_the_network_does(laptop: Laptop, chromium: str, tmp_path: Path) -> None:
    order = an_order()
    with lossy_proxy(laptop.api, [Trouble.LOST, BUSY, Trouble.HALF, Trouble.SLOW, Trouble.DROPPED]) as proxy:
        text = PAGE.replace("API", proxy.url).replace("ORDER", json.dumps(order))
        with page(text) as (url, told), shown(chromium, url, tmp_path):
            placed = told.get(timeout=60)
    assert "failed" not in placed, placed
    assert [one["orderId"] for one in stored(laptop, order["customerId"])] == [placed["order"]["orderId"]]
    assert (placed["listed"], placed["replayed"]) == ([placed["order"]["orderId"]], True)
    sent = [request.headers["Idempotency-Key"] for request in proxy.received if request.method == "POST"]
    assert len(sent) >= 6
    assert set(sent) == {f'"{placed["key"]}"'}
