"""What nobody expects of the world, as exceptions of this project: what may pass, and what will not."""


class Unavailable(Exception):
    """A service did not answer, or throttled past the retries. What was asked for may or may not have taken effect."""


class Unreadable(Unavailable):
    """An order that this release cannot read: a newer one may have written it."""


class Rejected(Exception):
    """A service refuses the call as such (too large, not allowed …): the same call would be refused again.

    `code` is the service's own word for the reason.
    """

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class PaymentUnknown(Exception):
    """No clear answer: it may have taken effect, or still may, or never will. Ask again with the same order id."""


class OtherProvider(PaymentUnknown):
    """The payment is with another provider, `provider`: only that one knows what became of it."""

    def __init__(self, payment_key: str, provider: str) -> None:
        super().__init__(f"the payment {payment_key} is with another provider: {provider}")
        self.provider = provider
