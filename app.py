"""OrderOnce: the routes, the queue's consumer and the schedules. What each does is in chalicelib/."""

from typing import Any

from chalice import Chalice, Rate, Response
from chalice.app import CloudWatchEvent, SQSEvent

from chalicelib import settings, telemetry
from chalicelib.deadline import Deadline
from chalicelib.entrypoints import api, health, http, openapi, products
from chalicelib.providers import SIMULATED
from chalicelib.service import service

SETTINGS = settings.checked_at_import()
app = Chalice(app_name="orderonce", configure_logs=False)
app.api.binary_types = []  # none comes in or goes out: Chalice would look for one in each request and answer
AUTH = http.authorizer(SETTINGS)
CORS = http.cors(SETTINGS.cors_origin)
app.register_middleware(telemetry.per_invocation, "all")
app.register_middleware(http.correlation_id_for_all, "http")
app.register_middleware(http.problems_for_chalices_errors, "http")


@app.route("/orders", methods=["POST"], content_types=["*/*"], cors=CORS, authorizer=AUTH)
def place_order() -> Response:
    """Place an order, once however often it is sent."""
    return http.answered(app.current_request, lambda request: api.place_order(service(), request))


@app.route("/orders/{order_id}", methods=["GET"], cors=CORS, authorizer=AUTH)
def get_order(order_id: str) -> Response:
    """The order as it is now."""
    return http.answered(app.current_request, lambda request: api.get_order(service(), request, order_id))


@app.route("/orders/{order_id}/cancel", methods=["POST"], content_types=["*/*"], cors=CORS, authorizer=AUTH)
def cancel_order(order_id: str) -> Response:
    """Give an order up, as long as it is not shipped."""
    return http.answered(app.current_request, lambda request: api.cancel_order(service(), request, order_id))


@app.route("/orders/{order_id}/ship", methods=["POST"], content_types=["*/*"], cors=CORS, authorizer=AUTH)
def ship_order(order_id: str) -> Response:
    """The goods leave; for the operator."""
    return http.answered(app.current_request, lambda request: api.ship_order(service(), request, order_id))


@app.route("/orders/{order_id}/deliver", methods=["POST"], content_types=["*/*"], cors=CORS, authorizer=AUTH)
def deliver_order(order_id: str) -> Response:
    """The goods have arrived; for the operator."""
    return http.answered(app.current_request, lambda request: api.deliver_order(service(), request, order_id))


@app.route("/customers/{customer_id}/orders", methods=["GET"], cors=CORS, authorizer=AUTH)
def list_orders(customer_id: str) -> Response:
    """A customer's orders, newest first, or the order of an idempotency key."""
    return http.answered(app.current_request, lambda request: api.list_orders(service(), request, customer_id))


@app.route("/products", methods=["GET"], cors=CORS)
def list_products() -> Response:
    """What can be bought; open to everybody."""
    return http.answered(app.current_request, lambda request: products.list_products(service(), request))


@app.route("/health", methods=["GET"], cors=CORS)
def get_health() -> Response:
    """Whether the API answers; open to everybody."""
    return http.answered(app.current_request, lambda _: health.health())


@app.route("/openapi.json", methods=["GET"], cors=CORS)
def get_openapi() -> Response:
    """What the API takes and answers (OpenAPI 3.1); open to everybody."""
    return http.answered(app.current_request, openapi.get_openapi)


@app.on_sqs_message(
    queue=SETTINGS.order_queue,
    batch_size=SETTINGS.batch_size,
    maximum_batching_window_in_seconds=SETTINGS.batching_window,
    maximum_concurrency=SETTINGS.max_concurrency,
)
def order_consumer(event: SQSEvent) -> None:
    """Fulfil the orders of a batch of messages."""
    from chalicelib.entrypoints import messages  # the API's cold start has no use for it

    batch = messages.read_records(service(), event.to_dict()["Records"])
    service().consumer.consume(batch, Deadline.from_context(event.context))


if SETTINGS.engine == "step-functions":

    @app.lambda_function(name="saga_step")
    def saga_step(event: dict[str, Any], context: Any) -> dict[str, Any]:
        """One step of the saga for one order: a task of the state machine in .chalice/saga.asl.json."""
        from chalicelib.entrypoints import saga_steps  # see above

        return saga_steps.saga_step(service(), event, Deadline.from_context(context))


@app.schedule(Rate(1, unit=Rate.MINUTES))
def recover(event: CloudWatchEvent) -> None:
    """Retry the orders whose message was never sent, or lost."""
    service().recovery.recover(Deadline.from_context(event.context))


@app.schedule(Rate(1, unit=Rate.MINUTES))
def dead_letter_monitor(event: CloudWatchEvent) -> None:
    """Report how many messages could not be handled."""
    service().monitor.watch(event.to_dict()["account"])


if SETTINGS.payments != SIMULATED:

    @app.schedule(Rate(1, unit=Rate.DAYS))
    def reconcile_payments(event: CloudWatchEvent) -> None:
        """Report where the payments of the last days, the ledger and the orders differ."""
        service().reconciling.report(Deadline.from_context(event.context))


@app.lambda_function(name="replay_dead_letters")
def replay_dead_letters(event: dict[str, Any], _: Any) -> dict[str, Any]:
    """Send dead letters to the order queue again: `{"limit": 10, "reason": "conflict"}`, or one `orderId`."""
    from chalicelib.entrypoints import replays  # see above

    return replays.replay_dead_letters(service(), event)
