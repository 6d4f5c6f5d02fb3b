"""Going through the dead letters. SQS cannot peek: each is received, hidden from others for a while, and released."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from chalicelib import telemetry
from chalicelib.faults import Rejected, Unavailable
from chalicelib.use_cases.letters import DeadLetter
from chalicelib.use_cases.ports import BATCH_SIZE, Queue

_PATIENCE, _EMPTY, _KNOWN = 30, 10, 1
"""A receive may find nothing though there is something: SQS asks only some of its servers. So three empty ones in a row
end the search; one with only known messages counts a tenth of that."""


@dataclass
class InFlight:
    """Dead letters that were received, and are hidden from everybody else until they are removed or released.

    `run` names this search in what it replays.
    """

    queue: Queue
    visibility_timeout: int
    run: str = field(default_factory=lambda: str(uuid.uuid4()))
    _receipts: dict[str, str] = field(default_factory=dict)

    def letters(self, limit: int) -> Iterator[DeadLetter]:
        """Up to `limit` dead letters, each once; more are received, and stay in flight. Raises Unavailable, Rejected.

        What this search has replayed itself is skipped: one that is still bad comes back under a new id, and would be
        replayed again and again. No clock is asked: this machine's may differ from SQS's.
        """
        seen: set[str] = set()
        idle = 0
        while len(seen) < limit and idle < _PATIENCE:
            messages = {message.message_id: message for message in self.queue.receive(self.visibility_timeout)}
            # Of one that comes again only the newest receipt counts: with an older one SQS may do nothing.
            self._receipts |= {name: message.receipt_handle for name, message in messages.items()}
            fresh = [DeadLetter.from_message(message) for name, message in messages.items() if name not in seen]
            fresh = [letter for letter in fresh if letter.run != self.run][: limit - len(seen)]
            idle = 0 if fresh else idle + (_KNOWN if messages else _EMPTY)
            for letter in fresh:
                seen.add(letter.message_id)
                yield letter

    def remove(self, letters: Sequence[DeadLetter]) -> None:
        """Delete them for good. Raises Unavailable, Rejected."""
        for start in range(0, len(letters), BATCH_SIZE):
            batch = [letter.message_id for letter in letters[start : start + BATCH_SIZE]]
            self.queue.delete([self._receipts[message_id] for message_id in batch])
            for message_id in batch:
                del self._receipts[message_id]

    def release(self) -> None:
        """Let others see what is left at once. If that fails they see it when its visibility timeout is over."""
        receipts = list(self._receipts.values())
        self._receipts.clear()
        if not receipts:
            return
        try:
            self.queue.change_visibility(dict.fromkeys(receipts, 0))
        except (Unavailable, Rejected) as fault:
            telemetry.warning("dead letters not released", reason=str(fault))
