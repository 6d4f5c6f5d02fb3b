"""The whole stack: started in one place, and ended in the reverse order."""

import importlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from chalice.app import Chalice
from chalice.config import Config

from chalicelib import settings as service_settings
from chalicelib.settings import BadSetting
from local import logs
from local.authorizer import TokenVerifier, UserPoolAuthorizer, open_routes
from local.aws import EmbeddedAws
from local.banner import banner
from local.data import Data
from local.event_source_mapping import EventSourceMapping, event_source_mappings
from local.faults import StartError
from local.resources import create_resources, load_catalogue, read_catalogue
from local.schedules import Schedule, schedules
from local.server import ApiServer, listen
from local.settings import LOOPBACK, ROOT, STAGE, Settings, enter_stage, read_json, stage_variables
from local.stripe_key import PLACE
from local.user_pool import create_user_pool

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
        os.environ.update(pool := _user_pool(os.environ.get("AUTH")))
        create_resources()
        if not aws.restore():
            load_catalogue(os.environ["INVENTORY_TABLE"], read_catalogue())
        os.environ.setdefault("STRIPE_KEY", PLACE)
        # Only now: the app may read its settings as soon as it is imported.
        try:
            provider = service_settings.Settings.from_environment().provider
            service_settings.check(os.environ)
            app = load_app()
        except BadSetting as fault:
            raise StartError(f"This stage cannot be run: {fault}.") from fault
        config = Config(
            chalice_stage=STAGE,
            user_provided_params={"chalice_app": app, "project_dir": str(ROOT)},
            config_from_disk=from_disk,
        )
        authorizer = UserPoolAuthorizer(app, TokenVerifier.for_pool(pool["USER_POOL_ARN"])) if pool else None
        api = ending.enter_context(ApiServer(app, config, api_listener, authorizer))
        mappings = event_source_mappings(app, config)
        ending.enter_context(_started([*mappings, *schedules(app, config)], aws))
        seconds = time.monotonic() - began
        queues = [mapping.queue_url for mapping in mappings]
        opened = open_routes(app) if pool else None
        yield banner(api.url, aws.url, queues, settings.data, seconds, opened, needs_method=provider.needs_method)


def _user_pool(auth: str | None) -> dict[str, str]:
    """The settings of the pool that AUTH=cognito needs, which exists from now on. Raises StartError for AUTH=iam."""
    if auth == "iam":
        raise StartError("AUTH must be none or cognito here, not 'iam': nothing on this machine verifies signatures.")
    return create_user_pool() if auth == "cognito" else {}


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
