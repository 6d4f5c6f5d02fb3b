"""Mistakes to plant in a copy of the service, to see that random schedules find them."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.template import ROOT

_COPIED = ("chalicelib", "tests", "local", ".chalice")


@dataclass(frozen=True)
class Planted:
    """A mistake: in `file`, `right` is replaced by `wrong`."""

    mistake: str
    file: str
    right: str
    wrong: str


PLANTED = (
    Planted(
        "a new order has no outbox entry",
        "domain/changes.py",
        "return Create(replace(order, outbox=_new_entry(at)))",
        "return Create(order)",
    ),
    Planted(
        "an order is charged before it is known to be RESERVED",
        "use_cases/fulfilment.py",
        "        self.reserve(items, deadline)\n",
        "        self.payments.charge([item.order for item in items])\n        self.reserve(items, deadline)\n",
    ),
    Planted(
        "a message is deleted before its order is worked on",
        "use_cases/consuming.py",
        "        outcomes, orders = self._outcomes(batch, deadline)\n",
        "        self._delete([read.message for read in batch])\n"
        "        outcomes, orders = self._outcomes(batch, deadline)\n",
    ),
    Planted(
        "a message is dropped on its last receive, without an outbox entry",
        "use_cases/consuming.py",
        "        if order is None or not isinstance(outcome, Retry):\n            return False\n",
        "        if order is not None:\n            return True\n        if not isinstance(outcome, Retry):\n"
        "            return False\n",
    ),
    Planted(
        "a transition does not ask for the status that it saw",
        "adapters/dynamodb/writes.py",
        '    update.require("status", order.status.value)\n    update.require("fingerprint"',
        '    update.require("fingerprint"',
    ),
    Planted(
        "an order is written over",
        "adapters/dynamodb/writes.py",
        '"ConditionExpression": "attribute_not_exists(orderId)"',
        '"ConditionExpression": "attribute_not_exists(other)"',
    ),
    Planted(
        "a refused claim keeps its own order id",
        "adapters/dynamodb/claims.py",
        'return str(from_item(response["Item"])["orderId"])',
        "return order_id",
    ),
    Planted(
        "the payment of an order that failed is not closed",
        "use_cases/completion.py",
        "return order.status is Status.FAILED or (order.status",
        "return (order.status",
    ),
    Planted(
        "a cancelled order keeps its stock",
        "domain/changes.py",
        "    stock, refund = order.reserved or {}, ",
        "    stock, refund = dict[str, int](), ",
    ),
)


@contextmanager
def copy_with(planted: Planted) -> Iterator[Path]:
    """A copy of the tree that has the mistake."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in _COPIED:
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "deployments"))
        (tree / ".cache").symlink_to(ROOT / ".cache")
        file = tree / "chalicelib" / planted.file
        text = file.read_text("utf-8")
        assert text.count(planted.right) == 1, f"{planted.mistake}: {planted.file} has changed"
        file.write_text(text.replace(planted.right, planted.wrong), "utf-8")
        yield tree


def examples_until_found(planted: Planted, seeded: int, minutes: float) -> int | None:
    """How many examples the search takes; None: it does not find the mistake in so many minutes."""
    with copy_with(planted) as tree:
        options = ["--first", "--minutes", str(minutes), "--seed", str(seeded)]
        command = [sys.executable, "-m", "tests.faults.chaos", *options]
        said = subprocess.run(command, cwd=tree, env=os.environ, capture_output=True, text=True, check=False)
    found = re.search(r"after (\d+) examples", said.stdout)
    assert said.returncode in (0, 1), said.stderr
    return int(found[1]) if found else None
