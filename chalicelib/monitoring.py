"""The monitor of the queues: numbers every minute, and one notification where somebody has to look."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from chalicelib import telemetry, times
from chalicelib.dead_letters import DeadLetters
from chalicelib.faults import Rejected, Unavailable, faults
from chalicelib.held import DeadLetter
from chalicelib.queues import Queue
from chalicelib.repository import Notice, Repository
from chalicelib.times import Clock

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient

_AGAIN_AFTER = timedelta(hours=1)
_SAMPLE = 50
_HIDDEN_FOR = 20
_MOST_REASONS = 10
_LONGEST_REASON = 200


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
            subject = f"OrderOnce {self.stage}: {count} dead letter{'s' if count > 1 else ''}"
            self.alerts.send(subject, self._text(count), account)
            # After the notification: one told twice is better than one never told.
            self.repository.set_notice(Notice(count, self.clock()))
        elif last and count < last.count:
            # Fewer than last time: one more is news again.
            self.repository.set_notice(Notice(count, last.at))

    def _text(self, count: int) -> str:
        return "\n".join(
            [
                f"{_counted(count)} could not be handled in stage {self.stage}.",
                "",
                *_told(self._sample()),
                f"Look at them: python -m ops --stage {self.stage} dead-letters list",
            ]
        )

    def _sample(self) -> list[DeadLetter]:
        letters: list[DeadLetter] = []
        try:
            with self.dead_letters.holding(_HIDDEN_FOR) as held:
                letters.extend(held.letters(_SAMPLE))
        except (Unavailable, Rejected) as fault:
            # Somebody is to be woken, whether or not it can be said why.
            telemetry.warning("dead letters not sampled", reason=str(fault))
        return letters


def _told(letters: Sequence[DeadLetter]) -> list[str]:
    if not letters:
        return ["None was seen just now.", ""]
    reasons = Counter(letter.reason[:_LONGEST_REASON] for letter in letters).most_common()
    rest = len(reasons) - _MOST_REASONS
    oldest = min(letter.first_sent_at for letter in letters)
    return [
        f"Why, of a sample of {len(letters)}:",
        *(f"  {times_seen} x {reason}" for reason, times_seen in reasons[:_MOST_REASONS]),
        *([f"  and {rest} reasons more"] if rest > 0 else []),
        "",
        f"The oldest seen was first sent at {times.to_text(oldest)}.",
    ]


def _counted(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"


def is_due(count: int, last: Notice | None, now: datetime) -> bool:
    """Whether somebody is to be told: of the first dead letter, of more than last time, and again after an hour."""
    return count > 0 and (last is None or count > last.count or now - last.at >= _AGAIN_AFTER)
