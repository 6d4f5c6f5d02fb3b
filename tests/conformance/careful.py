"""A service that keeps every rule of the suite, and can be told to break them one by one."""

import re
import threading
import time
from dataclasses import dataclass, field, replace
from email.message import Message
from typing import Any

from tests.conformance.serving import Reply
from tests.conformance.spoiled_keys import BadKey, read_key
from tests.conformance.spoiled_problems import problem

CALLERS = {"Bearer token-of-alice": "alice", "Bearer token-of-bob": "bob"}
DOCUMENTATION = "Send an Idempotency-Key with each order. A key is kept for a day."
BUSY_SECONDS = 0.2
BUSY = {
    "answers 409 in the meantime",
    "says nothing with a 409",
    "does not lock a key",
    "fails on a key that is being processed",
    "answers 409 to all",
}
"""Of the faults, those that need time between the beginning of a request and its end."""


class Refused(Exception):
    def __init__(self, reply: Reply) -> None:
        self.reply = reply


@dataclass
class Record:
    """What a key stands for. Without a reply, its request is being processed."""

    contents: bytes
    reply: Reply | None = None
    awaited: bool = False


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
            return self._documentation()
        if path.startswith("/outage/"):
            self.down = path == "/outage/begins"
            self.outages += self.down
            return Reply(204)
        caller = self._caller(headers)
        if method == "GET" and "Idempotency-Key" in headers:
            self._get_with_key(caller, headers)
        if path == "/orders":
            return self._place(caller, headers, body) if method == "POST" else self._not_allowed()
        if path == "/mine":
            mine = [order for order in self.orders.values() if order["caller"] == caller]
            return self._json(200, {"orders": mine})
        return self._one_order(method, path)

    # --- placing ---

    def _place(self, caller: str, headers: Message, body: bytes) -> Reply:
        values = headers.get_all("Idempotency-Key") or []
        if not values and self.fault == "takes a second request without a key":
            if ("", body) in self.refused:
                return self._new_order(caller, body)
            self.refused.add(("", body))
        key = self._key(values)
        if self.fault == "fails on a request without content" and not body:
            raise Refused(self._problem(500, "broken", "The service is broken"))
        if key is None:
            return self._new_order(caller, body)
        name = ("all" if self.fault == "shares keys among callers" else caller, key)
        if self.fault in BUSY:
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
        with self.lock:
            found = self.records.get(name)
            record = (
                Record(body) if found is None or (self.fault == "does not lock a key" and not found.reply) else found
            )
            self.records[name] = record
        if record.reply:
            return self._replay(name, record, body)
        if record is found:
            record.awaited = True
            return self._in_progress()
        time.sleep(BUSY_SECONDS)
        if record.awaited and self.fault == "answers 409 to all":
            del self.records[name]
            return self._in_progress()
        record.reply = self._new_order(caller, body)
        return record.reply

    def _in_progress(self) -> Reply:
        match self.fault:
            case "says nothing with a 409":
                return Reply(409)
            case "fails on a key that is being processed":
                return self._problem(500, "broken", "The service is broken")
        return self._problem(409, "in-progress", "Try again")

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
        if self.fault == "takes a key that is used again":
            return self._new_order(name[0], body)
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
        if self.fault == "answers 200 without a Location":
            return self._json(200, dict(order))
        headers = {} if self.fault == "creates without a Location" else {"Location": location}
        if self.fault == "marks every answer as a retry's":
            headers["Idempotent-Replayed"] = "true"
        return self._json(201, dict(order), **headers)

    def _refuse_otherwise(self, name: tuple[str, str], body: bytes) -> None:
        """An invalid request that is repeated."""
        if self.fault == "refuses an invalid request otherwise each time":
            known = (name[1], body) in self.refused
            self.refused.add((name[1], body))
            if known:
                raise Refused(self._problem(409, "again", "The order is invalid again"))

    def _key(self, values: list[str]) -> str | None:
        if not values:
            if self.fault == "takes a request without a key":
                return None
            status = 422 if self.fault == "answers a missing key with 422" else 400
            raise Refused(self._problem(status, "key-missing", "The key is missing"))
        if self.fault == "fails on a long key" and len(values[0]) > 255:
            raise Refused(self._problem(500, "broken", "The service is broken"))
        try:
            return read_key(self.fault, values)
        except BadKey:
            raise Refused(self._problem(400, "key-invalid", "The key is invalid")) from None

    # --- everything else ---

    def _caller(self, headers: Message) -> str:
        if caller := CALLERS.get(headers.get("Authorization", "")):
            return caller
        challenge = {} if self.fault == "refuses who is unknown without a challenge" else {"WWW-Authenticate": "Bearer"}
        raise Refused(self._problem(401, None, "Unauthorized", **challenge))

    def _get_with_key(self, caller: str, headers: Message) -> None:
        name = (caller, headers["Idempotency-Key"].strip('"'))
        if self.fault == "uses up the key of a GET":
            self.records.setdefault(name, Record(b"", self._json(200, {})))
        record = self.records.get(name)
        if self.fault == "answers a GET by its key" and record and record.reply:
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
            return self._problem(500, "broken", "The service is broken", **{"Retry-After": "1"})
        when = {
            "says to try again soon": "soon",
            "says to try again at a date": "Fri, 31 Dec 1999 23:59:59 GMT",
            "says to try again at a date of old": "Friday, 31-Dec-99 23:59:59 GMT",
            "says to try again at no date": "Fri, 99 Dec 1999 23:59:59 GMT",
        }.get(self.fault, "1")
        headers = {} if self.fault == "does not say when to try again" else {"Retry-After": when}
        return self._problem(503, "unavailable", "Try again", **headers)

    def _documentation(self) -> Reply:
        text = {
            "does not document the key": "Send orders.",
            "does not document the end of a key": "Send an Idempotency-Key with each order.",
        }.get(self.fault, DOCUMENTATION)
        return Reply(404 if self.fault == "has no documentation" else 200, text, {"Content-Type": "text/plain"})

    def _json(self, status: int, document: Any, **headers: str) -> Reply:
        return Reply(status, document, {"Content-Type": "application/json"} | headers)

    def _problem(self, status: int, kind: str | None, title: str, **headers: str) -> Reply:
        return problem(self.fault, status, kind, title, **headers)
