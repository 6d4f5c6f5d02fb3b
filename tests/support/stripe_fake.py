"""A Stripe that remembers: payment intents, refunds, disputes, payment methods and idempotency keys, on its own clock.

`respond` is all of it, as a function; `tests/support/stripe_server.py` puts it behind HTTP. Shapes, codes and rules are
Stripe's ("API reference: Errors, Idempotent requests", "PaymentIntents: lifecycle"). Amounts are in minor units.
"""

import itertools
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum, auto
from typing import Any, NoReturn

SECRET_KEY = "sk_test_fake"
MIN_AMOUNT, MAX_AMOUNT = 50, 99_999_999
KEYS_LIVE = timedelta(hours=24)
CANCELABLE = {"requires_payment_method", "requires_confirmation", "requires_action", "requires_capture"}
DISPUTED = {"needs_response", "under_review", "lost"}
"""Disputes that allow no refund: the money is with the bank."""

Params = Mapping[str, str]
Books = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Answer:
    """What Stripe answers."""

    status: int
    body: dict[str, Any]


class Refused(Exception):
    """An error that Stripe answers with."""

    def __init__(self, status: int, code: str | None, message: str, **fields: Any) -> None:
        super().__init__(message)
        kind = "card_error" if status == 402 else "api_error" if status >= 500 else "invalid_request_error"
        error = {"type": kind, "code": code, "message": message} | fields
        self.answer = Answer(status, {"error": {name: value for name, value in error.items() if value is not None}})


class Trouble(Enum):
    """What becomes of a request, other than its answer."""

    DROPPED = auto()
    """The connection is closed, and nothing was done."""
    LOST = auto()
    """It takes effect, and the connection is closed before the answer."""
    FAILED = auto()
    """Nothing was done; a 500, which the idempotency key keeps."""
    FAILED_AFTER = auto()
    """It takes effect; a 500 all the same, which the idempotency key keeps."""


Step = Trouble | Refused | Callable[[], object] | None
"""What a request meets: Refused is answered and nothing was done; a function is called just before it is handled."""

LOCKED = Refused(429, "lock_timeout", "This object cannot be accessed right now because another request holds it.")


@dataclass(frozen=True)
class Request:
    """A request that came."""

    operation: str
    method: str
    path: str
    params: Params
    headers: Mapping[str, str]


@dataclass
class StripeFake:
    """`requests`: all that came, in order. `refunds_become`: the states of each new refund, one step for each `advance`
    (the last one lasts). `secret_key`: the one that opens it. `cards_do`: what the next payments do, whatever their
    cards would; None: as the card."""

    now: datetime = datetime(2026, 11, 1, tzinfo=UTC)
    secret_key: str = SECRET_KEY
    intents: Books = field(default_factory=dict)
    refunds: Books = field(default_factory=dict)
    disputes: Books = field(default_factory=dict)
    methods: Books = field(default_factory=dict)
    customers: Books = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    refunds_become: Iterator[tuple[str, ...]] = field(default_factory=lambda: itertools.repeat(("succeeded",)))
    cards_do: Iterator[str | None] = field(default_factory=lambda: itertools.repeat(None))
    paid: Counter[str] = field(default_factory=Counter)
    """How often each payment key was paid."""
    _keys: dict[str, tuple[datetime, Any, Answer | None]] = field(default_factory=dict)
    _steps: list[tuple[str | None, Step]] = field(default_factory=list)
    _ids: Iterator[int] = field(default_factory=itertools.count)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    # --- what a test says and asks ---

    def advance(self, time: timedelta) -> None:
        """Let time pass: idempotency keys are forgotten, pending refunds go on, and what is in processing is paid."""
        with self._lock:
            self.now += time
            self._keys = {key: kept for key, kept in self._keys.items() if self.now - kept[0] < KEYS_LIVE}
            for refund in self.refunds.values():
                refund["status"] = refund["_states"].pop(0) if refund["_states"] else refund["status"]
            for intent in self.intents.values():
                if intent["status"] == "processing":
                    self._paid(intent)

    def add_method(self, does: str = "succeeds", method: str | None = None, customer: str | None = None) -> str:
        """A card that succeeds, declines, processing, requires_action, or needs authentication."""
        method = method or f"pm_{next(self._ids)}"
        body = {"id": method, "object": "payment_method", "type": "card", "customer": customer}
        self.methods[method] = body | {"_does": does, "_used": False}
        return method

    def add_customer(self, **metadata: str) -> str:
        customer = f"cus_{next(self._ids)}"
        self.customers[customer] = {"id": customer, "object": "customer", "metadata": metadata}
        return customer

    def spoil(self, operation: str | None, step: Step, times: int = 1) -> None:
        """The next requests of this operation (None: of any) meet this."""
        self._steps += [(operation, step)] * times

    def of_key(self, payment_key: str) -> list[dict[str, Any]]:
        """The intents of a payment key."""
        return [each for each in self.intents.values() if each["metadata"].get("paymentKey") == payment_key]

    def refunds_of(self, intent: str) -> list[dict[str, Any]]:
        """The refunds of an intent."""
        return [refund for refund in self.refunds.values() if refund["payment_intent"] == intent]

    def money(self, payment_key: str) -> Decimal:
        """What was taken and not given back, of all intents of the payment key."""
        intents = [each for each in self.of_key(payment_key) if each["status"] == "succeeded"]
        back = sum(r["amount"] for each in intents for r in self.refunds_of(each["id"]) if r["status"] == "succeeded")
        return Decimal(sum(each["amount"] for each in intents) - back) / 100

    def confirm_elsewhere(self, payment_key: str) -> None:
        """The customer, or somebody at the dashboard, pays what can still be paid with a good card."""
        for intent in self.of_key(payment_key):
            if intent["status"] in CANCELABLE:
                self._pay(intent, self.add_method(), {})

    def refund_by_hand(self, intent: str, amount: int | None = None) -> dict[str, Any]:
        """Somebody at the dashboard gives back a part of it, or what is left."""
        return self._give_back(self.intents[intent], amount)

    def fail_refunds(self, intent: str) -> None:
        """The customer's bank sends back what was refunded, however long ago that succeeded."""
        for refund in self.refunds_of(intent):
            refund["status"] = "failed"

    def dispute(self, intent: str, status: str = "needs_response", amount: int | None = None) -> dict[str, Any]:
        """The customer disputes a payment, all of it or a part; a dispute may be changed by what is returned."""
        dispute: dict[str, Any] = {"id": f"du_{next(self._ids)}", "object": "dispute", "payment_intent": intent}
        dispute |= {"amount": amount or self.intents[intent]["amount"], "status": status, "created": self._seconds()}
        self.disputes[dispute["id"]] = dispute
        return dispute

    def operations(self) -> list[str]:
        return [request.operation for request in self.requests]

    # --- what comes in ---

    def respond(
        self, method: str, path: str, params: Params, headers: Mapping[str, str], step: Step = None
    ) -> Answer | None:
        """The answer; None: the connection is closed. `step` is what this request meets."""
        operation, name = operation_of(method, path)
        handle: Callable[[str, Params], dict[str, Any]] = getattr(self, f"_{operation}")
        with self._lock:
            self.requests.append(Request(operation, method, path, params, headers))
            at = next((n for n, (of, _) in enumerate(self._steps) if of in (None, operation)), None)
            step = step if step or at is None else self._steps.pop(at)[1]
        if step is Trouble.DROPPED:
            return None
        if isinstance(step, Refused):
            return step.answer
        if headers.get("Authorization") != f"Bearer {self.secret_key}":
            return Refused(401, None, "Invalid API Key provided").answer
        key = headers.get("Idempotency-Key") if method == "POST" else None
        answer = self._once(key, (path, dict(params)), lambda: self._run(lambda: handle(name, params), step))
        return None if step is Trouble.LOST else answer

    def _once(self, key: str | None, asked: Any, run: Callable[[], Answer]) -> Answer:
        """As an idempotency key says: the stored answer again, 500s too. What broke a rule of form is not stored."""
        if key is None:
            return run()
        with self._lock:
            _, first, answer = self._keys.get(key, (None, None, None))
            if first is not None and first != asked:
                return Refused(400, None, "Keys … same parameters", type="idempotency_error").answer
            if answer is not None:
                return answer
            if first is not None:
                return Refused(409, "idempotency_key_in_use", "Another request with this key is in progress.").answer
            self._keys[key] = self.now, asked, None
        answer = run()
        with self._lock:
            if answer.status in (400, 404, 429):
                del self._keys[key]
            else:
                self._keys[key] = self.now, asked, answer
        return answer

    def _run(self, handle: Callable[[], dict[str, Any]], step: Step) -> Answer:
        if callable(step):
            step()
        failed = Refused(500, None, "Something went wrong on Stripe's end.").answer
        if step is Trouble.FAILED:
            return failed
        with self._lock:
            try:
                answer = Answer(200, handle())
            except Refused as refused:
                answer = refused.answer
        return failed if step is Trouble.FAILED_AFTER else answer

    # --- what is done ---

    def _create(self, _: str, params: Params) -> dict[str, Any]:
        if "payment_method_types[0]" in params:  # not since the API version 2026-09-30.endive
            _refuse(400, "payment_method_types_no_longer_supported", "Use allowed_payment_method_types.")
        known = r"amount|currency|customer|allowed_payment_method_types\[\d+\]|metadata\[\w+\]"
        if unknown := [name for name in params if not re.fullmatch(known, name)]:
            _refuse(400, "parameter_unknown", f"Received unknown parameter: {unknown[0]}")
        amount = int(params["amount"])
        if not MIN_AMOUNT <= amount <= MAX_AMOUNT:
            code = "amount_too_small" if amount < MIN_AMOUNT else "amount_too_large"
            _refuse(400, code, "Amount must be within the limits", param="amount")
        if not re.fullmatch("[a-z]{3}", params["currency"]):
            _refuse(400, None, "Invalid currency", param="currency")
        metadata = {name[9:-1]: value for name, value in params.items() if name.startswith("metadata[")}
        intent: dict[str, Any] = {"id": f"pi_{next(self._ids)}", "object": "payment_intent", "metadata": metadata}
        intent |= {"amount": amount, "currency": params["currency"], "customer": params.get("customer")}
        intent |= {"status": "requires_payment_method", "last_payment_error": None, "created": self._seconds()}
        self.intents[intent["id"]] = intent
        return dict(intent)

    def _retrieve(self, name: str, _: Params) -> dict[str, Any]:
        return dict(_found(self.intents, name, "payment_intent"))

    def _confirm(self, name: str, params: Params) -> dict[str, Any]:
        intent = _found(self.intents, name, "payment_intent")
        return dict(self._pay(intent, params["payment_method"], params))

    def _pay(self, intent: dict[str, Any], name: str, params: Params) -> dict[str, Any]:
        if intent["status"] not in CANCELABLE:
            _refuse(
                400, "payment_intent_unexpected_state", f"has a status of {intent['status']}", payment_intent=intent
            )
        method = self.methods.get(name)
        if method is None:
            _refuse(400, "resource_missing", f"No such PaymentMethod: '{name}'", param="payment_method")
        if method["_used"] or method["customer"] != intent["customer"]:
            _refuse(400, None, "The provided PaymentMethod may not be used (again), or not by this customer.")
        does = next(self.cards_do) or method["_does"]
        if does in ("processing", "requires_action") and "off_session" in params:
            intent["status"] = does
            return intent
        if does != "succeeds":
            code = "card_declined" if does == "declines" else "authentication_required"
            intent["status"] = "requires_payment_method"
            intent["last_payment_error"] = {"type": "card_error", "code": code, "message": "Your card was declined."}
            _refuse(402, code, "Your card was declined.", payment_intent=dict(intent))
        method["_used"] = method["customer"] is None
        return self._paid(intent)

    def _paid(self, intent: dict[str, Any]) -> dict[str, Any]:
        intent["status"] = "succeeded"
        self.paid[intent["metadata"].get("paymentKey", "")] += 1
        return intent

    def _cancel(self, name: str, _: Params) -> dict[str, Any]:
        intent = _found(self.intents, name, "payment_intent")
        if intent["status"] not in CANCELABLE:
            _refuse(
                400, "payment_intent_unexpected_state", f"has a status of {intent['status']}", payment_intent=intent
            )
        intent["status"] = "canceled"
        return dict(intent)

    def _method(self, name: str, params: Params) -> dict[str, Any]:
        method = _found(self.methods, name, "payment_method")
        if params.get("expand[0]") == "customer" and method["customer"]:
            return method | {"customer": self.customers[method["customer"]]}
        return dict(method)

    def _refund(self, _: str, params: Params) -> dict[str, Any]:
        intent = _found(self.intents, params["payment_intent"], "payment_intent")
        if intent["status"] != "succeeded":
            _refuse(400, None, "This PaymentIntent does not have a successful charge to refund.")
        return dict(self._give_back(intent, None))

    def _give_back(self, intent: dict[str, Any], amount: int | None) -> dict[str, Any]:
        gone = sum(r["amount"] for r in self.refunds_of(intent["id"]) if r["status"] in ("pending", "succeeded"))
        if any(d["status"] in DISPUTED and d["payment_intent"] == intent["id"] for d in self.disputes.values()):
            _refuse(400, "charge_disputed", "Charge has been charged back and cannot be refunded.")
        if gone >= intent["amount"]:
            _refuse(400, "charge_already_refunded", "Charge has already been refunded.")
        first, *states = next(self.refunds_become)
        amount = intent["amount"] - gone if amount is None else amount
        refund: dict[str, Any] = {"id": f"re_{next(self._ids)}", "object": "refund", "amount": amount}
        refund |= {"payment_intent": intent["id"], "status": first, "_states": states, "created": self._seconds()}
        self.refunds[refund["id"]] = refund
        return refund

    def _intents(self, _: str, params: Params) -> dict[str, Any]:
        return self._listed("/v1/payment_intents", self.intents, params)

    def _refunds(self, _: str, params: Params) -> dict[str, Any]:
        return self._listed("/v1/refunds", self.refunds, params)

    def _disputes(self, _: str, params: Params) -> dict[str, Any]:
        return self._listed("/v1/disputes", self.disputes, params)

    def _search(self, _: str, params: Params) -> dict[str, Any]:
        """Only what is older than a minute: the search is behind."""
        match = re.fullmatch(r"metadata\['paymentKey'\]:'(.+)'", params["query"])
        key = match[1] if match else _refuse(400, None, "cannot be parsed")
        found = [each for each in self.of_key(key) if each["created"] <= self._seconds() - 60]
        return {"object": "search_result", "data": found, "has_more": False, "url": "/v1/payment_intents/search"}

    def _listed(self, url: str, books: Books, params: Params) -> dict[str, Any]:
        """A page, the newest first; an object may be filtered by its intent and the time when it was made."""
        since, intent, after = int(params.get("created[gte]", 0)), params.get("payment_intent"), "starting_after"
        found = [dict(each) for each in reversed(books.values()) if each["created"] >= since]
        found = [each for each in found if intent in (None, each.get("payment_intent"))]
        if after in params:
            found = found[[each["id"] for each in found].index(params[after]) + 1 :]
        if params.get("expand[0]") == "data.payment_intent":
            for each in found:
                each["payment_intent"] = dict(self.intents[each["payment_intent"]])
        limit = int(params.get("limit", 10))
        return {"object": "list", "data": found[:limit], "has_more": len(found) > limit, "url": url}

    def _seconds(self) -> int:
        return int(self.now.timestamp())

    def _unknown(self, *_: object) -> NoReturn:
        _refuse(404, None, "Unrecognized request URL")


_ROUTES = (
    ("POST", "/v1/payment_intents", "create"),
    ("GET", "/v1/payment_intents", "intents"),
    ("GET", "/v1/payment_intents/search", "search"),
    ("GET", r"/v1/payment_intents/(\w+)", "retrieve"),
    ("POST", r"/v1/payment_intents/(\w+)/confirm", "confirm"),
    ("POST", r"/v1/payment_intents/(\w+)/cancel", "cancel"),
    ("GET", r"/v1/payment_methods/(\w+)", "method"),
    ("POST", "/v1/refunds", "refund"),
    ("GET", "/v1/refunds", "refunds"),
    ("GET", "/v1/disputes", "disputes"),
)


def operation_of(method: str, path: str) -> tuple[str, str]:
    """What a request asks for, and the id in its path."""
    for verb, pattern, operation in _ROUTES:
        if verb == method and (match := re.fullmatch(pattern, path)):
            return operation, match.group(1) if match.groups() else ""
    return "unknown", ""


def _refuse(status: int, code: str | None, message: str, **fields: Any) -> NoReturn:
    raise Refused(status, code, message, **fields)


def _found(books: Books, name: str, kind: str) -> dict[str, Any]:
    if name not in books:
        _refuse(404, "resource_missing", f"No such {kind}: '{name}'", param="intent")
    return books[name]
