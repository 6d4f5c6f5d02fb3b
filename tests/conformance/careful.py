"""A service that keeps every rule of the suite, and can be told to break them one by one."""

import re
import threading
import time
from dataclasses import dataclass, field, replace
from email.message import Message
from http import HTTPStatus
from typing import Any

from tests.conformance.serving import Reply

CALLERS = {"Bearer token-of-alice": "alice", "Bearer token-of-bob": "bob"}
DOCUMENTATION = "Send an Idempotency-Key with each order. A key is kept for a day."
BUSY_SECONDS = 0.1
_STRING = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"(;.*)?')


class Refused(Exception):
    def __init__(self, reply: Reply) -> None:
        self.reply = reply


@dataclass
class Record:
    """What a key stands for. Without a reply, its request is being processed."""

    contents: bytes
    reply: Reply | None = None


@dataclass
class Careful:
    """An order service in memory. `fault`: what it does wrong, in words of the table in test_rules.py."""

    fault: str = ""
    asked: int = 0
    down: bool = False
    outages: int = 0
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    records: dict[tuple[str, str], Record] = field(default_factory=dict)
    refused: set[tuple[str, bytes]] = field(default_factory=set)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def answer(self, method: str, path: str, headers: Message, body: bytes) -> Reply:
        with self.lock:
            self.asked += 1
        try:
            return self._answer(method, path, headers, body)
        except Refused as refused:
            return refused.reply

    def _answer(self, method: str, path: str, headers: Message, body: bytes) -> Reply:
        if path == "/documentation":
            return Reply(200, self._documentation(), {"Content-Type": "text/plain"})
        if path.startswith("/outage/"):
            self.down = path == "/outage/begins"
            self.outages += self.down
            return Reply(204)
        caller = self._caller(headers)
        if method in ("GET", "HEAD") and self.fault == "answers a GET by its key":
            self._replay_any(caller, headers)
        if path == "/orders":
            return self._place(caller, headers, body) if method == "POST" else self._not_allowed()
        if path == "/mine":
            mine = [order for order in self.orders.values() if order["caller"] == caller]
            return self._json(200, {"orders": mine})
        return self._one_order(method, path)

    # --- placing ---

    def _place(self, caller: str, headers: Message, body: bytes) -> Reply:
        key = self._key(headers.get_all("Idempotency-Key") or [])
        if self.fault == "fails on a request without content" and not body:
            raise Refused(self._problem(500, "broken", "The service is broken"))
        if key is None:
            return self._new_order(caller, body)
        name = ("all" if self.fault == "shares keys among callers" else caller, key)
        busy = self.fault in ("does not lock a key", "says nothing with a 409", "answers 409 in the meantime")
        if busy:
            return self._place_slowly(name, caller, body)
        with self.lock:
            return self._place_once(name, caller, body)

    def _place_once(self, name: tuple[str, str], caller: str, body: bytes) -> Reply:
        if record := self.records.get(name):
            return self._replay(name, record, body)
        if self.fault == "knows a request by its contents" and any(
            record.contents == body for (caller, _), record in self.records.items() if caller == name[0]
        ):
            raise Refused(self._problem(409, "known", "The contents are known"))
        self.records[name] = Record(body)
        try:
            reply = self._new_order(caller, body)
        except Refused as refused:
            kept = {"remembers its failures": 500, "uses up the key of an invalid request": 400}.get(self.fault, 600)
            if kept <= refused.reply.status < kept + 100:
                self.records[name].reply = refused.reply
            else:
                del self.records[name]
                self._refuse_otherwise(name, body)
            raise
        self.records[name].reply = reply
        return reply

    def _place_slowly(self, name: tuple[str, str], caller: str, body: bytes) -> Reply:
        record = self.records.get(name)
        if record and record.reply:
            return self._replay(name, record, body)
        if record and self.fault != "does not lock a key":
            nothing = self.fault == "says nothing with a 409"
            return Reply(409) if nothing else self._problem(409, "in-progress", "Try again")
        self.records[name] = Record(body)
        time.sleep(BUSY_SECONDS)
        reply = self._new_order(caller, body)
        self.records[name].reply = reply
        return reply

    def _replay(self, name: tuple[str, str], record: Record, body: bytes) -> Reply:
        reply = record.reply
        assert reply
        if body != record.contents:
            return self._reused(name, record, body)
        headers = reply.headers if reply.status >= 400 else reply.headers | {"Idempotent-Replayed": "true"}
        match self.fault:
            case "answers a retry with 200":
                return replace(reply, status=200, headers=headers)
            case "answers a retry without its Location":
                headers.pop("Location", None)
            case "writes a retry's answer otherwise":
                return Reply(reply.status, f"{reply.content.decode()} ", headers)
            case "does not mark a retry":
                headers.pop("Idempotent-Replayed", None)
            case "makes one more order for a retry":
                self._new_order(name[0], body)
            case "answers a retry with the order of now":
                return self._json(reply.status, self.orders[reply.document["id"]], **headers)
        return replace(reply, headers=headers)

    def _reused(self, name: tuple[str, str], record: Record, body: bytes) -> Reply:
        if self.fault == "answers a second refusal with the order" and (name[1], body) in self.refused:
            return record.reply or Reply(500)
        self.refused.add((name[1], body))
        if self.fault == "forgets a key that is used again":
            del self.records[name]
        status = 409 if self.fault == "answers a reused key with 409" else 422
        return self._problem(status, "key-reused", "The key was used for another order")

    def _new_order(self, caller: str, body: bytes) -> Reply:
        if self.down:
            raise Refused(self._unavailable())
        found = re.fullmatch(rb'\{"what": "([a-z]+) of [0-9a-f]+"\}', body)
        if not found:
            raise Refused(self._problem(400, "invalid", "The order is invalid"))
        with self.lock:
            number = str(len(self.orders) + 1)
            order = {"id": number, "caller": caller, "status": "new"}
            self.orders[number] = order
        location = "/nowhere" if self.fault == "gives a Location that leads nowhere" else f"/orders/{number}"
        headers = {} if self.fault == "creates without a Location" else {"Location": location}
        return self._json(201, dict(order), **headers)

    def _refuse_otherwise(self, name: tuple[str, str], body: bytes) -> None:
        """An invalid request that is repeated."""
        if self.fault == "refuses an invalid request otherwise each time":
            known = (name[1], body) in self.refused
            self.refused.add((name[1], body))
            if known:
                raise Refused(self._problem(409, "again", "The order is invalid again"))

    # --- the key ---

    def _key(self, values: list[str]) -> str | None:
        values = [value.strip() for value in values]
        if not values:
            if self.fault == "takes a request without a key":
                return None
            status = 422 if self.fault == "answers a missing key with 422" else 400
            raise Refused(self._problem(status, "key-missing", "The key is missing"))
        if len(values) > 1 and self.fault != "takes the first of two keys":
            raise Refused(self._invalid_key())
        value = values[0]
        if not value or value == '""':
            if self.fault == "takes an empty key":
                return "empty"
            raise Refused(self._invalid_key())
        bare = not value.startswith('"')
        if self.fault == "ignores a key without quotes" and bare:
            return None
        if self.fault == "takes only keys without quotes" or (bare and self.fault == "takes any key as it is"):
            return value if bare else self._refuse_key()
        return self._string(value)

    def _string(self, value: str) -> str:
        found = _STRING.fullmatch(value)
        if not found:
            return value if self.fault == "takes a malformed key" and value.startswith('"') else self._refuse_key()
        if found[2] and self.fault != "takes a parameter for a part of the key":
            self._refuse_key()
        key = found[1] + (found[2] or "")
        match self.fault:
            case "cuts a key off":
                return key[:64]
            case "splits a key at a comma":
                return key.partition(",")[0]
            case "takes a key in any case":
                return key.lower()
        return key if len(key) <= 255 or self.fault == "takes a key of any length" else self._refuse_key()

    def _refuse_key(self) -> str:
        raise Refused(self._invalid_key())

    def _invalid_key(self) -> Reply:
        return self._problem(400, "key-invalid", "The key is invalid")

    # --- everything else ---

    def _caller(self, headers: Message) -> str:
        if caller := CALLERS.get(headers.get("Authorization", "")):
            return caller
        challenge = {} if self.fault == "refuses who is unknown without a challenge" else {"WWW-Authenticate": "Bearer"}
        raise Refused(self._problem(401, None, "Unauthorized", **challenge))

    def _replay_any(self, caller: str, headers: Message) -> None:
        key = (headers.get("Idempotency-Key") or "").strip('"')
        if (record := self.records.get((caller, key))) and record.reply:
            raise Refused(record.reply)

    def _one_order(self, method: str, path: str) -> Reply:
        found = re.fullmatch(r"/orders/(\d+)(/cancel)?", path)
        order = self.orders.get(found[1]) if found else None
        if not found or order is None:
            return self._problem(404, None, "Not Found")
        if found[2]:
            order["status"] = "cancelled"
        if method == "HEAD" and self.fault == "answers HEAD as another type":
            return Reply(200, order, {"Content-Type": "text/html"})
        if self.fault == "sends content without a Content-Type":
            return Reply(200, order)
        return replace(self._json(200, order), even_to_head=self.fault == "sends content after HEAD")

    def _not_allowed(self) -> Reply:
        allow = {
            "answers 405 without Allow": {},
            "allows another method": {"Allow": "DELETE"},
        }.get(self.fault, {"Allow": "POST, OPTIONS"})
        return self._problem(405, None, "Method Not Allowed", **allow)

    def _unavailable(self) -> Reply:
        if self.fault == "fails with 500":
            return self._problem(500, "broken", "The service is broken")
        when = {
            "says to try again soon": "soon",
            "says to try again at a date": "Fri, 31 Dec 1999 23:59:59 GMT",
        }.get(self.fault, "1")
        headers = {} if self.fault == "does not say when to try again" else {"Retry-After": when}
        return self._problem(503, "unavailable", "Try again", **headers)

    def _documentation(self) -> str:
        return {
            "does not document the key": "Send orders.",
            "does not document the end of a key": "Send an Idempotency-Key with each order.",
        }.get(self.fault, DOCUMENTATION)

    def _json(self, status: int, document: Any, **headers: str) -> Reply:
        return Reply(status, document, {"Content-Type": "application/json"} | headers)

    def _problem(self, status: int, kind: str | None, title: str, **headers: str) -> Reply:
        kind = None if self.fault == "does not link to documentation" else kind
        members: dict[str, Any] = {
            "type": f"https://orders.example/problems/{kind}" if kind else "about:blank",
            "title": title if kind else HTTPStatus(status).phrase,
            "status": status,
            "detail": "See the documentation.",
            "retryable": status >= 500,
        }
        match self.fault:
            case "says another status in its problems":
                members["status"] = 418
            case "has a number as the detail of its problems":
                members["detail"] = 7
            case "has a list as its problems":
                return Reply(status, [members], {"Content-Type": "application/problem+json"} | headers)
            case "has relative types of problems":
                members["type"] = f"/problems/{kind}" if kind else "about:blank"
            case "changes the titles of its problems":
                members["title"] += "" if kind is None else f" ({time.monotonic_ns()})"
            case "has titles of its own for about:blank":
                members["title"] = title if kind else "Oh no"
            case "does not say whether to try again":
                del members["retryable"]
        media_type = (
            "application/json" if self.fault == "has errors that are not problems" else "application/problem+json"
        )
        return Reply(status, members, {"Content-Type": media_type} | headers)
