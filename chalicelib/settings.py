"""The settings of the environment: read and cast once, here and nowhere else. A missing or bad one is named."""

import os
import re
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from chalicelib.providers import PROVIDERS, STRIPE, Provider

_TABLE = r"[A-Za-z0-9_.-]{3,255}", "the name of a table"
_QUEUE = r"[A-Za-z0-9_-]{1,80}|https?://\S+", "the name or the URL of a queue"
_NAME_OR_ARN = r"[A-Za-z0-9_./-]{1,256}|arn:\S+", "a name or an ARN"
_STAGE = r"[A-Za-z0-9_-]{1,64}", "a name of letters, digits, _ and -"
_OTHER_DECIMALS = (
    "BIF|CLP|DJF|GNF|ISK|JPY|KMF|KRW|PYG|RWF|UGX|UYI|VND|VUV|XAF|XOF|XPF"  # none
    "|BHD|IQD|JOD|KWD|LYD|OMR|TND|CLF|UYW"  # three or four
    "|MGA"  # whose fifths Stripe does not take
)
"""Currencies whose amounts do not have two decimals (ISO 4217, list one, "Minor unit")."""

_CURRENCY = rf"(?!{_OTHER_DECIMALS})[A-Z]{{3}}", "a currency of two decimals, in three capital letters (ISO 4217)"
_URL = r"https?://[^\s/]+\S*", "a URL that begins with http:// or https://"
_BASE_URL = r"https?://[^\s/]+/(\S*/)?", "a URL that begins with http:// or https:// and ends with /"
_USER_POOL = r"arn:aws[a-z-]*:cognito-idp:[a-z0-9-]+:[0-9]{12}:userpool/[\w-]+", "the ARN of a Cognito user pool"
_CLIENTS = r"[\w+]{1,128}(,[\w+]{1,128})*", "ids of app clients, separated by commas"
_SCOPES = r"[\w.:/-]+(,[\w.:/-]+)*", "scopes of access tokens, separated by commas"
_ORIGIN = r"\*|https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?", "an origin such as https://shop.example, or *"

_STATE_MACHINE = r"arn:aws[a-z-]*:states:[a-z0-9-]+:[0-9]{12}:stateMachine:[\w-]{1,80}", "the ARN of a state machine"
_STRIPE_KEY = r"secretsmanager:[\w/+=.@-]{1,512}|ssm:[\w/.-]{1,1011}", "secretsmanager:NAME or ssm:NAME"
_LOCAL_URL = r"http://(127\.0\.0\.1|localhost)(:[0-9]{1,5})?", "a URL of this machine, such as http://127.0.0.1:8020"

PRODUCTION = "prod"
"""The stage of real orders, and of real money."""

_USERS_AND_SERVICES = "aws.cognito.signin.user.admin,orderonce/service"
"""The scope of each access token that a user has signed in for, and that of services."""

_ON_THIS_MACHINE = re.compile(r"http://(127\.0\.0\.1|localhost)(:|/|$)")

_UNDER_CHALICE = "AWS_CHALICE_CLI_MODE"
"""Set by each of Chalice's commands. Of these, only `chalice local` ever calls the service."""

_MAX_BATCH_WITHOUT_WINDOW = 10
"""Of an event source mapping (AWS Lambda API Reference, "CreateEventSourceMapping", BatchSize)."""

_MAX_BATCHING_WINDOW = 40
"""Seconds. What waits in it is in flight already: the queue's visibility timeout is six times the function's timeout,
and the window."""

DEFAULT_MAX_RECEIVES = 14
"""Thirteen pauses that double from 2 s to 15 minutes: an outage of 77 minutes is outlasted."""


MESSAGE_LIFE = timedelta(days=21)
"""How old a message can be that nobody replays: 7 days in the order queue, 14 among the dead letters."""


class BadSetting(Exception):
    """A setting is missing or invalid; the message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the service needs. README.md describes each."""

    orders_table: str
    inventory_table: str
    idempotency_table: str
    order_queue: str
    order_dead_letters: str
    payments_table: str
    event_bus: str
    alerts_topic: str
    stage: str
    currency: str
    idempotency_window: timedelta
    require_idempotency_key: bool
    max_receives: int
    order_ttl: timedelta
    fail_payment_percent: int
    auth: str
    user_pool_clients: frozenset[str]
    customer_claim: str
    engine: str
    state_machine: str
    provider: Provider
    stripe_key: str
    stripe_url: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ, complete: bool = True) -> "Settings":
        """The settings that an environment holds. Raises BadSetting; for a missing one, only if it must be complete."""
        read = _Reader(environment, complete)
        auth = read.auth()
        if complete and auth == "cognito" and environment.get(_UNDER_CHALICE):
            raise BadSetting("the setting AUTH must not be cognito under chalice local, which verifies no token")
        of_pool = read.required if auth == "cognito" else read.optional
        of_pool("USER_POOL_ARN", *_USER_POOL)  # which app.py reads
        read.optional("PAYMENTS_SIMULATED_ON_PROD", "yes", "yes or nothing")  # which deploying reads
        clients = of_pool("USER_POOL_CLIENTS", *_CLIENTS)
        provider = PROVIDERS[read.choice("PAYMENTS", *PROVIDERS)]
        return cls(
            orders_table=read.required("ORDERS_TABLE", *_TABLE),
            inventory_table=read.required("INVENTORY_TABLE", *_TABLE),
            idempotency_table=read.required("IDEMPOTENCY_TABLE", *_TABLE),
            order_queue=read.required("ORDER_QUEUE", *_QUEUE),
            order_dead_letters=read.required("ORDER_DEAD_LETTERS", *_QUEUE),
            payments_table=read.required("PAYMENTS_TABLE", *_TABLE),
            event_bus=read.required("EVENT_BUS", *_NAME_OR_ARN),
            alerts_topic=read.required("ALERTS_TOPIC", *_NAME_OR_ARN),
            stage=read.required("STAGE", *_STAGE),
            currency=read.required("CURRENCY", *_CURRENCY),
            idempotency_window=timedelta(seconds=read.number("IDEMPOTENCY_WINDOW_SECONDS", 3600, at_least=1)),
            require_idempotency_key=read.flag("REQUIRE_IDEMPOTENCY_KEY"),
            max_receives=read.number("MAX_RECEIVES", DEFAULT_MAX_RECEIVES, at_least=1, at_most=1000),
            order_ttl=timedelta(days=read.number("ORDER_TTL_DAYS", 90, at_least=MESSAGE_LIFE.days + 1, or_zero=True)),
            fail_payment_percent=read.number("FAIL_PAYMENT_PERCENT", 0, at_most=100),
            auth=auth,
            user_pool_clients=frozenset(clients.split(",")) if clients else frozenset(),
            customer_claim=read.choice("CUSTOMER_CLAIM", "sub", "username"),
            engine=read.engine(),
            state_machine=read.optional("STATE_MACHINE", *_STATE_MACHINE),
            provider=provider,
            stripe_key=read.place_of_key("STRIPE_KEY", needed=provider.name == STRIPE),
            stripe_url=read.optional("STRIPE_URL", *_LOCAL_URL),
        )


@dataclass(frozen=True, slots=True)
class AppSettings:
    """What is needed before the service: by decorators while the app is imported, by the log, by AWS's clients.

    All of them have defaults, so importing and packaging need no environment.
    """

    order_queue: str
    batch_size: int
    batching_window: int
    max_concurrency: int
    auth: str
    engine: str
    payments: str
    user_pool_arn: str
    user_pool_scopes: tuple[str, ...]
    cors_origin: str
    problem_base_url: str
    log_format: str
    log_level: str
    service_name: str
    metrics_namespace: str
    endpoint_url: str
    laptop_url: str | None
    validates_parameters: bool
    in_lambda: bool
    function_name: str
    function_version: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "AppSettings":
        """The settings that an environment holds. Raises BadSetting."""
        read = _Reader(environment)
        return cls(
            order_queue=read.text("ORDER_QUEUE", "orderonce-local-orders", *_QUEUE),
            batch_size=(size := read.number("CONSUMER_BATCH_SIZE", 10, at_least=1, at_most=100)),
            batching_window=_batching_window(read, size),
            max_concurrency=read.number("CONSUMER_MAX_CONCURRENCY", 2, at_least=2, at_most=1000),
            auth=read.auth(),
            engine=read.engine(),
            payments=read.choice("PAYMENTS", *PROVIDERS),
            user_pool_arn=read.optional("USER_POOL_ARN", *_USER_POOL),
            user_pool_scopes=tuple((read.optional("USER_POOL_SCOPES", *_SCOPES) or _USERS_AND_SERVICES).split(",")),
            cors_origin=read.optional("CORS_ORIGIN", *_ORIGIN),
            problem_base_url=read.text("PROBLEM_BASE_URL", "", *_BASE_URL) or "https://orderonce.example/problems/",
            log_format=read.choice("LOG_FORMAT", "json", "text"),
            log_level=read.choice("LOG_LEVEL", "INFO", "DEBUG", "WARNING", "ERROR", "CRITICAL"),
            service_name=environment.get("POWERTOOLS_SERVICE_NAME", "orderonce"),
            metrics_namespace=environment.get("POWERTOOLS_METRICS_NAMESPACE", "OrderOnce"),
            endpoint_url=read.text("AWS_ENDPOINT_URL", "", *_URL),
            laptop_url=_laptop_url(read),
            validates_parameters=read.flag("AWS_PARAMETER_VALIDATION"),
            in_lambda=bool(environment.get("LAMBDA_TASK_ROOT")),
            function_name=environment.get("AWS_LAMBDA_FUNCTION_NAME", ""),
            function_version=environment.get("AWS_LAMBDA_FUNCTION_VERSION", ""),
        )


def _batching_window(read: "_Reader", batch_size: int) -> int:
    window = read.number("CONSUMER_BATCHING_WINDOW_SECONDS", 0, at_most=_MAX_BATCHING_WINDOW)
    if batch_size > _MAX_BATCH_WITHOUT_WINDOW and not window:
        raise BadSetting(
            f"the setting CONSUMER_BATCHING_WINDOW_SECONDS must be a whole number from 1 to {_MAX_BATCHING_WINDOW},"
            f" not '0': CONSUMER_BATCH_SIZE is {batch_size},"
            f" and SQS has no batches over {_MAX_BATCH_WITHOUT_WINDOW} without it"
        )
    return window


def _laptop_url(read: "_Reader") -> str | None:
    """Where AWS_PORT moves an AWS of this machine to; None: it moves nothing. No stage on AWS is ever led here."""
    if not read.environment.get("AWS_PORT"):
        return None
    port = read.number("AWS_PORT", 0, at_least=1, at_most=65535)
    return f"http://127.0.0.1:{port}" if _ON_THIS_MACHINE.match(read.environment.get("AWS_ENDPOINT_URL", "")) else None


@cache
def app_settings() -> AppSettings:
    """The settings of this process's environment. Raises BadSetting."""
    return AppSettings.from_environment()


def trace_header() -> str | None:
    """The trace that Lambda says the present invocation is part of, as `Root=1-…;Parent=…`; None: it is not traced."""
    return os.environ.get("_X_AMZN_TRACE_ID")


def checked_at_import() -> AppSettings:
    """The same for app.py: a bad value of any setting ends the process with one sentence that names it.

    One that is missing does not: packaging has none. The first call names it.
    """
    try:
        check(os.environ)
    except BadSetting as fault:
        sys.stderr.write(f"OrderOnce cannot start: {fault}.\n")
        sys.stderr.flush()
        if threading.current_thread() is not threading.main_thread():
            os._exit(1)  # `chalice local` imports the app in a thread, where SystemExit would end nothing else
        sys.exit(1)
    if os.environ.get(_UNDER_CHALICE) and app_settings().auth == "none":
        sys.stderr.write("AUTH is none: everybody who can reach this API has access to it.\n")
    return app_settings()


def check(environment: Mapping[str, str]) -> None:
    """Whether each setting that there is has a valid value. Raises BadSetting."""
    AppSettings.from_environment(environment)
    Settings.from_environment(environment, complete=False)


@dataclass(frozen=True)
class _Reader:
    """Casts what an environment holds. Every method raises BadSetting."""

    environment: Mapping[str, str]
    complete: bool = True

    def required(self, name: str, pattern: str, description: str) -> str:
        if self.complete and not self.environment.get(name, "").strip():
            raise BadSetting(f"the setting {name} is missing")
        return self.text(name, "", pattern, description)

    def optional(self, name: str, pattern: str, description: str) -> str:
        return self.text(name, "", pattern, description)

    def text(self, name: str, default: str, pattern: str, description: str) -> str:
        value = self.environment.get(name, default).strip()
        if value and not re.fullmatch(pattern, value, re.ASCII):
            raise BadSetting(f"the setting {name} must be {description}, not {value!r}")
        return value

    def number(
        self, name: str, default: int, at_least: int = 0, at_most: int = 1_000_000, or_zero: bool = False
    ) -> int:
        value = self.environment.get(name, str(default))
        number = int(value) if re.fullmatch("[0-9]{1,7}", value) else -1
        if not (at_least <= number <= at_most or (or_zero and number == 0)):
            allowed = f"{'0 or ' if or_zero else ''}a whole number from {at_least} to {at_most}"
            raise BadSetting(f"the setting {name} must be {allowed}, not {value!r}")
        return number

    def flag(self, name: str) -> bool:
        value = self.environment.get(name, "false").lower()
        if value not in ("true", "false"):
            raise BadSetting(f"the setting {name} must be true or false, not {value!r}")
        return value == "true"

    def auth(self) -> str:
        """Who may call. A deployed stage on which nobody is verified does not start."""
        auth = self.choice("AUTH", "iam", "cognito", "none")
        if auth == "none" and self.environment.get("LAMBDA_TASK_ROOT"):
            raise BadSetting("the setting AUTH must be iam or cognito on a deployed stage, not 'none'")
        return auth

    def engine(self) -> str:
        """What runs the saga."""
        return self.choice("ENGINE", "queue", "step-functions")

    def place_of_key(self, name: str, needed: bool) -> str:
        """Where a secret key is. A value that is none is not repeated: it may be the key."""
        value = self.environment.get(name, "").strip()
        if not value and needed and self.complete:
            raise BadSetting(f"the setting {name} is missing")
        pattern, description = _STRIPE_KEY
        if value and not re.fullmatch(pattern, value, re.ASCII):
            raise BadSetting(f"the setting {name} must be {description}: the place of the key, and not the key")
        return value

    def choice(self, name: str, *values: str) -> str:
        """One of the values; the first is the default."""
        value = self.environment.get(name, values[0])
        if value not in values:
            raise BadSetting(f"the setting {name} must be one of {', '.join(values)}, not {value!r}")
        return value
