"""Publishing events on EventBridge."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib import exact_json, telemetry
from chalicelib.adapters.aws_faults import faults
from chalicelib.adapters.side_by_side import in_tens
from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.domain.events import Event, events_so_far
from chalicelib.domain.order import Order
from chalicelib.faults import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

SOURCE = "orderonce"


@dataclass(frozen=True)
class EventBridgeBus:
    """The port `EventBus` on EventBridge. `pool` makes calls side by side where there are several."""

    client: "EventBridgeClient"
    bus: str
    pool: Executor

    def publish(self, orders: Sequence[Order], deadline: Deadline = NO_DEADLINE) -> dict[str, str]:
        """Publish all events of the orders until now, at least once; the order ids that failed, and why."""

        def put(batch: Sequence[Event]) -> dict[str, str]:
            if deadline.has_passed:
                raise Unavailable("no time left")
            return self._put(batch)

        failed: dict[str, str] = {}
        events = [event for order in orders for event in events_so_far(order)]
        for batch, answer in in_tens(self.pool, put, events):
            failed |= answer if isinstance(answer, dict) else {event.order_id: str(answer) for event in batch}
        return failed

    def _put(self, batch: Sequence[Event]) -> dict[str, str]:
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
