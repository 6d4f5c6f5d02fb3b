"""The monitor of the queues: numbers every minute, and one notification where somebody has to look."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib import telemetry, times
from chalicelib.faults import Rejected, Unavailable
from chalicelib.times import Clock
from chalicelib.use_cases.dead_letters import DeadLetters
from chalicelib.use_cases.letters import DeadLetter
from chalicelib.use_cases.ports import AlertMemory, Alerts, LastAlert, Queue

_AGAIN_AFTER = timedelta(hours=1)
_SAMPLE_SIZE = 50
_VISIBILITY_TIMEOUT = 20
_MAX_REASONS = 10
_MAX_REASON_LENGTH = 200


@dataclass(frozen=True)
class Monitor:
    """The use case behind the schedule. `stage` is named in the notification."""

    orders: Queue
    dead_letters: DeadLetters
    last_alert: AlertMemory
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
        last = self.last_alert.get()
        if is_due(count, last, self.clock()):
            subject = f"OrderOnce {self.stage}: {count} dead letter{'s' if count > 1 else ''}"
            self.alerts.send(subject, self._text(count), account)
            # After the notification: two notifications are better than none.
            self.last_alert.set(LastAlert(count, self.clock()))
        elif last and count < last.count:
            # Fewer than last time: one more is news again.
            self.last_alert.set(LastAlert(count, last.at))

    def _text(self, count: int) -> str:
        return "\n".join(
            [
                f"{_counted(count)} could not be handled in stage {self.stage}.",
                "",
                *_summary(self._sample()),
                f"Look at them: python -m ops --stage {self.stage} dead-letters list",
            ]
        )

    def _sample(self) -> list[DeadLetter]:
        letters: list[DeadLetter] = []
        try:
            with self.dead_letters.receiving(_VISIBILITY_TIMEOUT) as in_flight:
                letters.extend(in_flight.letters(_SAMPLE_SIZE))
        except (Unavailable, Rejected) as fault:
            # Somebody must be notified, whether or not the reasons are known.
            telemetry.warning("dead letters not sampled", reason=str(fault))
        return letters


def _summary(letters: Sequence[DeadLetter]) -> list[str]:
    if not letters:
        return ["None was seen just now.", ""]
    reasons = Counter(letter.reason[:_MAX_REASON_LENGTH] for letter in letters).most_common()
    rest = len(reasons) - _MAX_REASONS
    oldest = min(letter.first_sent_at for letter in letters)
    return [
        f"Of a sample of {len(letters)}, {_handling(letters)}",
        "Why:",
        *(f"  {times_seen} x {reason}" for reason, times_seen in reasons[:_MAX_REASONS]),
        *([f"  and {rest} more reasons"] if rest > 0 else []),
        "",
        f"The oldest seen was first sent at {times.to_text(oldest)}.",
    ]


def _handling(letters: Sequence[DeadLetter]) -> str:
    """What becomes of them."""
    waiting = sum(letter.next_replay_at is None for letter in letters)
    return f"{waiting} wait for you, and {len(letters) - waiting} are replayed automatically."


def _counted(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"


def is_due(count: int, last: LastAlert | None, now: datetime) -> bool:
    """Whether to notify: of the first dead letter, of more than last time, and again after an hour."""
    return count > 0 and (last is None or count > last.count or now - last.at >= _AGAIN_AFTER)
