"""The requests of a profile: its templates, filled for one rule."""

import uuid
from collections.abc import Mapping, Sequence
from enum import Enum

from conformance.hooks import fill_target
from conformance.profile import Caller, Profile, fill
from conformance.wire import Fields, Request

KEY = "Idempotency-Key"


class Payload(Enum):
    """What is asked for."""

    FIRST = "the profile's"
    OTHER = "another valid one"
    INVALID = "an invalid one"
    EMPTY = "no content at all"


class Template:
    """Makes requests. Its placeholder `$unique` has a value that no other template has.

    `base` is the path of the API's URL; `quoted`: keys are written as Strings, in quotes.
    """

    def __init__(self, profile: Profile, base: str, *, quoted: bool) -> None:
        self._profile = profile
        self._base = base
        self._quoted = quoted
        self._unique = uuid.uuid4().hex[:12]

    def written(self, key: str) -> str:
        """A key as a field value: a String, or bare if the API takes only that."""
        return f'"{key}"' if self._quoted else key

    def request(
        self,
        keys: Sequence[str],
        payload: Payload = Payload.FIRST,
        *,
        second_caller: bool = False,
        credentials: bool = True,
    ) -> Request:
        """The request of the profile, with these values of the header, as they are."""
        profile = self._profile
        caller = profile.second_caller if second_caller else None
        values = self.values(caller, payload)
        body = {Payload.INVALID: profile.invalid_body or "", Payload.EMPTY: ""}.get(payload, profile.body)
        headers = self._headers(caller, values, credentials) + tuple((KEY, key) for key in keys)
        return Request(
            profile.method, self._base + fill_target(profile.path, values), headers, fill(body, values).encode()
        )

    def bare(self, target: str, key: str | None, method: str) -> Request:
        """A request without content, for a path of the host."""
        given = self._headers(None, self.values(), credentials=True)
        headers = tuple((name, value) for name, value in given if name.lower() != "content-type")
        keys: Fields = () if key is None else ((KEY, self.written(key)),)
        return Request(method, target, headers + keys)

    @property
    def route(self) -> str:
        """The path that the request of the profile is sent to."""
        return self.target(self._profile.path)

    def target(self, path: str) -> str:
        """A path of the profile, as one of the host."""
        return self._base + fill_target(path, self.values())

    def values(self, caller: Caller | None = None, payload: Payload = Payload.FIRST) -> dict[str, str]:
        """The placeholders, each with what it stands for."""
        values = dict(self._profile.values)
        if payload is Payload.OTHER:
            values |= self._profile.other_payload
        if caller:
            values |= caller.values
        unique = {"unique": self._unique}
        return unique | {name: fill(value, unique) for name, value in values.items()}

    def _headers(self, caller: Caller | None, values: Mapping[str, str], credentials: bool) -> Fields:
        headers = {**self._profile.headers, **(caller.headers if caller else {})}
        without = set() if credentials else {name.lower() for name in self._profile.credentials}
        return tuple((name, fill(value, values)) for name, value in headers.items() if name.lower() not in without)
