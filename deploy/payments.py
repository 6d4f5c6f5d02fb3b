"""How the orders of a stage are paid: what its configuration must say before it is deployed."""

from collections.abc import Iterator

from chalicelib.providers import SIMULATED, STRIPE
from chalicelib.settings import PRODUCTION, Settings
from deploy.stages import RECONCILING, function_timeout, functions_of, stage_config

_RECONCILING_TIMEOUT = 120
"""Seconds, of which half are kept for the comparison itself."""


class RefusedPayments(Exception):
    """A stage whose orders would not be paid as they must; the message says why."""


def check_payments(stage: str) -> None:
    """Raises RefusedPayments, NoSuchStage, BadSetting."""
    for sentence in refusals(stage):
        raise RefusedPayments(sentence)


def refusals(stage: str) -> Iterator[str]:
    """Why the stage must not be deployed as it is configured, each in a sentence. Raises NoSuchStage, BadSetting."""
    environment = stage_config(stage)["environment_variables"]
    settings = payment_settings(stage)
    provider = settings.provider
    on_purpose = environment.get("PAYMENTS_SIMULATED_ON_PROD") == "yes"
    if stage == PRODUCTION and provider.name == SIMULATED and not on_purpose:
        yield (
            f"{stage} has PAYMENTS=simulated: nobody would pay for its orders. In .chalice/config.json set PAYMENTS "
            'and what its provider needs (docs/deploying.md, "Who takes the money"), or, to try the stage without '
            "money, PAYMENTS_SIMULATED_ON_PROD to yes."
        )
    if provider.name == STRIPE and not settings.stripe_key:
        yield f"{stage} has PAYMENTS=stripe, but no STRIPE_KEY in .chalice/config.json: it says where the key is."
    seconds = function_timeout(stage, "order_consumer")
    if seconds < provider.consumer_timeout:
        yield (
            f"{stage} has PAYMENTS={provider.name}, but order_consumer has {seconds} s in .chalice/config.json: "
            f"a payment may take long, so its lambda_timeout must be {provider.consumer_timeout} or more."
        )
    if RECONCILING in functions_of(stage) and (seconds := function_timeout(stage, RECONCILING)) < _RECONCILING_TIMEOUT:
        yield (
            f"{stage} has PAYMENTS={provider.name}, but {RECONCILING} has {seconds} s in .chalice/config.json: "
            f"it compares the payments of days, so its lambda_timeout must be {_RECONCILING_TIMEOUT} or more."
        )


def payment_settings(stage: str) -> Settings:
    """The settings of the stage's functions, as far as config.json has them. Raises NoSuchStage, BadSetting."""
    return Settings.from_environment(stage_config(stage)["environment_variables"], complete=False)
