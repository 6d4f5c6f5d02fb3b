"""The comparison with the usual design asks what it says, and notices what is broken."""

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from benchmarks.designs import DESIGNS, Request
from benchmarks.promises import PROMISES, Books
from benchmarks.reliability import report, try_all, wrong
from benchmarks.schedules import STOCK, Run
from tests.support.orders import PRICE

REQUEST = Request("c1", "k1", "p1")
ORDER = MappingProxyType({"status": "CONFIRMED", "items": [{"productId": "p1"}]})
ANSWER = '{"orderId": "o1"}'


def run_with(*answers: str) -> Run:
    shop: Any = None
    return Run(shop, 1, requests=[REQUEST], answers={REQUEST: list(answers)})


KEPT = Books(run_with(ANSWER, ANSWER), {"o1": ORDER}, {"p1": STOCK - 1}, {"o1": PRICE}, lost_messages=0)
BROKEN = {
    "a client that keeps trying is answered 2xx": replace(KEPT, run=run_with()),
    "one request is one order": replace(KEPT, stored={"o1": ORDER, "o2": ORDER | {"status": "FAILED"}}),
    "an order that was answered 2xx is stored": replace(KEPT, stored={}, stock={"p1": STOCK}, taken={}),
    "equal requests get equal answers": replace(KEPT, run=run_with(ANSWER, ANSWER + " ")),
    "every order comes to an end": replace(
        KEPT, stored={"o1": ORDER | {"status": "PENDING"}}, stock={"p1": STOCK}, taken={}
    ),
    "stock is what there was, less what was sold": replace(KEPT, stock={"p1": STOCK - 2}),
    "money was taken once for each order sold, and for no other": replace(KEPT, taken={"o1": 2 * PRICE}),
    "every message is accounted for": replace(KEPT, lost_messages=1),
}


def broken_in(books: Books) -> list[str]:
    return [promise for promise, kept in PROMISES.items() if not kept(books)]


@pytest.mark.parametrize("promise", PROMISES)
def test_each_promise_is_seen_broken_alone(promise: str) -> None:
    assert broken_in(KEPT) == []
    assert broken_in(BROKEN[promise]) == [promise]


@pytest.mark.usefixtures("quiet")
def test_without_a_fault_every_design_keeps_every_promise_and_with_one_the_usual_design_does_not(
    dynamodb_local: str,
) -> None:
    tried = list(try_all(dynamodb_local, ["place with a key", "fulfil one"], ["killed after"]))
    assert wrong(tried) == []
    assert {each.design for each in tried if not each.fault} == set(DESIGNS)
    broken = {promise for each in tried if each.design == "usual" for promise in each.broken}
    assert {"one request is one order", "stock is what there was, less what was sold"} <= broken
    assert {line.count("|") for line in report(tried) if line} == {2 + 2 * len(DESIGNS)}

    slip = next(each for each in tried if each.broken)
    assert wrong([replace(slip, design="OrderOnce"), replace(slip, fault=None)]) != []
