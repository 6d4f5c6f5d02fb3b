"""What a rule works with: requests of the profile, with keys and callers of the rule's choice, all of them recorded."""

import time
import uuid
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NoReturn
from urllib.parse import urljoin, urlsplit

from conformance.hooks import address_of, fill_target, run_hook
from conformance.profile import Caller, Hook, Profile, ProfileError, fill
from conformance.wire import Answer, Answered, Exchange, Fields, NoAnswer, Request, Unanswered, Wire

KEY = "Idempotency-Key"
CONCURRENT = 5
MAX_WAITS = 5


class Failed(Exception):
    """The rule is not kept; the text says what was seen. `shown_by`: the exchange, if it is not the rule's own."""

    def __init__(self, text: str, shown_by: Answered | None = None) -> None:
        super().__init__(text)
        self.shown_by = shown_by


class NotApplicable(Exception):
    """The rule cannot be tried, or does not apply; the text says why."""


class OutOfTime(Exception):
    """The time limit of the run is over."""


class Payload(Enum):
    """What is asked for."""

    FIRST = "the profile's"
    OTHER = "another valid one"
    INVALID = "an invalid one"
    EMPTY = "no content at all"


class Trial:
    """One rule's requests. Its placeholder `$unique` has a value that no other trial has.

    `earlier` are the exchanges of the rules before it. A rule that sends more than its `budget` is a mistake.
    """

    def __init__(
        self, profile: Profile, wire: Wire, *, quoted: bool, budget: int, deadline: float, earlier: Sequence[Exchange]
    ) -> None:
        self.profile = profile
        self.exchanges: list[Exchange] = []
        self.earlier = earlier
        self._wire = wire
        self._quoted = quoted
        self._budget = budget
        self._deadline = deadline
        self._unique = uuid.uuid4().hex[:12]

    # --- keys ---

    def new_key(self) -> str:
        return str(uuid.uuid4())

    def written(self, key: str) -> str:
        """A key as a field value: a String, or bare if the API takes only that."""
        return f'"{key}"' if self._quoted else key

    # --- requests ---

    def place(self, key: str | None, payload: Payload = Payload.FIRST, *, second_caller: bool = False) -> Answer:
        """The request of the profile with this key; None: without one."""
        keys = () if key is None else (self.written(key),)
        return self.send(self.request(keys, payload, second_caller=second_caller))

    def place_raw(self, *values: str, payload: Payload = Payload.FIRST) -> Answer:
        """The request of the profile with these values of the header, as they are."""
        return self.send(self.request(values, payload))

    def accept(self, key: str, payload: Payload = Payload.FIRST) -> Answer:
        """A first request with this key, which must succeed for the rule to go on."""
        answer = self.place(key, payload)
        if not answer.accepted:
            raise Failed(f"a first request, with a new key, was answered {answer.status}")
        return answer

    def get(self, target: str, key: str | None = None, method: str = "GET") -> Answer:
        """A request without content for a path of the host."""
        return self.send(self.bare_request(target, key, method))

    def send(self, request: Request) -> Answer:
        self._spend()
        try:
            answer = self._wire.send(request)
        except NoAnswer as error:
            self._no_answer(request, error)
        self.exchanges.append(Answered(request, answer))
        return answer

    def hang_up(self, key: str) -> None:
        """Send the request of the profile, and leave before its answer comes."""
        self._spend()
        request = self.request((self.written(key),))
        try:
            self._wire.send_and_hang_up(request)
        except NoAnswer as error:
            self._no_answer(request, error)
        self.exchanges.append(Unanswered(request, "the connection was closed before the answer was read"))

    def place_together(self, key: str) -> list[Answer]:
        """The answers to several equal requests, sent at the same moment."""
        request = self.request((self.written(key),))
        for _ in range(CONCURRENT):
            self._spend()
        answers = self._wire.send_together([request] * CONCURRENT)
        for answer in answers:
            if isinstance(answer, Answer):
                self.exchanges.append(Answered(request, answer))
            else:
                self.exchanges.append(Unanswered(request, str(answer)))
        if silent := [answer for answer in answers if isinstance(answer, NoAnswer)]:
            raise Failed(f"{len(silent)} of {CONCURRENT} concurrent requests had no answer: {silent[0]}")
        return [answer for answer in answers if isinstance(answer, Answer)]

    def place_until_done(self, key: str) -> Answer:
        """The request, repeated for a while as long as the answer is that another one is being processed (409)."""
        answer = self.place(key)
        for turn in range(MAX_WAITS):
            if answer.status != 409:
                break
            time.sleep(0.1 * 2**turn)
            answer = self.place(key)
        return answer

    def page(self, address: str) -> Answer:
        """The documentation at a URL, or at a path of the API; no headers of the profile go there."""
        wire, target = address_of(address, self._wire)
        self._spend()
        request = Request("GET", target, ())
        try:
            answer = wire.send(request)
        except NoAnswer as error:
            self._no_answer(request, error)
        self.exchanges.append(Answered(request, answer))
        return answer

    def content_after_head(self, target: str) -> bytes:
        self._spend()
        request = self.bare_request(target, None, "HEAD")
        try:
            content = self._wire.content_after_head(request)
        except NoAnswer as error:
            self._no_answer(request, error)
        self.exchanges.append(Unanswered(request, f"{len(content)} bytes of content came after the header fields"))
        return content

    def request(
        self,
        keys: Sequence[str],
        payload: Payload = Payload.FIRST,
        *,
        second_caller: bool = False,
        credentials: bool = True,
    ) -> Request:
        """The request of the profile, with these values of the header."""
        caller = self.profile.second_caller if second_caller else None
        values = self._values(caller, payload)
        template = {
            Payload.INVALID: self.profile.invalid_body or "",
            Payload.EMPTY: "",
        }.get(payload, self.profile.body)
        headers = self._headers(caller, values, credentials) + tuple((KEY, key) for key in keys)
        return Request(
            self.profile.method, self._target(self.profile.path, values), headers, fill(template, values).encode()
        )

    def bare_request(self, target: str, key: str | None, method: str) -> Request:
        """A request without content."""
        given = self._headers(None, self._values(None, Payload.FIRST), True)
        headers = tuple((name, value) for name, value in given if name.lower() != "content-type")
        keys: Fields = () if key is None else ((KEY, self.written(key)),)
        return Request(method, target, headers + keys)

    @property
    def route(self) -> str:
        """The path that the request of the profile is sent to."""
        return self._target(self.profile.path, self._values(None, Payload.FIRST))

    # --- what came of it ---

    def seen(self) -> list[Answered]:
        """Every exchange of the run so far that had an answer."""
        return [one for one in (*self.earlier, *self.exchanges) if isinstance(one, Answered)]

    def resource(self, answer: Answer) -> str | None:
        """What names the resource of an answer: the profile's `id` in its content, or else its Location."""
        if self.profile.id_pointer is not None:
            found = at_pointer(answer.document, self.profile.id_pointer)
            return None if found is None else str(found)
        return answer.header("Location")

    def named(self, answer: Answer) -> str:
        """The resource of an answer, which must have one for the rule to go on."""
        name = self.resource(answer)
        if name is None:
            raise NotApplicable("the answer does not say which resource it is about: [resource] id, or Location")
        return name

    def location(self, answer: Answer) -> str | None:
        """The path of the resource that an answer's Location names, relative or not; None: without, or elsewhere."""
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
            raise NotApplicable("the profile has no [resource] count_path, so effects cannot be counted")
        time.sleep(self.profile.wait_seconds)
        answer = self.get(self._target(self.profile.count_path, self._values(None, Payload.FIRST)))
        items = at_pointer(answer.document, self.profile.count_pointer)
        if not answer.accepted or not isinstance(items, list):
            raise ProfileError(
                f"[resource] count_path gave {answer.status}, and no list at {self.profile.count_pointer!r}."
            )
        return len(items)

    def run_hook(self, hook: Hook, answer: Answer | None = None) -> None:
        """Do what the hook says; of `answer` it may use `$id` and `$location`. Raises ProfileError if it fails."""
        values = self._values(None, Payload.FIRST)
        if answer:
            values |= {"id": self.resource(answer) or "", "location": self.location(answer) or ""}
        self._spend()
        self.exchanges += run_hook(hook, values, self._wire)

    # --- inside ---

    def _spend(self) -> None:
        if time.monotonic() > self._deadline:
            raise OutOfTime
        self._budget -= 1
        assert self._budget >= 0, "the rule sends more requests than it says"

    def _no_answer(self, request: Request, error: NoAnswer) -> NoReturn:
        self.exchanges.append(Unanswered(request, f"no answer: {error}"))
        self._wire.reach()
        raise Failed(f"a request had no answer: {error}") from error

    def _values(self, caller: Caller | None, payload: Payload) -> dict[str, str]:
        values = dict(self.profile.values)
        if payload is Payload.OTHER:
            values |= self.profile.other_payload
        if caller:
            values |= caller.values
        unique = {"unique": self._unique}
        return unique | {name: fill(value, unique) for name, value in values.items()}

    def _headers(self, caller: Caller | None, values: Mapping[str, str], credentials: bool) -> Fields:
        headers = {**self.profile.headers, **(caller.headers if caller else {})}
        without = set() if credentials else {name.lower() for name in self.profile.credentials}
        return tuple((name, fill(value, values)) for name, value in headers.items() if name.lower() not in without)

    def _target(self, path: str, values: Mapping[str, str]) -> str:
        return self._wire.base + fill_target(path, values)


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
