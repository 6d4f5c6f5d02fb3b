"""A hand on every call that clients of AWS make: what was called, and what goes wrong with it.

    calls = AwsCalls()
    calls.watch(dynamodb, sqs)
    calls.lose_answer("PutItem")  # the next PutItem takes effect, but its answer never comes
    ...
    assert calls.operations() == ["PutItem", "SendMessage"]

A *call* is what the code asks of a client; botocore may take several *attempts* for it. A fault is planted
for the `nth` call that matches from then on, and for `times` of them in a row (None: for good). Threads may
share all of this.
"""

import threading
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

_CONTEXT_KEY = "watched_by_the_test"

Answer = tuple[Any, dict[str, Any]]
Outcome = tuple[Answer | None, Exception | None]
Send = Callable[[], Outcome]


class Killed(BaseException):
    """The process died here. No `except Exception` sees it, and after it no watched client makes a call, so
    that what stands in a `finally` does not reach AWS either, until `AwsCalls.revive`."""


@dataclass
class Call:
    """A call of a client: `Call("dynamodb", "PutItem", {...}, attempts=1)`; 0 when a fault came first."""

    service: str
    operation: str
    params: Mapping[str, Any]
    attempts: int = 0


@dataclass
class _Fault:
    """`before` runs ahead of the first attempt and may answer in its stead; `around` runs each attempt."""

    matches: Callable[[Call], bool]
    nth: int
    times: int | None
    before: Callable[[Call], Answer | None] | None = None
    around: Callable[[Call, Send], Outcome] | None = None
    seen: int = 0

    def strikes(self, call: Call) -> bool:
        if not self.matches(call):
            return False
        self.seen += 1
        return self.seen >= self.nth and (self.times is None or self.seen < self.nth + self.times)


class AwsCalls:
    """Records the calls of the clients it watches, and spoils those that it is told to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._faults: list[_Fault] = []
        self._dead = False
        self._aside = threading.local()
        self._watched: dict[int, tuple[Any, Any]] = {}

    # --- what is watched ---

    def watch(self, *clients: Any) -> "AwsCalls":
        """From now on, see the calls of these clients; a second time changes nothing."""
        for client in clients:
            if id(client) in self._watched:
                continue
            endpoint = client._endpoint
            self._watched[id(client)] = (client, endpoint._do_get_response)
            client.meta.events.register_last("before-parameter-build", self._arm)
            client.meta.events.register_first("before-call", self._before)
            # botocore has no event that sees an answer come in and can still lose it (and moto answers inside
            # an event of its own), so the one method that makes an attempt is wrapped. Its result is what
            # botocore's own retry looks at.
            endpoint._do_get_response = self._attempting(endpoint._do_get_response)
        return self

    def unwatch(self) -> None:
        """Leave all clients as they were found."""
        for client, do_get_response in self._watched.values():
            client.meta.events.unregister("before-parameter-build", self._arm)
            client.meta.events.unregister("before-call", self._before)
            client._endpoint._do_get_response = do_get_response
        self._watched.clear()

    # --- what was called ---

    @property
    def made(self) -> list[Call]:
        """Every call so far, in the order in which they began."""
        with self._lock:
            return list(self._calls)

    def operations(self) -> list[str]:
        return [call.operation for call in self.made]

    def of(self, operation: str) -> list[Call]:
        return [call for call in self.made if call.operation == operation]

    def forget(self) -> None:
        """Forget the calls made so far; the faults that are planted stay."""
        with self._lock:
            self._calls.clear()

    # --- what goes wrong ---

    def refuse(
        self,
        error: str | ClientError,
        operation: str | None = None,
        *,
        when: Callable[[Call], bool] | None = None,
        nth: int = 1,
        times: int | None = 1,
        status: int = 400,
        **fields: Any,
    ) -> None:
        """AWS answers with this error, after all of botocore's retries, and nothing took effect. The client
        raises the class of its own that belongs to the code. `fields` stand in the answer beside it: `Item`,
        `CancellationReasons` and so on."""
        if isinstance(error, ClientError):
            answer: dict[str, Any] = dict(error.response)
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", status)
        else:
            answer = {"Error": {"Code": error, "Message": f"{error}, as the test wants it"}, **fields}
        answer.setdefault("ResponseMetadata", {"HTTPStatusCode": status, "RequestId": "refused-by-the-test"})

        def before(_: Call) -> Answer:
            return SimpleNamespace(status_code=status), deepcopy(answer)

        self._plant(operation, when, nth, times, before=before)

    def drop_request(
        self,
        operation: str | None = None,
        *,
        when: Callable[[Call], bool] | None = None,
        nth: int = 1,
        times: int | None = 1,
        attempts: int | None = 1,
    ) -> None:
        """The connection fails before anything took effect, for the first `attempts` of the call (None: for
        each, so that the service is down)."""

        def around(call: Call, send: Send) -> Outcome:
            if attempts is None or call.attempts <= attempts:
                return None, EndpointConnectionError(endpoint_url=call.service)
            return send()

        self._plant(operation, when, nth, times, around=around)

    def lose_answer(
        self,
        operation: str | None = None,
        *,
        when: Callable[[Call], bool] | None = None,
        nth: int = 1,
        times: int | None = 1,
        attempts: int | None = 1,
    ) -> None:
        """The request takes effect and its answer never arrives, for the first `attempts` of the call (None:
        for each). botocore meets a read time-out, as it would, and tries again by itself."""

        def around(call: Call, send: Send) -> Outcome:
            outcome = send()
            if attempts is None or call.attempts <= attempts:
                return None, ReadTimeoutError(endpoint_url=call.service)
            return outcome

        self._plant(operation, when, nth, times, around=around)

    def kill_before(
        self, operation: str | None = None, *, when: Callable[[Call], bool] | None = None, nth: int = 1
    ) -> None:
        """The process dies before the request is sent."""

        def before(_: Call) -> None:
            self._die()

        self._plant(operation, when, nth, 1, before=before)

    def kill_after(
        self, operation: str | None = None, *, when: Callable[[Call], bool] | None = None, nth: int = 1
    ) -> None:
        """The process dies after the request took effect, before it sees the answer."""

        def around(_: Call, send: Send) -> Outcome:
            send()
            self._die()
            raise AssertionError("unreachable")

        self._plant(operation, when, nth, 1, around=around)

    def meanwhile(
        self,
        action: Callable[[], object],
        operation: str | None = None,
        *,
        when: Callable[[Call], bool] | None = None,
        nth: int = 1,
        times: int | None = 1,
        after: bool = False,
    ) -> None:
        """Something else happens just before the request is sent, or just `after` its first answer came: a
        race with one certain outcome. Calls that the action makes in its own thread are neither recorded nor
        spoilt."""

        def aside() -> None:
            self._aside.here = True
            try:
                action()
            finally:
                self._aside.here = False

        def before(_: Call) -> None:
            aside()

        def around(call: Call, send: Send) -> Outcome:
            outcome = send()
            if call.attempts == 1:
                aside()
            return outcome

        self._plant(operation, when, nth, times, **({"around": around} if after else {"before": before}))

    def heal(self) -> None:
        """Nothing that was planted goes wrong any more. A process that was killed stays dead."""
        with self._lock:
            self._faults.clear()

    def revive(self) -> None:
        """A new process takes the place of the killed one, and nothing that was planted goes wrong any
        more."""
        with self._lock:
            self._faults.clear()
            self._dead = False

    # --- how ---

    def _plant(
        self,
        operation: str | None,
        when: Callable[[Call], bool] | None,
        nth: int,
        times: int | None,
        **how: Any,
    ) -> None:
        def matches(call: Call) -> bool:
            return operation in (None, call.operation) and (when is None or when(call))

        with self._lock:
            self._faults.append(_Fault(matches, nth, times, **how))

    def _die(self) -> None:
        with self._lock:
            self._dead = True
        raise Killed

    def _arm(self, params: Mapping[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        """A call begins: record it, and tie to it the faults that strike it, for `_before` and the
        attempts."""
        if getattr(self._aside, "here", False):
            return
        call = Call(model.service_model.service_name, model.name, deepcopy(dict(params)))
        with self._lock:
            if self._dead:
                raise Killed
            self._calls.append(call)
            context[_CONTEXT_KEY] = call, [fault for fault in self._faults if fault.strikes(call)]

    def _before(self, context: dict[str, Any], **_: Any) -> Answer | None:
        call, faults = context.get(_CONTEXT_KEY, (None, ()))
        for fault in faults:
            answer: Answer | None = fault.before(call) if fault.before else None
            if answer is not None:
                return answer
        return None

    def _attempting(self, send: Callable[[Any, Any, Any], Outcome]) -> Callable[[Any, Any, Any], Outcome]:
        def attempt(request: Any, operation_model: Any, context: dict[str, Any]) -> Outcome:
            call, faults = context.get(_CONTEXT_KEY, (None, ()))
            if call is None:
                return send(request, operation_model, context)
            with self._lock:
                if self._dead:
                    raise Killed
            call.attempts += 1  # attempts of one call are made by one thread, one after the other

            def go(rest: list[_Fault]) -> Outcome:
                if not rest:
                    return send(request, operation_model, context)
                first, *others = rest
                return first.around(call, lambda: go(others)) if first.around else go(others)

            return go(list(faults))

        return attempt
