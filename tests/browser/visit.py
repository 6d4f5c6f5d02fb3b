"""`python visit.py CHROMIUM URL [METHOD PATH]...`: what an API reference looks like in a browser, as JSON.

`operations` that are shown; `requests` that the page made; `errors` of its console, and those that it shows; and for
each METHOD PATH, in `answers`, what "Try it out" and "Execute" gave for the example that is in the form.
The environment variable SCREENSHOT names a file for a picture.
"""

import json
import os
import sys
from typing import Any

from playwright.sync_api import Locator, Page, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    # Whatever it is that would leave this machine finds nobody.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


def visit(page: Page, url: str, to_try: list[tuple[str, str]]) -> dict[str, Any]:
    """What is to be seen at the URL."""
    seen: dict[str, Any] = {"operations": [], "requests": [], "errors": [], "answers": []}
    page.on("request", lambda request: seen["requests"].append(request.url))
    page.on("console", lambda message: message.type == "error" and seen["errors"].append(message.text))
    page.on("pageerror", lambda error: seen["errors"].append(str(error)))
    page.goto(url)
    page.locator(".opblock").first.wait_for()
    for operation in page.locator(".opblock").all():
        seen["operations"].append([operation.locator(f".opblock-summary-{part}").inner_text() for part in PARTS])
    seen["errors"] += page.locator(".errors-wrapper").all_inner_texts()
    seen["answers"] = [tried(operation_at(page, method, path)) for method, path in to_try]
    if picture := os.environ.get("SCREENSHOT"):
        page.screenshot(path=picture, full_page=True)
    return seen


PARTS = ("method", "path")


def operation_at(page: Page, method: str, path: str) -> Locator:
    of_path = page.locator(".opblock").filter(has=page.locator(f'.opblock-summary-path[data-path="{path}"]'))
    return of_path.filter(has=page.locator(".opblock-summary-method", has_text=method))


def tried(operation: Locator) -> dict[str, str]:
    """The status and the body that the operation answers to its example."""
    operation.locator(".opblock-summary-control").first.click()
    operation.locator(".try-out__btn").click()
    operation.locator(".execute").click()
    answer = operation.locator(".live-responses-table .response")
    answer.wait_for()
    return {
        "status": answer.locator(".response-col_status").inner_text().split()[0],
        "body": answer.locator(".highlight-code code").first.inner_text(),
    }


def main(chromium: str, url: str, *words: str) -> None:
    """Print what is to be seen."""
    to_try = list(zip(words[::2], words[1::2], strict=True))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.set_default_timeout(30_000)
        print(json.dumps(visit(page, url, to_try)))
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
