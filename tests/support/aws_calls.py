"""A hand on every call that clients of AWS make: what was called, and what goes wrong with it.

    calls = AwsCalls()
    calls.watch(dynamodb, sqs)
    calls.lose_answer("PutItem")  # the next PutItem takes effect, but its answer never comes
    ...
    assert calls.operations() == ["PutItem", "SendMessage"]

A *call* is what the code asks of a client; botocore may take several *attempts* for it. Threads may share all of this.
"""

import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypedDict, Unpack

from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

_CONTEXT_KEY = "watched_by_the_test"

Answer = tuple[Any, dict[str, Any]]
Outcome = tuple[Answer | None, Exception | None]
Send = Callable[[], Outcome]


class Killed(BaseException):
    """The process died here. No `except Exception` sees it, and after it no watched client makes a call, so
    that a `finally` does not reach AWS either, until `AwsCalls.revive`."""


INVOCATION: ContextVar[object] = ContextVar("invocation", default=None)
"""The invocation of a function that is going on. Threads of the payments' pool do not know theirs."""


@dataclass
class Call:
    """A call of a client: `Call("dynamodb", "PutItem", {...}, attempts=1)`; 0 when it was refused.

    `params` are those that the client was called with; `bodies` what each attempt sends.
    `invocation` is the function's invocation that it was made by, if that is known.
    """

    service: str
    operation: str
    params: Mapping[str, Any]
    attempts: int = 0
    bodies: list[bytes] = field(default_factory=list)
    invocation: object = field(default_factory=INVOCATION.get)


class Strikes(TypedDict, total=False):
    """Which calls of an operation (None: of any) go wrong: the `nth` that matches from now on, and `times` of
    them in a row (None: for good). By default, the next one."""

    when: Callable[[Call], bool]
    nth: int
    times: int | None


@dataclass
class _Fault:
    """`around` runs each attempt of the call, or `answer` is given in the place of all of them."""

    operation: str | None
    around: Callable[[Call, Send], Outcome] = lambda _, send: send()
    answer: Answer | None = None
    when: Callable[[Call], bool] = lambda _: True
    nth: int = 1
    times: int | None = 1
    seen: int = 0

    def strikes(self, call: Call) -> bool:
        if self.operation not in (None, call.operation) or not self.when(call):
            return False
        self.seen += 1
        return self.seen >= self.nth and (self.times is None or self.seen < self.nth + self.times)


class AwsCalls:
    """Records the calls of the clients it watches, and spoils those that a test names."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._faults: list[_Fault] = []
        self._dead = False
        self._aside = threading.local()
        self._watched: dict[Any, Any] = {}

    # --- what is watched ---

    def watch(self, *clients: Any) -> "AwsCalls":
        """From now on, see the calls of these clients; a second time changes nothing."""
        for client in set(clients) - self._watched.keys():
            endpoint = client._endpoint
            self._watched[client] = endpoint._do_get_response
            client.meta.events.register_last("provide-client-params", self._begin)
            client.meta.events.register_first("before-call", self._refused)
            # botocore has no event that sees an answer come in and can still lose it (and moto answers inside
            # an event of its own), so the one method that makes an attempt is wrapped. Its result is what
            # botocore's own retry looks at.
            endpoint._do_get_response = self._attempting(endpoint._do_get_response)
        return self

    def unwatch(self) -> None:
        """Leave all clients as they were found."""
        for client, do_get_response in self._watched.items():
            client.meta.events.unregister("provide-client-params", self._begin)
            client.meta.events.unregister("before-call", self._refused)
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
        code: str,
        operation: str | None = None,
        *,
        status: int = 400,
        when: Callable[[Call], bool] = lambda _: True,
        nth: int = 1,
        times: int | None = 1,
        **fields: Any,
    ) -> None:
        """AWS answers with this error, after all of botocore's retries, and nothing took effect. The client raises its
        own class of that code. `fields` are added to the answer: `Item`, `CancellationReasons` and so on."""
        answer = {
            "Error": {"Code": code, "Message": f"{code}, as the test wants it"},
            "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "refused-by-the-test"},
            **fields,
        }
        refusal = SimpleNamespace(status_code=status), answer
        self._plant(_Fault(operation, answer=refusal, when=when, nth=nth, times=times))

    def drop_request(
        self, operation: str | None = None, *, attempts: int | None = 1, **strikes: Unpack[Strikes]
    ) -> None:
        """The connection fails before anything took effect, for the first `attempts` of the call (None: for
        each, so that the service is down)."""

        def around(call: Call, send: Send) -> Outcome:
            if attempts is None or call.attempts <= attempts:
                return None, EndpointConnectionError(endpoint_url=call.service)
            return send()

        self._plant(_Fault(operation, around, **strikes))

    def lose_answer(
        self, operation: str | None = None, *, attempts: int | None = 1, **strikes: Unpack[Strikes]
    ) -> None:
        """The request takes effect and its answer never arrives, for the first `attempts` of the call (None:
        for each). botocore meets a read time-out, as it would, and tries again by itself."""

        def around(call: Call, send: Send) -> Outcome:
            outcome = send()
            if attempts is None or call.attempts <= attempts:
                return None, ReadTimeoutError(endpoint_url=call.service)
            return outcome

        self._plant(_Fault(operation, around, **strikes))

    def kill_before(self, operation: str | None = None, **strikes: Unpack[Strikes]) -> None:
        """The process dies before the request is sent."""
        self._plant(_Fault(operation, self._die, **strikes))

    def kill_after(self, operation: str | None = None, **strikes: Unpack[Strikes]) -> None:
        """The process dies after the request took effect, before it sees the answer."""
        self._plant(_Fault(operation, lambda _, send: self._die(send()), **strikes))

    def meanwhile(
        self,
        action: Callable[[], object],
        operation: str | None = None,
        *,
        after: bool = False,
        **strikes: Unpack[Strikes],
    ) -> None:
        """Something else happens just before the request is sent, or just `after` its first answer came: a race with
        one certain outcome. Calls that the action makes in its own thread are neither recorded nor spoilt."""

        def around(call: Call, send: Send) -> Outcome:
            outcome = send() if after else None
            if call.attempts == 1:
                self._aside.here = True
                try:
                    action()
                finally:
                    self._aside.here = False
            return outcome or send()

        self._plant(_Fault(operation, around, **strikes))

    def heal(self) -> None:
        """Nothing that was planted goes wrong any more. A process that was killed stays dead."""
        with self._lock:
            self._faults.clear()

    def revive(self) -> None:
        """A new process takes the place of the killed one, and nothing that was planted goes wrong any more."""
        self.heal()
        self._dead = False

    # --- how ---

    def _plant(self, fault: _Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def _die(self, *_: object) -> Outcome:
        self._dead = True
        raise Killed

    def _begin(self, params: Mapping[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        """A call begins: record it, and tie to it the faults that strike it."""
        if getattr(self._aside, "here", False):
            return
        call = Call(model.service_model.service_name, model.name, deepcopy(dict(params)))
        with self._lock:
            if self._dead:
                raise Killed
            self._calls.append(call)
            context[_CONTEXT_KEY] = call, [fault for fault in self._faults if fault.strikes(call)]

    def _refused(self, context: dict[str, Any], **_: Any) -> Answer | None:
        _, faults = context.get(_CONTEXT_KEY, (None, ()))
        return next((deepcopy(fault.answer) for fault in faults if fault.answer), None)

    def _attempting(self, send: Callable[[Any, Any, Any], Outcome]) -> Callable[[Any, Any, Any], Outcome]:
        def attempt(request: Any, operation_model: Any, context: dict[str, Any]) -> Outcome:
            call, faults = context.get(_CONTEXT_KEY, (None, ()))
            if call:
                if self._dead:
                    raise Killed
                call.attempts += 1  # attempts of one call are made by one thread, one after the other
                call.bodies.append(request.body)

            def go(rest: list[_Fault]) -> Outcome:
                if not rest:
                    return send(request, operation_model, context)
                return rest[0].around(call, lambda: go(rest[1:]))

            return go(list(faults))

        return attempt
