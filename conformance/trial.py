"""What a rule works with: requests with keys and callers of the rule's choice, all of them counted and recorded."""

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urljoin, urlsplit

from conformance.hooks import address_of, run_hook
from conformance.profile import Hook, Profile, ProfileError
from conformance.template import Payload, Template
from conformance.wire import Answer, Answered, Exchange, NoAnswer, Request, Unanswered, Wire

CONCURRENT = 5
MAX_WAITS = 5

T = TypeVar("T")


class Failed(Exception):
    """The rule is not kept; the text says what was seen. `shown_by`: the exchange, if it is not the rule's own."""

    def __init__(self, text: str, shown_by: Answered | None = None) -> None:
        super().__init__(text)
        self.shown_by = shown_by


class NotApplicable(Exception):
    """The rule cannot be tried, or does not apply; the text says why."""


class OutOfTime(Exception):
    """The time limit of the run is over."""


class Trial:
    """One rule's requests.

    `earlier` are the exchanges of the rules before it. A rule that sends more than its `budget` is a mistake.
    """

    def __init__(
        self, profile: Profile, wire: Wire, *, quoted: bool, budget: int, deadline: float, earlier: Sequence[Exchange]
    ) -> None:
        self.profile = profile
        self.template = Template(profile, wire.base, quoted=quoted)
        self.exchanges: list[Exchange] = []
        self._earlier = earlier
        self._wire = wire
        self._budget = budget
        self._deadline = deadline

    # --- requests ---

    def new_key(self) -> str:
        return str(uuid.uuid4())

    def place(self, key: str | None, payload: Payload = Payload.FIRST, *, second_caller: bool = False) -> Answer:
        """The request of the profile with this key; None: without one."""
        keys = () if key is None else (self.template.written(key),)
        return self.send(self.template.request(keys, payload, second_caller=second_caller))

    def place_raw(self, *values: str, payload: Payload = Payload.FIRST) -> Answer:
        """The request of the profile with these values of the header, as they are."""
        return self.send(self.template.request(values, payload))

    def accept(self, key: str) -> Answer:
        """A first request with this key, which must succeed for the rule to go on."""
        answer = self.place(key)
        if not answer.accepted:
            raise Failed(f"a first request, with a new key, was answered {answer.status}")
        return answer

    def place_until_done(self, key: str) -> Answer:
        """The request, repeated for a while as long as the answer is that another one is being processed (409)."""
        answer = self.place(key)
        for turn in range(MAX_WAITS):
            if answer.status != 409:
                break
            time.sleep(0.1 * 2**turn)
            answer = self.place(key)
        return answer

    def get(self, target: str, key: str | None = None, method: str = "GET") -> Answer:
        """A request without content for a path of the host."""
        return self.send(self.template.bare(target, key, method))

    def page(self, address: str) -> Answer:
        """The documentation at a URL, or at a path of the API; no headers of the profile go there."""
        wire, target = address_of(address, self._wire)
        request = Request("GET", target, ())
        answer = self._asked(request, wire.send)
        self.exchanges.append(Answered(request, answer, of_api=False))
        return answer

    def send(self, request: Request) -> Answer:
        answer = self._asked(request, self._wire.send)
        self.exchanges.append(Answered(request, answer))
        return answer

    def hang_up(self, key: str) -> None:
        """Send the request of the profile, and leave before its answer comes."""
        request = self.template.request((self.template.written(key),))
        self._asked(request, self._wire.send_and_hang_up)
        self.exchanges.append(Unanswered(request, "the connection was closed before the answer was read"))

    def content_after_head(self, target: str) -> bytes:
        """The bytes that follow the header fields of the answer to HEAD."""
        request = self.template.bare(target, None, "HEAD")
        content = self._asked(request, self._wire.content_after_head)
        self.exchanges.append(Unanswered(request, f"{len(content)} bytes of content came after the header fields"))
        return content

    def place_together(self, key: str) -> list[Answer]:
        """The answers to several equal requests, sent at the same moment."""
        request = self.template.request((self.template.written(key),))
        self._spend(CONCURRENT)
        results = self._wire.send_together([request] * CONCURRENT)
        answers = [result for result in results if isinstance(result, Answer)]
        silent = [result for result in results if isinstance(result, NoAnswer)]
        self.exchanges += [Answered(request, answer) for answer in answers]
        self.exchanges += [Unanswered(request, f"no answer: {error}") for error in silent]
        if silent:
            raise Failed(f"{len(silent)} of {CONCURRENT} concurrent requests had no answer: {silent[0]}")
        return answers

    def run_hook(self, hook: Hook, answer: Answer | None = None) -> None:
        """Do what the hook says; of `answer` it may use `$id` and `$location`. Raises ProfileError if it fails.

        Also when the time is over: what was made to fail must not be left like that.
        """
        values = self.template.values()
        if answer:
            values |= {"id": self.resource(answer) or "", "location": self.location(answer) or ""}
        self._count()
        self.exchanges += run_hook(hook, values, self._wire)

    # --- what came of it ---

    def seen(self) -> list[Answered]:
        """Every exchange with the API so far that had an answer."""
        return [one for one in (*self._earlier, *self.exchanges) if isinstance(one, Answered) and one.of_api]

    def resource(self, answer: Answer) -> str | None:
        """What names the resource of an answer: the profile's `id` in its content, or else its Location."""
        if self.profile.id_pointer is None:
            return answer.header("Location")
        found = at_pointer(answer.document, self.profile.id_pointer)
        return None if found is None else str(found)

    def named(self, answer: Answer) -> str:
        """The resource of an answer, which must have one for the rule to go on."""
        name = self.resource(answer)
        if name is None:
            raise NotApplicable("the answer does not say which resource it is about: resource.id, or Location")
        return name

    def location(self, answer: Answer) -> str | None:
        """The path that an answer's Location leads to; None: it has none, or one of another host."""
        given = answer.header("Location")
        if given is None:
            return None
        there, here = urlsplit(urljoin(f"{self._wire.url}{self.profile.path}", given)), urlsplit(self._wire.url)
        if (there.scheme, there.netloc) != (here.scheme, here.netloc):
            return None
        return there.path + (f"?{there.query}" if there.query else "")

    def count(self) -> int:
        """How many resources there are. Raises NotApplicable if the profile does not say how to count them."""
        if self.profile.count_path is None:
            raise NotApplicable("the profile has no resource.count_path, so effects cannot be counted")
        time.sleep(self.profile.wait_seconds)
        answer = self.get(self.template.target(self.profile.count_path))
        items = at_pointer(answer.document, self.profile.count_pointer)
        if not answer.accepted or not isinstance(items, list):
            where = self.profile.count_pointer
            raise ProfileError(f"resource.count_path was answered {answer.status}, and has no list at {where!r}.")
        return len(items)

    # --- inside ---

    def _asked(self, request: Request, ask: Callable[[Request], T]) -> T:
        self._spend()
        try:
            return ask(request)
        except NoAnswer as error:
            self.exchanges.append(Unanswered(request, f"no answer: {error}"))
            self._wire.reach()
            raise Failed(f"a request had no answer: {error}") from error

    def _spend(self, requests: int = 1) -> None:
        if time.monotonic() > self._deadline:
            raise OutOfTime
        self._count(requests)

    def _count(self, requests: int = 1) -> None:
        self._budget -= requests
        assert self._budget >= 0, "the rule sends more requests than it says"


def at_pointer(document: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) leads to; None if there is nothing."""
    for part in (escaped.replace("~1", "/").replace("~0", "~") for escaped in pointer.split("/")[1:]):
        if isinstance(document, list) and part.isdecimal() and int(part) < len(document):
            document = document[int(part)]
        elif isinstance(document, dict):
            document = document.get(part)
        else:
            return None
    return document
