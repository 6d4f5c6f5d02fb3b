"""Stripe with the stage's secret key, which is read where the setting STRIPE_KEY says. The key goes nowhere else."""

import re
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from chalicelib import telemetry
from chalicelib.adapters import clients
from chalicelib.adapters.aws_faults import faults
from chalicelib.adapters.stripe_api import StripeApi
from chalicelib.faults import PaymentUnknown, Rejected, Unavailable
from chalicelib.settings import PRODUCTION
from chalicelib.times import Clock

PAUSE = timedelta(seconds=30)
"""From one reading to the next at least: while the key is bad, each payment would ask for it."""

_KEY = re.compile(r"[sr]k_(live|test)_\w{1,500}", re.ASCII)


def fault_of_key(key: str, stage: str) -> str | None:
    """Why this is not the key of a stage, in words that do not have it; None: it is."""
    found = _KEY.fullmatch(key)
    if not found:
        return "what is there is not a secret key of Stripe"
    if (found[1] == "live") is not (stage == PRODUCTION):
        return f"what is there is a {found[1]} key, and the stage is {stage}"
    return None


def read_secret(place: str) -> str:
    """The secret at `secretsmanager:NAME` or `ssm:NAME`. Raises Unavailable, Rejected."""
    store, _, name = place.partition(":")
    with faults():
        return secret_in(store, clients.ssm() if store == "ssm" else clients.secretsmanager(), name)


def secret_in(store: str, client: Any, name: str) -> str:
    """The secret of this name in `secretsmanager` or `ssm`, by a client of that. Raises ClientError."""
    if store == "ssm":
        return str(client.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])
    return str(client.get_secret_value(SecretId=name).get("SecretString", ""))


class StripeAccount:
    """The account that the key opens. The key is read at its first use, and again once Stripe has refused it.

    Without a usable one everything is PaymentUnknown, and an error in the log says why: orders wait until the secret
    is right, and then go on by themselves.
    """

    def __init__(self, place: str, stage: str, address: str, clock: Clock) -> None:
        self._place, self._stage, self._address, self._clock = place, stage, address, clock
        self._lock = Lock()
        self._api: StripeApi | None = None
        self._key, self._fault, self._is_due = "", "", True
        self._read_at: datetime | None = None

    def api(self) -> StripeApi:
        """Stripe, by the key that is known. Raises PaymentUnknown."""
        with self._lock:  # payments begin side by side: one of them reads
            now = self._clock()
            if self._is_due and (self._read_at is None or now - self._read_at >= PAUSE):
                self._read_at = now
                self._read()
            if self._api is None:
                raise PaymentUnknown(self._fault)
            return self._api

    def _read(self) -> None:
        try:
            key = read_secret(self._place).strip() if self._place else ""
            fault = fault_of_key(key, self._stage) if self._place else "the setting is missing"
        except (Unavailable, Rejected) as failed:
            key, fault = "", str(failed)
        self._is_due = fault is not None
        if fault is not None:
            self._api = None
            self._report(fault)
        elif self._api is None or key != self._key:
            self._api = StripeApi(key, self._address, key_refused=lambda: self._refused(key))
        self._key = key

    def _refused(self, key: str) -> None:
        """Stripe does not take this key any more."""
        with self._lock:
            if key == self._key and not self._is_due:
                self._is_due = True
                self._report("Stripe refuses the key there")

    def _report(self, fault: str) -> None:
        self._fault = f"no key for Stripe: STRIPE_KEY={self._place}: {fault}"
        telemetry.error("no key for Stripe", setting="STRIPE_KEY", place=self._place, reason=fault)
