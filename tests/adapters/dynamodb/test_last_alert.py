"""The last alert is one row, which never expires and no claim can meet."""

from datetime import UTC, datetime
from decimal import Decimal

from chalicelib.adapters.dynamodb.last_alert import LastAlertRow
from chalicelib.use_cases.ports import LastAlert
from tests.support.aws_calls import AwsCalls
from tests.support.stage import Stage
from tests.support.tables import repository_on

AT = datetime(2026, 1, 15, 12, 0, 0, 123000, tzinfo=UTC)


def test_what_was_set_last_is_there(aws: Stage, aws_calls: AwsCalls) -> None:
    row = LastAlertRow(repository_on(aws, aws_calls).client, aws["IDEMPOTENCY_TABLE"])
    assert row.get() is None
    row.set(LastAlert(3, AT))
    row.set(LastAlert(2, AT))
    assert row.get() == LastAlert(2, AT)
    stored = {"id": "dead letters", "count": Decimal(2), "at": "2026-01-15T12:00:00.123Z"}
    assert aws.items("IDEMPOTENCY_TABLE") == [stored]
    assert all(call.params["ConsistentRead"] for call in aws_calls.of("GetItem"))
