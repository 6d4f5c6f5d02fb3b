"""docs/operating.md shows what the commands print: its sessions are typed again, one after the other, and compared.

Equal but for what differs from stage to stage and run to run: ids, hashes, times, the stage's and the operator's name.
"""

import re
import shlex
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

from chalicelib import times
from local.resources import load_catalogue, read_catalogue
from tests.ops.conftest import Operator
from tests.support.shop import Shop
from tests.support.snippets import Snippet, snippet

SESSIONS = [
    snippet("docs/operating.md", "$ ops dead-letters list"),
    snippet("docs/operating.md", "$ ops dead-letters show a4af5454"),
    snippet("docs/operating.md", "$ ops dead-letters replay a4af5454"),
    snippet("docs/operating.md", "$ ops dead-letters export export.jsonl"),
    snippet("docs/operating.md", "$ ops orders list CUST-42"),
    snippet("docs/operating.md", "$ ops orders stuck --older-than 30m"),
    snippet("docs/operating.md", "$ ops keys explain CUST-42 first-try"),
    snippet("docs/operating.md", "$ ops catalogue load local/catalogue.json"),
]
CATALOGUE = snippet("docs/operating.md", "$ ops catalogue list")
OLDER, NEWER = "b77d45ac-5acc-5695-b165-e2a815099dbd", "4f1586ea-7831-5dd8-ae4b-f91db6fbddef"
"""The orders of CUST-42 on the page."""

VARIABLE = {
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}": "<id>",
    r"v1:[0-9a-f]{64}": "<fingerprint>",
    r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?Z?": "<time>",
    r"(\d+ \w+ ago|just now|in the future)": "<ago>",
    r'"who": "[^"]*", "identity": "[^"]*", "stage": "\w+"': "<who>",
    r"orderonce-(dev|test)-": "orderonce-<stage>-",
    r'"ids": \[[^]]*\]': '"ids": [...]',
    r" {2,}": "  ",
}


def alike(text: str) -> list[str]:
    """The lines, without what differs from run to run."""
    for pattern, word in VARIABLE.items():
        text = re.sub(pattern, word, text)
    # Log lines: the command line shows warnings only, a test's shop all of them.
    return [line.rstrip() for line in text.splitlines() if line.strip() and not line.startswith('{"level":"INFO"')]


def steps(session: Snippet) -> list[tuple[str, str]]:
    """Each command, without `ops`, and what it prints (what is typed at a prompt comes from the keyboard)."""
    found = [step.partition("\n") for step in session.text.split("$ ops ")[1:]]
    return [(command, re.sub(r"(?<=\): )\S+\n", "", printed)) for command, _, printed in found]


def a_day_of_work(shop: Shop) -> tuple[str, str]:
    """The catalogue is loaded, two messages are dead letters; the ids of two orders of CUST-42."""
    load_catalogue(shop.stage["INVENTORY_TABLE"], read_catalogue())
    items = [{"productId": "PROD-001", "quantity": 0}]
    shop.produce({"orderId": "web-1001", "customerId": "CUST-42", "items": items, "totalAmount": 29.99}, "garbage")
    older = shop.place(shop.order("PROD-001", 2, customerId="CUST-42"), "first-try").order_id
    shop.run_queue()
    shop.clock.advance(seconds=1)
    newer = shop.place(shop.order("PROD-001", 1, customerId="CUST-42"), X_Correlation_Id=str(uuid.uuid4())).order_id
    shop.run_queue()
    return older, newer


def wait(shop: Shop, order_id: str) -> None:
    """The payment provider has not answered for this order for an hour."""
    now = datetime.now(UTC)
    soon, before = times.to_text(now + timedelta(minutes=7)), times.to_text(now - timedelta(minutes=56))
    entry = {"outbox": 0, "outboxDueAt": soon, "outboxTries": 5}
    shop.change_stored(order_id, status="RESERVED", updatedAt=before, **entry)


def test_each_command_prints_what_the_page_shows(operator: Operator, shop: Shop, tmp_path: Path) -> None:
    older, newer = a_day_of_work(shop)
    for command, shown in (step for session in SESSIONS for step in steps(session)):
        if command.startswith("orders stuck"):
            wait(shop, newer)
        letters = [letter["messageId"] for letter in operator.json("dead-letters", "list")]
        typed = {"a4af5454": letters[0] if letters else "", OLDER: older, NEWER: newer}
        typed |= {file: str(tmp_path / file) for file in ("export.jsonl", "purged.jsonl")}
        words = [typed.get(word, word) for word in shlex.split(command)]
        result = operator(*words, typed=f"{shop.stage['ORDER_DEAD_LETTERS']}\n")
        cleaned = [text.replace(f"{tmp_path}/", "") for text in (result.stdout, result.stderr)]
        # Where a pipe splits the streams, only the order within each is certain.
        expected, out, err = (alike(text) for text in (shown, *cleaned))
        assert sorted(expected) == sorted(out + err), command
        assert [line for line in expected if line in out] == out
        shop.run_queue()  # what was replayed comes back


def test_the_catalogue_is_listed_as_the_page_shows_it(operator: Operator, shop: Shop) -> None:
    for row in shop.stage.items("INVENTORY_TABLE"):
        shop.stage.dynamodb.delete_item(
            TableName=shop.stage["INVENTORY_TABLE"], Key={"productId": {"S": row["productId"]}}
        )
    load_catalogue(shop.stage["INVENTORY_TABLE"], read_catalogue())
    ((command, shown),) = steps(CATALOGUE)
    result = operator(*command.split())
    first, last = shown.split("…\n")
    assert (result.stdout + result.stderr).startswith(first)
    assert (result.stdout + result.stderr).endswith(last)
