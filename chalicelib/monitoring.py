"""The monitor of the queues: numbers every minute, and one notification where somebody has to look."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from chalicelib import telemetry, times
from chalicelib.dead_letters import DeadLetters
from chalicelib.queues import Queue
from chalicelib.repository import Notice, Repository, faults
from chalicelib.times import Clock

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

_AGAIN_AFTER = timedelta(hours=1)
_SAMPLE = 50
_HIDDEN_FOR = 20


@dataclass(frozen=True)
class Alerts:
    """The topic that wakes people, by its ARN, or by its name in the account that this runs in."""

    client: "SNSClient"
    topic: str

    def send(self, subject: str, text: str, account: str) -> None:
        """One notification. Raises Unavailable, Rejected."""
        arn = self.topic
        if not arn.startswith("arn:"):
            arn = f"arn:{self.client.meta.partition}:sns:{self.client.meta.region_name}:{account}:{self.topic}"
        with faults():
            self.client.publish(TopicArn=arn, Subject=subject, Message=text)


@dataclass(frozen=True)
class Monitor:
    """The use case behind the schedule. `stage` is what the operator's command is told."""

    orders: Queue
    dead_letters: DeadLetters
    repository: Repository
    alerts: Alerts
    clock: Clock
    stage: str

    def watch(self, account: str) -> None:
        """Measure both queues, and notify where dead letters are waiting. Raises Unavailable, Rejected."""
        dead, waiting = self.dead_letters.queue.depth(), self.orders.depth()
        telemetry.count("DeadLetters", dead.waiting + dead.in_flight)
        telemetry.count("MessagesWaiting", waiting.waiting)
        telemetry.count("MessagesInFlight", waiting.in_flight)
        count = dead.waiting + dead.in_flight
        if count:
            telemetry.warning("dead letters are waiting", count=count)
        last = self.repository.notice()
        if is_due(count, last, self.clock()):
            self.alerts.send(f"OrderOnce {self.stage}: {count} dead letters", self._text(count), account)
            # After the notification: one told twice is better than one never told.
            self.repository.set_notice(Notice(count, self.clock()))
        elif last and count < last.count:
            # Fewer than last time: one more is news again.
            self.repository.set_notice(Notice(count, last.at))

    def _text(self, count: int) -> str:
        letters = list(self.dead_letters.sample(_SAMPLE, _HIDDEN_FOR))
        self.dead_letters.hand_back(letters)
        reasons = Counter(letter.reason for letter in letters).most_common()
        oldest = min((letter.first_sent_at for letter in letters), default=None)
        return "\n".join(
            [
                f"{count} messages could not be handled in stage {self.stage}.",
                "",
                f"Why, of a sample of {len(letters)}:",
                *(f"  {times_seen} x {reason}" for reason, times_seen in reasons),
                "",
                f"The oldest seen was first sent at {times.to_text(oldest)}." if oldest else "None was seen just now.",
                f"Look at them: python -m ops --stage {self.stage} dead-letters list",
            ]
        )


def is_due(count: int, last: Notice | None, now: datetime) -> bool:
    """Whether somebody is to be told: of the first dead letter, of more than last time, and again after an hour."""
    return count > 0 and (last is None or count > last.count or now - last.at >= _AGAIN_AFTER)
