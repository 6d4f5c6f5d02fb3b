"""Who takes the money of a stage: whether it is configured as it must be, and whether the provider's key is there."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.adapters.stripe_account import fault_of_key, secret_in
from deploy.payments import payment_settings, refusals
from ops.findings import Aws, Finding, Remark, differs, look_at

_ANOTHER_KEY = "a key of yours encrypts it: that key's policy must let the consumer's role decrypt"


def payments(aws: Aws, stage: str) -> Iterator[Finding]:
    """What is wrong with the payments of a stage as it is configured, and the secret that it names."""
    settings = payment_settings(stage)
    wrong = list(refusals(stage))
    if settings.stripe_url and not aws.emulated:
        wrong.append("STRIPE_URL is for tests: nobody takes the money there")
    if wrong:
        yield Finding("payments", settings.provider.name, tuple(wrong))
    if settings.stripe_key:
        yield look_at("secret", settings.stripe_key, lambda: _secret(aws, stage, settings.stripe_key))


def _secret(aws: Aws, stage: str, place: str) -> Iterator[Remark]:
    """Whether it is there, and of this stage as far as the operator may read it. What it is, nobody is told."""
    store, _, name = place.partition(":")
    client = aws.client(store)
    found = list(_DESCRIBED[store](client, name))
    yield from found
    if not any(wrong for _, wrong in found):
        try:
            fault = fault_of_key(secret_in(store, client, name).strip(), stage)
        except ClientError as refused:
            yield f"what it is cannot be seen ({refused.response['Error']['Code']}): the consumer's log says it", False
            return
        if fault:
            yield fault, True


def _in_secrets_manager(client: Any, name: str) -> Iterator[Remark]:
    described = client.describe_secret(SecretId=name)
    if "DeletedDate" in described:
        yield "will be deleted", True
    if described.get("KmsKeyId"):
        yield _ANOTHER_KEY, False


def _in_parameter_store(client: Any, name: str) -> Iterator[Remark]:
    found = client.describe_parameters(ParameterFilters=[{"Key": "Name", "Values": [name]}])["Parameters"]
    if not found:
        yield "does not exist", True
    for described in found:
        yield from differs("type", "SecureString", described["Type"])
        if described.get("KeyId", "alias/aws/ssm") != "alias/aws/ssm":
            yield _ANOTHER_KEY, False


_DESCRIBED: Mapping[str, Callable[[Any, str], Iterator[Remark]]] = {
    "secretsmanager": _in_secrets_manager,
    "ssm": _in_parameter_store,
}
"""By where a secret may be: what is known of it."""
