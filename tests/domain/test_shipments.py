"""What was said of a shipment: what is missing is filled in, what differs is named."""

from dataclasses import replace

from chalicelib.domain.shipments import ShipmentDetails, differing, missing
from tests.support.orders import an_order

ORDER = an_order(carrier="UPS")


def test_what_was_said_and_is_not_there_is_missing() -> None:
    assert missing(ORDER, {"carrier": "DHL", "tracking_number": "1Z"}) == {"tracking_number": "1Z"}
    assert missing(ORDER, {"carrier": None, "tracking_number": None}) == {}
    assert missing(an_order(), {"carrier": "UPS", "tracking_number": "1Z"}) == {
        "carrier": "UPS",
        "tracking_number": "1Z",
    }


def test_what_was_said_and_is_there_with_another_value_differs() -> None:
    assert differing(ORDER, {"carrier": "DHL", "tracking_number": "1Z"}) == ["carrier"]
    assert differing(ORDER, {"carrier": "UPS", "tracking_number": "1Z"}) == []
    assert differing(ORDER, {"carrier": None}) == []


def test_details_that_are_filled_in_change_nothing_else() -> None:
    change = ShipmentDetails(ORDER, {"tracking_number": "1Z"})
    assert (change.order_id, change.after) == ("o1", replace(ORDER, tracking_number="1Z"))
