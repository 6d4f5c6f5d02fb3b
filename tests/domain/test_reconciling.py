"""What differs between orders, ledger and provider is all named, mended once, and nothing that agrees is touched."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.books import Intent, Payment, Row, RowState, Taken, joined
from chalicelib.domain.order import Order, OutboxEntry, Status
from chalicelib.domain.reconciling import Difference, KnownOrders, Period, Remedy, differences
from tests.support.conservation import SOLD
from tests.support.orders import NOW, standing

LONG_AGO, LATER = NOW - timedelta(days=30), NOW + timedelta(minutes=1)
LONG_AFTER = NOW + timedelta(days=2)
PERIOD = Period(NOW - timedelta(minutes=1), LONG_AFTER)
PRICE = standing(Status.PENDING, "o1", {"p1": 1}).total_amount
WAITING = OutboxEntry(LATER)
OPEN, ENDED = (Status.PENDING, Status.RESERVED), (Status.FAILED, Status.CANCELLED)
KEYS = st.builds("o{}.payment-{}".format, st.integers(0, 2), st.integers(0, 1))


def order(key: str, status: Status, at: Any = LATER, **fields: Any) -> Order:
    return standing(status, key.partition(".")[0], {"p1": 1}, payment_key=key, updated_at=at, **fields)


def intent(key: str = "o1.a", name: str = "pi_1", taken: Taken = Taken.YES, at: Any = LATER, **fields: Any) -> Intent:
    return Intent(name, key, taken, **{"amount": PRICE, "currency": "USD", "at": at} | fields)


def payment(
    key: str = "o1.a", state: RowState | None = RowState.OPEN, *intents: Intent, named: str = "pi_1"
) -> Payment:
    return Payment(key, Row(state, "stripe", named) if state else None, intents)


def paid(key: str = "o1.a") -> Payment:
    return payment(key, RowState.OPEN, intent(key))


def refunded(key: str = "o1.a") -> Payment:
    return payment(key, RowState.REFUNDING, intent(key, refunded=PRICE))


@dataclass
class World:
    """The three parties, and what the consumer and the provider do when they are asked."""

    orders: dict[str, Order]
    payments: dict[str, Payment]
    older: Mapping[str, Order] = field(default_factory=dict)

    def found(self) -> list[Difference]:
        return differences(PERIOD, self.payments.values(), KnownOrders(self.orders), KnownOrders(self.older))

    def repair(self) -> None:
        for each in self.found():
            match each.remedy:
                case Remedy.SEND:
                    assert each.order is not None
                    self._consume(each.order)
                case Remedy.REBUILD:
                    assert self._of(each.payment_key).row is None
                    self._set(each.payment_key, row=Row(RowState.OPEN, "stripe", *each.payment_ids))
                    if each.order:
                        self._consume(each.order)
                case Remedy.REFUND:
                    own = self.orders.get(each.order_id)
                    assert not own or own.payment_key != each.payment_key or own.status in ENDED
                    self._refund(each.payment_key)
                    self._change(each.payment_key, each.payment_ids, _given_back)
                case Remedy.CANCEL:
                    own = self.orders[each.order_id]
                    assert own.status is Status.CONFIRMED
                    self.orders[each.order_id] = order(each.payment_key, Status.CANCELLED)
                    self._refund(each.payment_key)
                case Remedy.END:
                    self._change(each.payment_key, each.payment_ids, _ended)

    def kept(self, key: str) -> Decimal:
        return sum((each.kept for each in self._of(key).intents), Decimal(0))

    def _of(self, key: str) -> Payment:
        return self.payments.get(key, Payment(key))

    def _set(self, key: str, **fields: Any) -> None:
        self.payments[key] = replace(self._of(key), **fields)

    def _change(self, key: str, names: Any, change: Any) -> None:
        changed = [change(each) if each.payment_id in names else each for each in self._of(key).intents]
        self._set(key, intents=tuple(changed))

    def _consume(self, own: Order) -> None:
        """The order goes on: it is confirmed if its payment is paid, and fails otherwise."""
        known = self.orders.get(own.order_id)
        assert known is None or (known == own and known.status in OPEN)
        at = self._of(own.payment_key)
        is_paid = at.row and at.row.state is RowState.OPEN and at.of_row and at.of_row.taken is Taken.YES
        self.orders[own.order_id] = order(own.payment_key, Status.CONFIRMED if is_paid else Status.FAILED)
        if not is_paid:
            self._refund(own.payment_key)

    def _refund(self, key: str) -> None:
        """As the port does it: by the row, and its intent alone."""
        at = self._of(key)
        if at.row is None:
            self._set(key, row=Row(RowState.CLOSED, "stripe"))
        elif at.row.state is RowState.OPEN and not (at.of_row and at.of_row.taken is Taken.UNDER_WAY):
            is_paid = at.of_row and at.of_row.taken is Taken.YES
            self._set(key, row=replace(at.row, state=RowState.REFUNDING if is_paid else RowState.CLOSED))
            self._change(key, [at.row.payment_id], _ended)
        if (row := self._of(key).row) and row.state is RowState.REFUNDING:
            self._change(key, [row.payment_id], _given_back)


def _given_back(each: Intent) -> Intent:
    return each if each.kept <= 0 or each.disputed else replace(each, refunded=each.refunded + each.kept)


def _ended(each: Intent) -> Intent:
    return replace(each, taken=Taken.NEVER) if each.taken is Taken.NOT_YET else each


PARTS = st.sampled_from([Decimal(0), Decimal(0), Decimal(0), Decimal(1), PRICE])


@st.composite
def _payments(draw: st.DrawFn, key: str | None = None, at: Any = (LATER,), hand: bool = True) -> Payment:
    """A payment in any state; `hand`: people and banks have been at it."""
    key = key or draw(KEYS)
    taken, parts = st.sampled_from(Taken), PARTS if hand else st.just(Decimal(0))
    names = draw(st.sampled_from([(), ("pi_1",), ("pi_1",), ("pi_1", "pi_2")]))
    made = [
        intent(
            key,
            name,
            draw(taken),
            draw(st.sampled_from(at)),
            amount=draw(st.sampled_from([PRICE, PRICE, Decimal(7)])) if hand else PRICE,
            refunded=draw(parts),
            withdrawn=draw(parts),
            disputed=draw(parts),
            is_explained=hand and draw(st.booleans()),
        )
        for name in names
    ]
    state = draw(st.sampled_from([None, *RowState]))
    return payment(key, state, *made)


def orders_at(*times: Any) -> st.SearchStrategy[dict[str, Order]]:
    """At most one order of each id, by id."""
    outbox = st.sampled_from([None, None, WAITING])
    made = st.lists(st.builds(order, KEYS, st.sampled_from(Status), st.sampled_from(times), outbox=outbox), max_size=3)
    return made.map(lambda found: {each.order_id: each for each in found})


def books(*at: Any, hand: bool = True) -> st.SearchStrategy[dict[str, Payment]]:
    listed = st.lists(_payments(at=at, hand=hand), max_size=5)
    return listed.map(lambda found: {each.payment_key: each for each in found})


def agree(own: Order | None, at: Payment) -> bool:
    """Whether order, row and provider say the same, as a person would ask it."""
    row, of_row, keeping = at.row, at.of_row, at.keeping
    ended = own is not None and own.status in ENDED
    unpaid = {each.payment_id for each in at.intents if each.taken is Taken.NOT_YET}
    if (own or row) and unpaid - {row.payment_id if row else None}:
        return False
    by_people = any(each.disputed or each.kept < 0 or (each.withdrawn and not ended) for each in at.intents)
    if len(keeping) > 1 or (by_people and not at.is_explained):
        return False
    if own is None:
        return not [each for each in keeping if not each.disputed] or (row is None and at.is_explained)
    if keeping and row is None and not ended:
        return False
    if own.outbox:
        return True
    if own.status in OPEN:
        return False  # for two days
    if ended:
        with_bank = any(each.disputed or each.withdrawn for each in at.intents)
        is_closed = row is None or row.state is not RowState.OPEN or with_bank
        return is_closed and all(each.disputed for each in keeping)
    is_cancelled = row is not None and row.state is RowState.REFUNDING and own.status is Status.CONFIRMED
    if is_cancelled:
        return False
    is_paid = row is not None and row.state is RowState.OPEN and of_row is not None and of_row.taken is Taken.YES
    as_asked = is_paid and of_row is not None and of_row.amount == own.total_amount and not of_row.refunded
    return as_asked or at.is_explained


@given(st.sampled_from([None, *Status]), st.sampled_from([None, WAITING]), _payments(key="o1.a"))
def test_what_is_named_is_exactly_what_does_not_agree(
    status: Status | None, outbox: OutboxEntry | None, at: Payment
) -> None:
    own = order("o1.a", status, outbox=outbox) if status else None
    found = World({"o1": own} if own else {}, {"o1.a": at}).found()
    assert (found == []) == agree(own, at), found


@given(orders_at(LATER, LONG_AGO), books(LATER, LONG_AGO))
def test_a_repair_mends_once_takes_nothing_and_gives_back_no_more_than_was_taken(
    orders: dict[str, Order], payments: dict[str, Payment]
) -> None:
    world = World(dict(orders), dict(payments))
    sold = {each.payment_key for each in orders.values() if each.status in SOLD}
    kept = {key: world.kept(key) for key in payments}
    goes_on = any(each.order or each.remedy is Remedy.CANCEL for each in world.found())
    world.repair()
    if goes_on:  # an order that was sent or cancelled has ended now, and may have left money in a payment closed before
        world.repair()
    for key, before in payments.items():
        after = world.payments[key]
        is_cancelled = before.row and before.row.state is RowState.REFUNDING
        if key in sold and not is_cancelled:
            assert world.kept(key) == kept[key]
        for was, now in zip(before.intents, after.intents, strict=True):
            assert now.kept <= was.kept or was.kept < 0
            assert now.kept >= min(was.kept, Decimal(0))
            assert now.taken is was.taken or (was.taken is Taken.NOT_YET and now.taken is Taken.NEVER)
    once = (dict(world.orders), dict(world.payments))
    world.repair()
    assert (world.orders, world.payments) == once
    under_way = {i.payment_key for p in payments.values() for i in p.intents if i.taken is Taken.UNDER_WAY}
    assert {each.remedy for each in world.found() if each.payment_key not in under_way} <= {Remedy.PEOPLE}


@given(orders_at(LATER), orders_at(LATER, LONG_AGO), books(LATER, LONG_AGO, None, hand=False))
def test_after_a_restore_nobody_is_charged_twice_and_no_sold_order_loses_its_money(
    orders: dict[str, Order], older: dict[str, Order], payments: dict[str, Payment]
) -> None:
    world = World(dict(orders), dict(payments), older)
    sold = {each.payment_key for each in orders.values() if each.status in SOLD}
    rows = {key: each.row for key, each in payments.items() if each.row}
    paid = {key for key in sold & rows.keys() if rows[key].state is RowState.OPEN}
    unknown = {key for key in payments if payments[key].order_id not in orders.keys() | older.keys()}
    old = {key for key in unknown if all(each.at != LATER for each in payments[key].intents)}
    kept = {key: world.kept(key) for key in paid | old}
    for _ in range(2):  # the payment of an order that failed is closed first; then its key can be taken again
        world.repair()
    assert {key: world.kept(key) for key in paid | old} == kept
    under_way = {i.payment_key for p in payments.values() for i in p.intents if i.taken is Taken.UNDER_WAY}
    assert {each.remedy for each in world.found() if each.payment_key not in under_way} <= {Remedy.PEOPLE}


@given(orders_at(LATER), orders_at(LATER, LONG_AGO), books(LATER, hand=False))
def test_every_lost_order_is_found_if_it_can_be(
    orders: dict[str, Order], older: dict[str, Order], payments: dict[str, Payment]
) -> None:
    found = World(orders, payments, older).found()
    sent = {each.order_id for each in found if each.what == "the restored table has lost it"}
    for order_id, lost in older.items():
        at = payments.get(lost.payment_key, Payment(lost.payment_key))
        is_open = at.row is not None and at.row.state is RowState.OPEN
        if order_id in orders:
            assert order_id not in sent
        elif lost.status in OPEN:
            assert order_id in sent
        elif lost.updated_at == LONG_AGO:
            assert order_id not in sent, "it has expired"
        elif lost.status in SOLD:
            assert (order_id in sent) == (is_open and at.of_row is not None and at.of_row.taken is Taken.YES)
        else:
            assert (order_id in sent) == (at.row is not None and not is_open), "or it would be charged"


def test_what_cannot_be_read_keeps_its_money() -> None:
    both = [paid("o1.a"), paid("o2.a")]
    assert [each.order_id for each in differences(PERIOD, both, KnownOrders({}, ["o1"]))] == ["o2"]
    lost = KnownOrders({"o1": order("o1.a", Status.CONFIRMED)})
    assert [each.order_id for each in differences(PERIOD, both, KnownOrders({}, ["o1"]), lost)] == ["o2"]
    unseen = replace(payment(), is_seen=False)
    assert differences(PERIOD, [unseen], KnownOrders({"o1": order("o1.a", Status.CONFIRMED)})) == []


@pytest.mark.parametrize("status", OPEN)
def test_an_order_is_left_behind_after_a_day_without_an_outbox_entry(status: Status) -> None:
    own = KnownOrders({"o1": order("o1.a", status)})
    (found,) = differences(PERIOD, [paid()], own)
    assert (found.remedy, found.order) == (Remedy.SEND, own.readable["o1"])
    assert differences(replace(PERIOD, now=LATER + timedelta(hours=23)), [paid()], own) == []


def test_an_intent_that_is_in_no_row_is_given_a_day() -> None:
    stray = intent(name="pi_2", taken=Taken.NOT_YET)
    at, own = payment("o1.a", RowState.OPEN, intent(), stray), KnownOrders({"o1": order("o1.a", Status.CONFIRMED)})
    (found,) = differences(PERIOD, [at], own)
    assert (found.remedy, found.payment_ids) == (Remedy.END, ("pi_2",))
    assert differences(replace(PERIOD, now=LATER + timedelta(hours=23)), [at], own) == []
    assert differences(PERIOD, [payment("o1.a", None, stray)], KnownOrders()) == [], "it may be another stage's"


@pytest.mark.parametrize("at", [LONG_AGO, None])
def test_the_payments_of_expired_orders_are_kept(at: Any) -> None:
    old = payment("o1.a", RowState.OPEN, intent(at=at))
    assert differences(PERIOD, [old], KnownOrders()) == []
    disputed = replace(old, intents=(intent(at=at, disputed=PRICE),))
    (found,) = differences(PERIOD, [disputed], KnownOrders())
    assert (found.what, found.remedy) == (
        f"the order does not exist, and {PRICE} of {PRICE} USD is disputed",
        Remedy.PEOPLE,
    )


@given(paid=st.integers(0, 400), more=st.integers(0, 400), ended=st.integers(0, 400), row=st.booleans())
def test_no_order_that_has_expired_loses_its_money_however_long_ago_is_asked_for(
    paid: int, more: int, ended: int, row: bool
) -> None:
    """Its order ended `ended` hours later, and was deleted 22 days after that, the shortest time that may be set."""
    at, since = LATER - timedelta(hours=paid * 12), LATER - timedelta(hours=(paid + more) * 12)
    is_expired = at + timedelta(hours=ended) + timedelta(days=22) <= LATER
    found = differences(
        Period(since, LATER), [payment("o1.a", RowState.OPEN if row else None, intent(at=at))], KnownOrders()
    )
    assert {each.remedy for each in found} <= ({Remedy.PEOPLE} if is_expired else {Remedy.PEOPLE, Remedy.REFUND})
    assert found, "or nobody would hear of it"


def test_a_sold_order_that_nothing_has_happened_to_is_not_asked_for() -> None:
    """Its intent is older than what was listed."""
    old = order("o1.a", Status.DELIVERED, LONG_AGO)
    assert differences(PERIOD, [payment()], KnownOrders({"o1": old})) == []
    assert differences(PERIOD, [], KnownOrders({"o1": old})) == []


def test_money_that_was_taken_twice_comes_first() -> None:
    twice = payment("o2.a", RowState.OPEN, intent("o2.a"), intent("o2.a", "pi_2"))
    others = {name: order(f"{name}.a", Status.CONFIRMED) for name in ("o1", "o2")}
    first, second = differences(PERIOD, [payment("o1.a"), twice], KnownOrders(others))
    assert (first.what, first.remedy) == (
        "MONEY IS TAKEN TWICE, and the order is CONFIRMED",
        Remedy.PEOPLE,
    )
    assert (first.payment_ids, second.order_id) == (("pi_1", "pi_2"), "o1")
    explained = replace(twice, intents=tuple(replace(each, is_explained=True) for each in twice.intents))
    assert differences(PERIOD, [explained], KnownOrders({"o2": others["o2"]}))[0].is_worst
    (found,) = differences(PERIOD, [twice], KnownOrders({"o2": order("o2.a", Status.FAILED)}))
    assert (found.what, found.remedy, found.is_worst) == (
        "MONEY IS TAKEN TWICE: charged, but the order is FAILED",
        Remedy.REFUND,
        True,
    )


def test_an_intent_whose_row_is_lost_is_the_oldest_that_was_paid() -> None:
    at = payment("o1.a", None, intent(name="pi_2", at=LONG_AFTER), intent())
    found = differences(PERIOD, [at], KnownOrders({"o1": order("o1.a", Status.RESERVED, outbox=WAITING)}))
    assert [(each.remedy, each.payment_ids) for each in found] == [
        (Remedy.PEOPLE, ("pi_2", "pi_1")),
        (Remedy.REBUILD, ("pi_1",)),
    ]


ROWS: list[tuple[Status | None, Payment, str, Remedy]] = [
    (Status.CONFIRMED, refunded(), "CONFIRMED, but refunded", Remedy.CANCEL),
    (Status.SHIPPED, refunded(), "SHIPPED, but refunded", Remedy.PEOPLE),
    (Status.CONFIRMED, payment("o1.a", RowState.CLOSED), "CONFIRMED, but the payment is CLOSED", Remedy.PEOPLE),
    (Status.DELIVERED, payment("o1.a", None), "DELIVERED, but not charged", Remedy.PEOPLE),
    (Status.CONFIRMED, payment(), "CONFIRMED, but not charged", Remedy.PEOPLE),
    (
        Status.CONFIRMED,
        payment("o1.a", RowState.OPEN, intent(name="pi_2")),
        "CONFIRMED, but paid by an intent that is not the row's",
        Remedy.PEOPLE,
    ),
    (
        Status.CONFIRMED,
        payment("o1.a", RowState.OPEN, intent(amount=Decimal("1.00"))),
        f"charged 1.00 USD, but the order is over {PRICE} USD",
        Remedy.PEOPLE,
    ),
    (
        Status.SHIPPED,
        payment("o1.a", RowState.OPEN, intent(refunded=Decimal("1.00"))),
        f"SHIPPED, but 1.00 of {PRICE} USD was refunded by hand",
        Remedy.PEOPLE,
    ),
    (
        Status.SHIPPED,
        payment("o1.a", RowState.OPEN, intent(withdrawn=PRICE)),
        f"SHIPPED, and {PRICE} of {PRICE} USD was lost in a dispute",
        Remedy.PEOPLE,
    ),
    (
        Status.FAILED,
        payment("o1.a", RowState.REFUNDING, intent(refunded=PRICE, withdrawn=PRICE)),
        f"FAILED, and {PRICE} USD more was given back than taken",
        Remedy.PEOPLE,
    ),
    (
        Status.CANCELLED,
        payment("o1.a", RowState.REFUNDING, intent()),
        "charged, but the order is CANCELLED",
        Remedy.REFUND,
    ),
    (Status.FAILED, paid(), "charged, but the order is FAILED", Remedy.REFUND),
    (
        Status.FAILED,
        payment("o1.a", RowState.OPEN, intent(taken=Taken.NOT_YET)),
        "not closed, but the order is FAILED",
        Remedy.REFUND,
    ),
    (None, paid(), "charged, but the order does not exist", Remedy.REFUND),
    (None, paid("o1.b"), "charged, but the order does not exist", Remedy.REFUND),
    (
        None,
        payment("o1.a", None, intent()),
        "charged, but the order does not exist, nor a row: is it another stage's?",
        Remedy.PEOPLE,
    ),
    (Status.CONFIRMED, payment("o1.a", None, intent()), "CONFIRMED, and charged, but its row is lost", Remedy.REBUILD),
]


@pytest.mark.parametrize(("status", "at", "what", "remedy"), ROWS)
def test_what_differs_is_said_in_words(status: Status | None, at: Payment, what: str, remedy: Remedy) -> None:
    own = {"o1": order("o1.a", status)} if status else {}
    (found,) = differences(PERIOD, [at], KnownOrders(own))
    assert (found.what, found.remedy) == (what, remedy)
    if remedy is Remedy.PEOPLE and at.intents:
        explained = replace(at, intents=tuple(replace(each, is_explained=True) for each in at.intents))
        assert differences(PERIOD, [explained], KnownOrders(own)) == []


def test_a_payment_of_another_creation_of_the_order_is_said_as_such() -> None:
    own = {"o1": order("o1.a", Status.CONFIRMED)}
    (found,) = differences(PERIOD, [paid(), paid("o1.b")], KnownOrders(own))
    assert (found.what, found.payment_key, found.remedy) == (
        "charged, but the order has another payment",
        "o1.b",
        Remedy.REFUND,
    )


def test_an_intent_is_joined_to_its_row_and_replaces_what_was_known_of_it() -> None:
    newer = intent(refunded=PRICE)
    assert joined([paid()], [newer, intent("o2.a")]) == [
        payment("o1.a", RowState.OPEN, newer),
        Payment("o2.a", None, (intent("o2.a"),)),
    ]
