"""The whole stack: started in one place, and ended in the reverse order."""

import importlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from chalice.app import Chalice
from chalice.config import Config

from chalicelib import settings as service_settings
from chalicelib.settings import BadSetting
from local import logs
from local.aws import EmbeddedAws
from local.data import Data
from local.event_source_mapping import EventSourceMapping, event_source_mappings
from local.faults import StartError
from local.resources import create_resources, load_catalogue, read_catalogue
from local.schedules import Schedule, schedules
from local.server import ApiServer, listen
from local.settings import LOOPBACK, ROOT, STAGE, Settings, enter_stage, read_json, stage_variables

GRACE_SECONDS = 0.5
"""For a batch or a schedule under way to finish when the stack ends."""


def import_app() -> Chalice:
    """The deployed app, unchanged."""
    app: Chalice = importlib.import_module("app").app
    return app


@contextmanager
def running(settings: Settings, load_app: Callable[[], Chalice] = import_app) -> Iterator[str]:
    """Start everything, and end all of it at exit; yields the text for the person who started it.

    Raises StartError if it cannot start, and then leaves nothing behind.
    """
    began = time.monotonic()
    with ExitStack() as ending:
        # The ports first: a port in use should be reported at once, not after seconds of work.
        api_listener = ending.enter_context(listen(settings.host, settings.port, "PORT"))
        aws_listener = ending.enter_context(listen(LOOPBACK, settings.aws_port, "AWS_PORT"))
        from_disk = read_json(ROOT / ".chalice" / "config.json")
        variables = stage_variables(from_disk)
        enter_stage(os.environ, variables, from_disk["app_name"], aws_listener.getsockname()[1])
        logs.configure()

        data = ending.enter_context(Data.opened(settings.data)) if settings.data else None
        aws = ending.enter_context(EmbeddedAws(aws_listener, data))
        create_resources()
        if not aws.restore():
            load_catalogue(os.environ["INVENTORY_TABLE"], read_catalogue())
        # Only now: the app may read its settings as soon as it is imported.
        try:
            service_settings.Settings.from_environment()
            service_settings.check(os.environ)
            app = load_app()
        except BadSetting as fault:
            raise StartError(f"This stage cannot be run: {fault}.") from fault
        config = Config(
            chalice_stage=STAGE,
            user_provided_params={"chalice_app": app, "project_dir": str(ROOT)},
            config_from_disk=from_disk,
        )
        api = ending.enter_context(ApiServer(app, config, api_listener))
        mappings = event_source_mappings(app, config)
        ending.enter_context(_started([*mappings, *schedules(app, config)], aws))
        yield _banner(api.url, aws.url, mappings, settings.data, time.monotonic() - began)


@contextmanager
def _started(workers: list[EventSourceMapping | Schedule], aws: EmbeddedAws) -> Iterator[None]:
    """Start the workers; at the end stop them, those in a long poll at once."""
    try:
        for worker in workers:
            worker.start()
        yield
    finally:
        for worker in workers:
            worker.stop()
        aws.end_long_polls()
        deadline = time.monotonic() + GRACE_SECONDS
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))


def _banner(api: str, aws: str, mappings: list[EventSourceMapping], data: Path | None, seconds: float) -> str:
    queues = "\n".join(f"  order queue   {mapping.queue_url}" for mapping in mappings)
    kept = f"The data is kept in {data}." if data else "Everything is in memory, so all data is lost then."
    return f"""
OrderOnce is up, in {seconds:.1f} s.
  API           {api}
  embedded AWS  {aws}
{queues}
Anybody who can reach these ports has access: this stage does not authenticate.

Place an order (repeat it as often as you like: with the same key it stays one order):
  curl -i {api}/orders -H 'Content-Type: application/json' -H 'Idempotency-Key: first-try' \\
    -d '{{"customerId": "CUST-42", "totalAmount": 59.98,
         "items": [{{"productId": "PROD-001", "quantity": 2}}]}}'
See the result:
  curl -s '{api}/customers/CUST-42/orders'; echo

Ctrl-C ends it. {kept}
"""
