"""Stripe's books as the service reads them: all pages, whoever did it, however long ago it may still change."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from chalicelib.adapters.stripe_books import StripeBooks
from chalicelib.deadline import NO_DEADLINE, Deadline
from chalicelib.domain.books import Intent, Taken
from chalicelib.faults import PaymentUnknown
from chalicelib.use_cases.ports import OutOfTime
from tests.support.stripe_fake import StripeFake
from tests.support.stripe_shop import direct_api

NOW = datetime(2026, 11, 1, tzinfo=UTC)
KEY = "o1.aaaa"


@pytest.fixture
def fake() -> StripeFake:
    return StripeFake(NOW)


@pytest.fixture
def books(fake: StripeFake) -> StripeBooks:
    return StripeBooks(direct_api(fake))


def made(books: StripeBooks, key: str = KEY) -> str:
    return books.api.create(key, Decimal("50.00"), "USD", None)


def paid(books: StripeBooks, fake: StripeFake, key: str = KEY) -> str:
    intent = made(books, key)
    books.api.confirm(intent, fake.add_method())
    return intent


def listed(books: StripeBooks, since: datetime = NOW) -> dict[str, Intent]:
    return {intent.payment_id: intent for intent in books.payments(since, NO_DEADLINE)}


def test_an_intent_says_what_was_taken_and_whether_it_still_can_be(fake: StripeFake, books: StripeBooks) -> None:
    waits, ended, is_paid = made(books), made(books), paid(books, fake)
    under_way = made(books)
    books.api.end(ended)
    books.api.confirm(under_way, fake.add_method("processing"))
    taken = {waits: Taken.NOT_YET, ended: Taken.NEVER, is_paid: Taken.YES, under_way: Taken.UNDER_WAY}
    found = listed(books)
    assert {name: intent.taken for name, intent in found.items()} == taken
    assert found[is_paid] == Intent(is_paid, KEY, Taken.YES, Decimal("50.00"), "USD", NOW)
    assert all(books.of(name) == intent for name, intent in found.items())


def test_every_page_is_read(fake: StripeFake, books: StripeBooks) -> None:
    names = [paid(books, fake, f"o{n}.a") for n in range(101)]
    for name in names:
        fake.refund_by_hand(name, 100)
        fake.dispute(name, amount=200)
    found = listed(books)
    assert set(found) == set(names)
    assert {(i.refunded, i.disputed) for i in found.values()} == {(Decimal(1), Decimal(2))}


def test_what_is_refunded_or_disputed_now_is_found_however_old_its_intent_is(
    fake: StripeFake, books: StripeBooks
) -> None:
    old = [paid(books, fake, f"o{n}.a") for n in range(3)]
    fake.advance(timedelta(days=200))
    fake.refund_by_hand(old[0])
    fake.dispute(old[1])
    assert set(listed(books, fake.now)) == set(old[:2])


@pytest.mark.parametrize(("days", "is_found"), [(34, True), (36, False)])
def test_a_refund_is_watched_for_as_long_as_it_may_fail(
    fake: StripeFake, books: StripeBooks, days: int, is_found: bool
) -> None:
    intent = paid(books, fake)
    fake.refund_by_hand(intent)
    fake.advance(timedelta(days=days))
    fake.fail_refunds(intent)
    kept = {name: found.kept for name, found in listed(books, fake.now).items()}
    assert kept == ({intent: Decimal(50)} if is_found else {})


@pytest.mark.parametrize(
    ("status", "disputed", "withdrawn"),
    [
        ("needs_response", 50, 0),
        ("under_review", 50, 0),
        ("lost", 0, 50),
        ("won", 0, 0),
        ("warning_needs_response", 0, 0),
    ],
)
def test_a_dispute_is_under_way_or_lost_or_of_no_effect(
    fake: StripeFake, books: StripeBooks, status: str, disputed: int, withdrawn: int
) -> None:
    intent = paid(books, fake)
    fake.dispute(intent, status)
    (found,) = listed(books).values()
    assert (found.disputed, found.withdrawn, found.kept) == tuple(map(Decimal, (disputed, withdrawn, 50 - withdrawn)))


def test_intents_that_name_no_payment_are_none_of_ours(fake: StripeFake, books: StripeBooks) -> None:
    intent = paid(books, fake)
    fake.intents[intent]["metadata"] = {}
    fake.refund_by_hand(intent, 1)
    assert listed(books) == {}
    assert books.of(intent) is None
    assert books.of("pi_other") is None


def test_people_say_that_they_know_what_differs_by_metadata(fake: StripeFake, books: StripeBooks) -> None:
    intent = paid(books, fake)
    assert not listed(books)[intent].is_explained
    fake.intents[intent]["metadata"]["reconciled"] = "goodwill"
    assert listed(books)[intent].is_explained


def test_without_time_it_says_so_after_what_it_has_seen(fake: StripeFake, books: StripeBooks) -> None:
    intent, pages = paid(books, fake), iter((9, 9, 0))
    found: list[Intent] = []
    with pytest.raises(OutOfTime):
        found.extend(books.payments(NOW, Deadline(lambda: next(pages), 1)))
    assert [each.payment_id for each in found] == [intent]


def test_giving_back_gives_what_is_left_and_never_more(fake: StripeFake, books: StripeBooks) -> None:
    intent = paid(books, fake)
    fake.refund_by_hand(intent, 2000)
    for _ in range(3):
        books.give_back(intent)
    assert [refund["amount"] for refund in fake.refunds_of(intent)] == [2000, 3000]
    fake.fail_refunds(intent)
    books.give_back(intent)
    assert fake.money(KEY) == 0
    books.give_back(made(books))
    books.give_back("pi_other")


def test_what_stripe_does_not_give_back_is_unknown(fake: StripeFake, books: StripeBooks) -> None:
    intent = paid(books, fake)
    fake.dispute(intent)
    with pytest.raises(PaymentUnknown, match=intent):
        books.give_back(intent)


def test_an_intent_that_is_ended_is_never_paid_and_a_paid_one_stays(fake: StripeFake, books: StripeBooks) -> None:
    waits, is_paid = made(books), paid(books, fake)
    books.end(waits)
    books.end(is_paid)
    assert [found.taken for found in (books.of(waits), books.of(is_paid)) if found] == [Taken.NEVER, Taken.YES]


def test_a_search_finds_what_is_older_than_a_moment(fake: StripeFake, books: StripeBooks) -> None:
    intent = made(books)
    assert books.search(KEY) == []
    fake.advance(timedelta(minutes=2))
    assert books.search(KEY) == [intent]
    assert books.search("o2.b") == []
