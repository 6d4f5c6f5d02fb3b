"""A claim lends an order id to a request without a key until its window is over: on moto and on a real engine."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from chalicelib.adapters.dynamodb.claims import ClaimTable
from tests.support.aws_calls import AwsCalls
from tests.support.orders import NOW
from tests.support.stage import Stage
from tests.support.tables import claims_beside, repository_on

WINDOW = timedelta(hours=1)


@pytest.fixture
def claims(each_aws: Stage, aws_calls: AwsCalls) -> ClaimTable:
    return claims_beside(repository_on(each_aws, aws_calls))


def test_a_claim_has_its_order_id_until_its_window_is_over_swept_up_or_not(claims: ClaimTable) -> None:
    last, over = NOW + WINDOW - timedelta(seconds=1), NOW + WINDOW
    assert claims.claim_order_id("c1", "o1", NOW, WINDOW) == "o1"
    # Asking again does not lengthen the window.
    assert claims.claim_order_id("c1", "o2", last, WINDOW) == "o1"
    assert [claims.claimed_order_id("c1", at) for at in (NOW, last, over)] == ["o1", "o1", None]
    assert claims.claim_order_id("c1", "o3", over, WINDOW) == "o3"
    assert claims.claimed_order_id("c1", over) == "o3"
    assert claims.claimed_order_id("c2", NOW) is None


def test_a_claim_is_replaced_on_condition_of_the_old_id(claims: ClaimTable) -> None:
    claims.claim_order_id("c1", "o1", NOW, WINDOW)
    assert claims.claim_order_id("c1", "o2", NOW, WINDOW, instead_of="o1") == "o2"
    assert claims.claim_order_id("c1", "o3", NOW, WINDOW, instead_of="o1") == "o2"


@pytest.mark.parametrize("instead_of", [None, "o0"])
def test_a_claim_whose_answer_was_lost_is_ones_own(
    claims: ClaimTable, aws_calls: AwsCalls, instead_of: str | None
) -> None:
    if instead_of:
        claims.claim_order_id("c1", instead_of, NOW, WINDOW)
    aws_calls.lose_answer("PutItem")
    assert claims.claim_order_id("c1", "o1", NOW, WINDOW, instead_of) == "o1"
    assert aws_calls.made[-1].attempts == 2


def test_of_many_claims_at_once_all_get_one_id(real_aws: Stage, aws_calls: AwsCalls) -> None:
    claims = claims_beside(repository_on(real_aws, aws_calls))
    with ThreadPoolExecutor(16) as pool:
        (old,) = set(pool.map(lambda n: claims.claim_order_id("c1", f"o{n}", NOW, WINDOW), range(16)))
        (new,) = set(pool.map(lambda n: claims.claim_order_id("c1", f"x{n}", NOW, WINDOW, old), range(16)))
    assert new != old


def test_a_claim_is_read_consistently(claims: ClaimTable, aws_calls: AwsCalls) -> None:
    claims.claimed_order_id("c1", NOW)
    assert [call.params["ConsistentRead"] for call in aws_calls.made] == [True]
