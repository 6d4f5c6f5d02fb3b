"""A batch call of SQS that succeeds may still have failed for some of its entries."""

import pytest

from chalicelib.faults import Unavailable
from tests.support.shop import Shop

SOME_FAILED = [{"Id": "1", "Code": "InternalError", "SenderFault": False}]


def place(shop: Shop, number: int) -> list[str]:
    return [shop.place(key=f"k{n}").order_id for n in range(number)]


@pytest.mark.parametrize("operation", ["DeleteMessageBatch", "ChangeMessageVisibilityBatch"])
def test_entries_that_failed_are_a_fault(small_shop: Shop, operation: str) -> None:
    place(small_shop, 2)
    queue = small_shop.service.dead_letters.order_queue
    handles = [message.receipt_handle for message in queue.receive(30)]
    small_shop.calls.refuse("None", operation, status=200, Successful=[{"Id": "0"}], Failed=SOME_FAILED)
    deletes = operation == "DeleteMessageBatch"
    with pytest.raises(Unavailable, match="1 of a batch: InternalError"):
        queue.delete(handles) if deletes else queue.change_visibility(dict.fromkeys(handles, 5))


@pytest.mark.parametrize("operation", ["DeleteMessageBatch", "ChangeMessageVisibilityBatch"])
@pytest.mark.parametrize("whole_call", [False, True], ids=["an entry fails", "a call fails"])
def test_of_a_hundred_messages_only_those_whose_entry_failed_come_again(
    small_shop: Shop, operation: str, whole_call: bool
) -> None:
    shop = small_shop
    shop.produce(*(str(n) for n in range(100)))
    messages = [message for _ in range(10) for message in shop.stage.receive("ORDER_QUEUE")]
    handles = [message["ReceiptHandle"] for message in messages]
    if whole_call:
        shop.calls.refuse("ServiceUnavailable", operation, nth=3, status=503)
    else:
        shop.calls.refuse("None", operation, nth=3, status=200, Successful=[], Failed=SOME_FAILED)
    queue = shop.service.dead_letters.order_queue
    with pytest.raises(Unavailable, match=f"^{10 if whole_call else 1} of a batch: "):
        queue.delete(handles) if operation[0] == "D" else queue.change_visibility(dict.fromkeys(handles, 0))
    calls = shop.calls.of(operation)
    assert [len(call.params["Entries"]) for call in calls] == [10] * 10
    spoilt = {entry["ReceiptHandle"] for entry in calls[2].params["Entries"]}
    assert {e["ReceiptHandle"] for call in calls for e in call.params["Entries"]} == set(handles)
    assert len({e["Id"] for e in calls[2].params["Entries"]}) == 10
    if operation[0] == "D":
        shop.show_again(messages)
        assert len(shop.stage.receive_all("ORDER_QUEUE")) == len(spoilt)
    else:
        assert len(shop.stage.receive_all("ORDER_QUEUE")) == len(handles) - len(spoilt)


def test_only_the_orders_whose_entries_succeeded_were_sent(small_shop: Shop) -> None:
    placed = place(small_shop, 2)
    orders = small_shop.service.orders.get_all(placed)
    small_shop.calls.refuse("None", "SendMessageBatch", status=200, Successful=[{"Id": "0"}], Failed=SOME_FAILED)
    assert [order.order_id for order in small_shop.service.dead_letters.order_queue.enqueue(orders)] == placed[:1]


def test_an_order_whose_entry_failed_is_sent_by_the_next_run(small_shop: Shop) -> None:
    placed = place(small_shop, 2)
    for order_id in placed:
        small_shop.change_stored(order_id, outbox=0)
    small_shop.lose_messages()
    small_shop.calls.refuse("None", "SendMessageBatch", status=200, Successful=[{"Id": "0"}], Failed=SOME_FAILED)
    assert (small_shop.recover_later(), small_shop.metrics["OrdersRecovered"]) == (1, 1)
    assert small_shop.recover_later() == 2, "what was sent too: its message was lost"
