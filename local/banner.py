"""What the person who has started the stack reads."""

from pathlib import Path

from local import api_reference

METHOD = "pm_card_visa"
"""A payment method of Stripe's test mode that pays (Stripe documentation, "Test card numbers": PaymentMethods)."""


def banner(
    api: str,
    aws: str,
    queue_urls: list[str],
    data: Path | None,
    seconds: float,
    opened: list[str] | None,
    *,
    needs_method: bool,
) -> str:
    """Where everything is, who may call and what to try. `opened`: the routes that ask for no token; None: all."""
    method = f'"paymentMethod": "{METHOD}", ' if needs_method else ""
    queues = "\n".join(f"  order queue   {url}" for url in queue_urls)
    kept = f"The data is kept in {data}." if data else "Everything is in memory, so all data is lost then."
    return f"""
OrderOnce is up, in {seconds:.1f} s.
  API           {api}
  embedded AWS  {aws}
{queues}
  reference     {api}{api_reference.PATH}
{_without_a_token(api, method) if opened is None else _with_a_token(api, aws, opened, method)}
{_by_stripe(aws) if needs_method else ""}
Ctrl-C ends it. {kept}
"""


def _by_stripe(aws: str) -> str:
    return f"""\
Orders are paid by Stripe, and wait for a test key. Give it with
  AWS_PORT={aws.rpartition(":")[2]} .venv/bin/python -m local stripe-key
"""


def _without_a_token(api: str, method: str) -> str:
    return f"""\
Anybody who can reach these ports has access: this stage does not authenticate.

Place an order (repeat it as often as you like: with the same key it stays one order):
  curl -i {api}/orders -H 'Content-Type: application/json' -H 'Idempotency-Key: first-try' \\
    -d '{{"customerId": "CUST-42", {method}"totalAmount": 59.98,
         "items": [{{"productId": "PROD-001", "quantity": 2}}]}}'
See the result:
  curl -s '{api}/customers/CUST-42/orders'; echo"""


def _with_a_token(api: str, aws: str, opened: list[str], method: str) -> str:
    """A customer need not say who he is: the token does."""
    return f"""\
The API asks for an access token of this stack's user pool; open to everybody: {", ".join(opened)}.
Anybody who can reach the port of the embedded AWS has access to it; no other machine can.

Get a token, good for an hour (--operator and --service get others):
  token=$(AWS_PORT={aws.rpartition(":")[2]} .venv/bin/python -m local token --customer alice)
Place an order (repeat it as often as you like: with the same key it stays one order):
  curl -i {api}/orders -H "Authorization: Bearer $token" \\
    -H 'Content-Type: application/json' -H 'Idempotency-Key: first-try' \\
    -d '{{{method}"totalAmount": 59.98, "items": [{{"productId": "PROD-001", "quantity": 2}}]}}'
See the result:
  curl -s '{api}/customers/alice/orders' -H "Authorization: Bearer $token"; echo"""
