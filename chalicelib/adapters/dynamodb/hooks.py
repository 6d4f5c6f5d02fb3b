"""What DynamoDB's typed values cost botocore: it would walk through each, in both directions, only to copy it.

On botocore's public events they are taken as they are. All else of a call (validation, signing, retries) is botocore's.
"""

import json
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ParamValidationError
from botocore.validate import ParamValidator

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_WRITTEN = ("Item", "TransactItems")
"""Parameters that are mostly typed values. No endpoint depends on them: tables are named without an ARN."""

_CONTEXT = "orderonce_written"

Document = dict[str, Any]


def take_typed_values(client: "DynamoDBClient", validates: bool) -> None:
    """From now on the client passes typed values on as they are. `validates`: but looks at what is written first.

    The client's own validation must be off: it would miss what is taken.
    """
    if validates:
        client.meta.events.register("provide-client-params.dynamodb", _validate)
    client.meta.events.register_last("provide-client-params.dynamodb", _take_written)  # type: ignore[arg-type]
    client.meta.events.register("before-call.dynamodb", _give_written)
    client.meta.events.register("before-parse.dynamodb", _take_refused)


def _validate(params: Document, model: Any, **_: object) -> None:
    report = ParamValidator().validate(params, model.input_shape)
    if report.has_errors():
        raise ParamValidationError(report=report.generate_report())


def _take_written(params: Document, context: Document, **_: object) -> Document | None:
    """The parameters without those that are given back once botocore has written the others."""
    taken = {name: params[name] for name in _WRITTEN if name in params}
    if not taken:
        return None
    try:
        context[_CONTEXT] = json.dumps(taken).encode()
    except TypeError:
        return None  # a binary value, which no order has: botocore encodes it
    return {name: value for name, value in params.items() if name not in taken}


def _give_written(params: Document, context: Document, **_: object) -> None:
    if taken := context.get(_CONTEXT):
        # Others are always there: the table, or a transaction's token.
        params["body"] = taken[:-1] + b", " + params["body"][1:]


def _take_refused(response_dict: Document, customized_response_dict: Document, **_: object) -> None:
    """An item that comes back with a refusal is taken as it is: botocore would read it twice, member by member.

    A duplicate is mostly that. Binary attributes, which no order has, would differ: they are left to botocore.
    """
    body = response_dict["body"]
    if response_dict["status_code"] != 400 or b'"Item"' not in body or b'"B"' in body or b'"BS"' in body:
        return
    try:
        document = json.loads(body)
    except ValueError:
        return  # not DynamoDB's: what it is, botocore says
    taken = {name: document.pop(name) for name in ("Item", "CancellationReasons") if name in document}
    customized_response_dict.update(taken)
    response_dict["body"] = json.dumps(document).encode()
