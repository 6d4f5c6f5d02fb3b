"""The laws of `tests/support/conservation.py` can fail with Stripe too: each mistake in its adapter breaks one."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count, repeat, takewhile
from pathlib import Path
from typing import Any

import pytest

from tests.faults.planted import Planted
from tests.faults.scenarios import Trial, trial
from tests.support import providers
from tests.support.stage import Stage
from tests.support.template import ROOT
from tests.use_cases.test_restores import Restores

pytestmark = pytest.mark.usefixtures("quiet")

Suite = Callable[[Stage], object]
"""A part of the tests: what they do with a stage."""


def _undisturbed(one: Trial) -> None:
    one.calls()


def _overtaken(one: Trial) -> None:
    for call in one.calls():
        one.overtaken(call.number)


def _pays_too_late(one: Trial) -> None:
    list(takewhile(one.pays_too_late, count()))


def _in_processing(one: Trial) -> None:
    assert one.world.stripe
    one.world.stripe.fake.cards_do = repeat("processing")
    one.calls()


def _trial(scenario: str, play: Callable[[Trial], object]) -> Suite:
    def suite(stage: Stage) -> None:
        with trial(stage, scenario, "stripe") as one:
            play(one)

    return suite


def _restores(seeds: Iterable[int]) -> Suite:
    def suite(stage: Stage) -> None:
        for seed in seeds:
            restores = Restores(stage, seed, "stripe")
            try:
                restores.run()
            finally:
                restores.world.close()

    return suite


WAITS = _trial("fulfil one", _in_processing)
GIVEN_UP_AT_ONCE = _trial("cancel, PENDING", _undisturbed)


@dataclass(frozen=True)
class Mistake:
    """`planted` makes `suite` fail."""

    planted: Planted
    suite: Suite


def _mistake(mistake: str, right: str, wrong: str, suite: Suite) -> Mistake:
    return Mistake(Planted(mistake, "adapters/stripe_payments.py", right, wrong), suite)


MISTAKES = (
    _mistake(
        "whoever comes second pays an intent of its own",
        '        if row.get("paymentId") != intent:\n            with suppress(PaymentUnknown):\n'
        "                self.api.end(intent)\n        return row\n",
        '        return row | {"paymentId": intent}\n',
        _trial("fulfil one", _overtaken),
    ),
    _mistake(
        "declined is answered before the intent is cancelled",
        '        return self._outcome(row, self.api.end(row["paymentId"]), reason)\n',
        "        return Declined(reason)\n",
        _trial("fulfil one", _pays_too_late),
    ),
    _mistake(
        "a payment in processing is declined",
        '        if status not in ("succeeded", "canceled"):\n            raise',
        "        if False:\n            raise",
        WAITS,
    ),
    _mistake(
        "a refund of what nobody charged leaves no row",
        "row = self.ledger.enter(payment_key, CLOSED, reason=_IS_CLOSED)",
        "row = self.ledger.get(payment_key)",
        GIVEN_UP_AT_ONCE,
    ),
    _mistake(
        "a refund leaves the intent to be paid",
        'self._ended(row, self.api.end(row["paymentId"])) == "succeeded"',
        'self.api.status(row["paymentId"]) == "succeeded"',
        _trial("refund of nothing", _undisturbed),
    ),
    _mistake(
        "a refund does not close the payment",
        "            self.ledger.change(payment_key, _OPEN, _REFUNDING if taken else CLOSED, _IS_CLOSED)\n",
        "",
        _trial("refund", _undisturbed),
    ),
    _mistake(
        "a pending refund is done",
        'return Refunded(intent) if cents(refunds, "succeeded") >= owed else RefundPending()',
        "return Refunded(intent)",
        _trial("refund", _undisturbed),
    ),
    _mistake(
        "what is being given back is still charged",
        'None: its intent decides. Raises PaymentUnknown for another amount."""\n    if row["state"] != _OPEN:\n',
        'None: its intent decides."""\n    if row["state"] in (CLOSED, DECLINED):\n',
        _restores(range(4)),
    ),
)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.planted.mistake)
def test_a_mistake_in_the_adapter_breaks_a_promise(
    real_tables: Stage, monkeypatch: pytest.MonkeyPatch, mistake: Mistake
) -> None:
    monkeypatch.setattr(providers, "StripePayments", _with(mistake.planted))
    with pytest.raises(AssertionError) as broken:
        mistake.suite(real_tables)
    assert Path(broken.traceback[-1].path).name in ("conservation.py", "providers.py", "test_restores.py")


@pytest.mark.parametrize("suite", [WAITS, GIVEN_UP_AT_ONCE], ids=["in processing", "given up at once"])
def test_without_a_mistake_every_promise_is_kept(real_tables: Stage, suite: Suite) -> None:
    """The other suites are run elsewhere: they are parts of them."""
    suite(real_tables)


def _with(planted: Planted) -> Any:
    """The adapter with the mistake."""
    text = (ROOT / "chalicelib" / planted.file).read_text("utf-8")
    assert text.count(planted.right) == 1, f"{planted.mistake}: {planted.file} has changed"
    module: dict[str, Any] = {"__name__": "chalicelib.adapters.stripe_payments"}
    exec(compile(text.replace(planted.right, planted.wrong), planted.file, "exec"), module)
    return module["StripePayments"]
