"""`dead-letters export` and `purge`."""

import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chalicelib import exact_json
from ops import output
from tests.ops.conftest import Operator, audit_of
from tests.ops.test_dead_letters import bury, seen
from tests.support.shop import Shop, killed

QUEUE = "orderonce-test-orders-dead-letters"


@pytest.fixture(autouse=True)
def three(shop: Shop) -> None:
    for order_id in ("o1", "o2", "o3"):
        bury(shop, order_id, reason=f"why {order_id}")


def exported(file: Path) -> dict[str, dict[str, str]]:
    lines = [exact_json.loads(line) for line in file.read_text("utf-8").splitlines()]
    return {line["orderId"]: line for line in lines}


def test_the_export_has_everything(operator: Operator, shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    assert operator.does("dead-letters", "export", str(file)) == f"3 messages written to {file}.\n"
    lines = exported(file)
    assert {order_id: line["body"] for order_id, line in lines.items()} == {
        order_id: letter.body for order_id, letter in seen(shop).items()
    }
    assert lines["o1"]["reason"] == "why o1"
    assert file.stat().st_mode & 0o077 == 0  # customers' data


def test_the_export_of_some(operator: Operator, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    operator.does("dead-letters", "export", str(file), "--reason", "o2")
    assert set(exported(file)) == {"o2"}


def test_no_file_is_overwritten(operator: Operator, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    file.write_text("precious", "utf-8")
    assert "already exists" in operator.refused("dead-letters", "export", str(file))
    assert file.read_text("utf-8") == "precious"


def test_a_missing_folder_is_one_sentence(operator: Operator, tmp_path: Path) -> None:
    assert "cannot be written" in operator.refused("dead-letters", "export", str(tmp_path / "no" / "export.jsonl"))


@pytest.mark.parametrize("interrupted", [True, False])
def test_an_export_that_ends_early_leaves_no_file(operator: Operator, tmp_path: Path, interrupted: bool) -> None:
    if interrupted:
        operator.calls.meanwhile(lambda: os.kill(os.getpid(), signal.SIGINT), "ReceiveMessage", nth=2)
    else:
        operator.calls.refuse("InternalError", "ReceiveMessage", nth=2, status=500)
    operator.refused("dead-letters", "export", str(tmp_path / "export.jsonl"), status=130 if interrupted else 1)
    assert list(tmp_path.iterdir()) == []


# --- purge ---


@pytest.mark.parametrize(("options", "purged"), [((), {"o1", "o2", "o3"}), (("--order", "o2"), {"o2"})])
def test_a_purge_exports_then_deletes_what_is_selected(
    operator: Operator, shop: Shop, tmp_path: Path, options: tuple[str, ...], purged: set[str]
) -> None:
    file = tmp_path / "export.jsonl"
    result = operator("dead-letters", "purge", "--to", str(file), *options, typed=f"{QUEUE}\n")
    assert result.stdout == f"{output.counted(len(purged), 'message')} deleted.\n"
    assert (set(exported(file)), set(seen(shop))) == (purged, {"o1", "o2", "o3"} - purged)
    (line,) = audit_of(result)
    assert (line["audit"], line["count"], line["export"]) == ("dead-letters purge", len(purged), str(file))


@pytest.mark.parametrize("typed", ["", "\n", "yes\n", "orderonce-dev-orders-dead-letters\n"])
def test_a_purge_asks_for_the_queues_name(operator: Operator, shop: Shop, tmp_path: Path, typed: str) -> None:
    file = tmp_path / "export.jsonl"
    error = operator.refused("dead-letters", "purge", "--to", str(file), typed=typed)
    assert error.endswith("That is not the queue's name: nothing was deleted.")
    assert (set(seen(shop)), file.exists()) == ({"o1", "o2", "o3"}, False)


def test_what_arrives_meanwhile_is_not_deleted(operator: Operator, shop: Shop, tmp_path: Path) -> None:
    operator.calls.meanwhile(lambda: bury(shop, "late"), "DeleteMessageBatch")
    operator.does("dead-letters", "purge", "--to", str(tmp_path / "export.jsonl"), typed=f"{QUEUE}\n")
    assert set(seen(shop)) == {"late"}


def test_a_purge_loses_no_event_since_recovery_gets_the_order(operator: Operator, shop: Shop, tmp_path: Path) -> None:
    shop.produce(shop.event("o2"))
    shop.calls.kill_before("PutEvents")
    assert killed(shop.run_queue)
    shop.calls.revive()
    shop.lose_messages()
    assert not shop.has_entry("o2"), "only the dead letter owes the event"
    operator.does("dead-letters", "purge", "--to", str(tmp_path / "export.jsonl"), typed=f"{QUEUE}\n")
    assert seen(shop) == {}

    shop.clock.now = datetime.now(UTC)
    assert shop.recover_later() == 1
    shop.run_queue()

    assert "OrderPlaced" in shop.published_of("o2")


@pytest.mark.parametrize("operation", ["GetItem", "UpdateItem"])
def test_a_letter_whose_order_cannot_be_handed_over_is_not_purged(
    operator: Operator, shop: Shop, tmp_path: Path, operation: str
) -> None:
    shop.produce(shop.event("o2"))
    shop.run_queue()
    operator.calls.refuse("ThrottlingException", operation, times=None, when=lambda call: "o2" in repr(call.params))
    error = operator.refused("dead-letters", "purge", "--to", str(tmp_path / "export.jsonl"), typed=f"{QUEUE}\n")
    assert "1 message kept" in error
    assert set(seen(shop)) == {"o2"}


def test_what_cannot_be_exported_is_not_deleted(operator: Operator, shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "no" / "export.jsonl"
    operator.refused("dead-letters", "purge", "--to", str(file), typed=f"{QUEUE}\n")
    assert set(seen(shop)) == {"o1", "o2", "o3"}


def test_an_audit_log_that_cannot_be_written_stops_a_purge(
    operator: Operator, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_AUDIT_LOG", str(tmp_path))
    assert "nothing was done" in operator.refused("dead-letters", "purge", typed=f"{QUEUE}\n")
    assert set(seen(shop)) == {"o1", "o2", "o3"}
