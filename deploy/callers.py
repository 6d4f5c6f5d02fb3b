"""Who may call a stage, and from which web page: what its configuration says, for the gateway and for the pool."""

from typing import Any

from chalicelib.entrypoints.http import cors
from chalicelib.settings import AppSettings, Settings
from deploy.stages import stage_config, stage_parameters


class RefusedCallers(Exception):
    """A stage that would let in whom it must not; the message says why."""


def caller_settings(stage: str) -> AppSettings:
    """The settings that its app is imported with. Raises NoSuchStage, BadSetting."""
    return AppSettings.from_environment(_environment(stage))


def has_tokens(stage: str) -> bool:
    """Whether the gateway verifies access tokens, and not signatures of IAM."""
    return caller_settings(stage).auth == "cognito"


def security(stage: str) -> list[dict[str, list[str]]]:
    """What a method of the gateway requires, in Swagger, as Chalice writes it for the application's routes."""
    if has_tokens(stage):
        return [{"cognito": list(caller_settings(stage).user_pool_scopes)}]
    return [{"sigv4": []}]


def cross_origin_headers(stage: str) -> dict[str, str]:
    """What lets the one origin that may call from a browser read an answer; empty: none may."""
    allowed = cors(caller_settings(stage).cors_origin)
    wanted = ("Access-Control-Allow-Origin", "Access-Control-Expose-Headers")
    return {name: allowed.get_access_control_headers()[name] for name in wanted} if allowed else {}


def check_callers(stage: str) -> None:
    """Raises RefusedCallers, NoSuchStage, BadSetting."""
    settings = caller_settings(stage)
    if settings.auth == "none":
        raise RefusedCallers(f"{stage} has AUTH=none, which is for a laptop only: everybody could call it.")
    claim = Settings.from_environment(_environment(stage), complete=False).customer_claim
    if claim == "username" and stage_parameters(stage).get("AllowSelfSignUp") == "true":
        raise RefusedCallers(
            f"{stage} has CUSTOMER_CLAIM=username and AllowSelfSignUp: whoever signs up chooses which customer to be."
        )


def check_existing_pool(stage: str) -> None:
    """For `chalice deploy`, which cannot make a pool. Raises RefusedCallers, NoSuchStage, BadSetting."""
    given = _environment(stage)
    missing = [name for name in ("USER_POOL_ARN", "USER_POOL_CLIENTS") if not given.get(name)]
    if has_tokens(stage) and missing:
        raise RefusedCallers(
            f"{stage} has AUTH=cognito, but no {' and no '.join(missing)} in .chalice/config.json: "
            "`chalice deploy` needs a pool that exists. `make deploy` can make one."
        )


def _environment(stage: str) -> dict[str, Any]:
    environment: dict[str, Any] = stage_config(stage)["environment_variables"]
    return environment
