"""Publishing events on EventBridge."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib import exact_json, telemetry
from chalicelib.adapters.aws_faults import faults
from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.domain.events import Event, events_so_far
from chalicelib.domain.order import Order
from chalicelib.faults import Rejected, Unavailable
from chalicelib.use_cases.ports import BATCH_SIZE

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

SOURCE = "orderonce"


@dataclass(frozen=True)
class EventBridgeBus:
    """The port `EventBus` on EventBridge."""

    client: "EventBridgeClient"
    bus: str

    def publish(self, orders: Sequence[Order], deadline: Deadline = NO_DEADLINE) -> dict[str, str]:
        """Publish all events of the orders until now, at least once; the order ids that failed, and why."""
        failed: dict[str, str] = {}
        for batch in _batches([event for order in orders for event in events_so_far(order)]):
            if deadline.has_passed:
                failed |= {event.order_id: "no time left" for event in batch}
                continue
            try:
                failed |= self._put(batch)
            except (Unavailable, Rejected) as fault:
                failed |= {event.order_id: str(fault) for event in batch}
        return failed

    def _put(self, batch: list[Event]) -> dict[str, str]:
        entries: Any = [
            {
                "EventBusName": self.bus,
                "Source": SOURCE,
                "DetailType": event.name,
                "Detail": exact_json.dumps(event.detail),
            }
            for event in batch
        ]
        with faults():
            answer = self.client.put_events(Entries=entries)
        telemetry.count("EventsPublished", len(batch) - answer["FailedEntryCount"])
        # A call that succeeds may still have failed for some of its entries.
        return {
            event.order_id: entry["ErrorCode"]
            for event, entry in zip(batch, answer["Entries"], strict=True)
            if "ErrorCode" in entry
        }


def _batches(events: list[Event]) -> Iterator[list[Event]]:
    for start in range(0, len(events), BATCH_SIZE):
        yield events[start : start + BATCH_SIZE]
