"""Between Chalice and the API: requests in, answers out, and every error a problem document."""

from collections.abc import Callable, Mapping
from typing import Any

from chalice import CognitoUserPoolAuthorizer, CORSConfig, IAMAuthorizer, Response
from chalice.app import Request as ChaliceRequest

from chalicelib import exact_json, telemetry
from chalicelib.entrypoints.exchange import Answer, Request
from chalicelib.entrypoints.problems import CONTENT_TYPE, Problem
from chalicelib.faults import Unavailable
from chalicelib.settings import AppSettings, BadSetting

_CORRELATION_ID = "X-Correlation-Id"
_LOGGED = "The fault is logged under this correlation id."


def cors(origin: str) -> CORSConfig | None:
    """What lets the pages of one origin (`*`: of every one) call the API from a browser; "": none may."""
    if not origin:
        return None
    return CORSConfig(
        allow_origin=origin,
        allow_headers=["Idempotency-Key", "If-None-Match", "X-Correlation-Id"],
        expose_headers=["ETag", "Location", "Idempotent-Replayed", "Retry-After", "X-Correlation-Id"],
        max_age=600,
    )


def authorizer(settings: AppSettings) -> IAMAuthorizer | CognitoUserPoolAuthorizer | None:
    """What the gateway verifies of each request to a protected route: a signature, or an access token; None: nothing.

    An authorizer takes access tokens only where it names scopes, and else ID tokens only (Amazon API Gateway Developer
    Guide, "Integrate a REST API with an Amazon Cognito user pool").
    """
    if settings.auth == "none":
        return None
    if settings.auth == "iam":
        return IAMAuthorizer()
    pool = settings.user_pool_arn or "arn:aws:cognito-idp:us-east-1:000000000000:userpool/us-east-1_none"  # packaging
    return CognitoUserPoolAuthorizer("cognito", provider_arns=[pool], scopes=list(settings.user_pool_scopes))


def answered(request: ChaliceRequest | None, answer: Callable[[Request], Answer]) -> Response:
    """What `answer` gives for the request; a Problem that it raises is an answer too, and so is any other fault."""
    assert request is not None, "Chalice sets it for the time of a view"
    read = _read(request)
    with telemetry.bound(correlationId=read.correlation_id):
        try:
            given = answer(read)
            response = _response(given.status, given.body, {"Content-Type": "application/json", **given.headers})
        except Problem as problem:
            response = _problem_response(problem, read.correlation_id)
        except Unavailable as fault:
            telemetry.warning("unavailable", reason=str(fault))
            detail = "It may have taken effect. Retry with the same Idempotency-Key."
            unavailable = Problem("unavailable", detail, headers={"Retry-After": "2"})
            response = _problem_response(unavailable, read.correlation_id)
        except BadSetting as fault:
            telemetry.error(f"OrderOnce cannot run: {fault}.")
            response = _problem_response(Problem(500, _LOGGED), read.correlation_id)
        except Exception:  # noqa: BLE001 - whatever it is, the client gets an answer and the log the traceback
            telemetry.exception("request failed")
            response = _problem_response(Problem(500, _LOGGED), read.correlation_id)
        if response.status_code >= 500:
            telemetry.version_fault()
        response.headers[_CORRELATION_ID] = read.correlation_id
        return response


def problems_for_chalices_errors(event: Any, get_response: Callable[[Any], Any]) -> Any:
    """Chalice middleware: what Chalice itself refuses (405, 415 …) is a problem document like any other error."""
    response = get_response(event)
    body = response.body
    if response.status_code < 400 or not isinstance(body, dict) or "Code" not in body:
        return response
    headers = {name: value for name, value in response.headers.items() if name.lower() != "content-type"}
    headers[_CORRELATION_ID] = correlation_id = _correlation_id(event, _headers(event))
    problem = Problem(response.status_code, str(body.get("Message", "")), headers=headers)
    return _problem_response(problem, correlation_id)


def correlation_id_for_all(event: ChaliceRequest | None, get_response: Callable[[Any], Any]) -> Any:
    """Chalice middleware: what Chalice answers by itself has a correlation id too."""
    response = get_response(event)
    if event and _CORRELATION_ID not in response.headers:
        response.headers[_CORRELATION_ID] = _correlation_id(event, _headers(event))
    return response


def _read(request: ChaliceRequest) -> Request:
    headers = _headers(request)
    try:
        body = request.raw_body or b""
    except ValueError:
        # Text that is not UTF-8, or a body that is not the base64 it is said to be: refused like any other.
        body = b"\xff"
    return Request(
        headers,
        dict(request.query_params or {}),
        body if isinstance(body, bytes) else body.encode(),
        _correlation_id(request, headers),
        _base(request),
        request.context,
    )


def _headers(request: ChaliceRequest) -> dict[str, str]:
    """The headers by name in lower case, the values of a repeated one joined (RFC 9110, section 5.3).

    Only API Gateway's event has all values; Chalice's request has the last, and Chalice's local event the only one.
    """
    many: Mapping[str, list[str]] = request.to_original_event().get("multiValueHeaders") or {}
    lines = [(name, value) for name, values in many.items() for value in values] or request.headers.items()
    values: dict[str, list[str]] = {}
    for name, value in lines:
        values.setdefault(name.lower(), []).append(value)
    return {name: ", ".join(several) for name, several in values.items()}


def _correlation_id(request: ChaliceRequest, headers: Mapping[str, str]) -> str:
    return telemetry.correlation_id(headers.get("x-correlation-id"), request.context.get("requestId"))


def _base(request: ChaliceRequest) -> str:
    """What comes before the route in the path that the client sent."""
    route = request.path.strip("/").split("/")
    sent = str(request.context.get("path", request.path)).rstrip("/").split("/")
    return "/".join(sent[: -len(route)])


def _problem_response(problem: Problem, correlation_id: str) -> Response:
    body = exact_json.dumps(problem.answered_as(correlation_id))
    return _response(problem.status, body, {"Content-Type": CONTENT_TYPE, **problem.headers})


def _response(status: int, body: str, headers: Mapping[str, str]) -> Response:
    """An answer that no cache keeps, unless it says otherwise: orders are personal data."""
    return Response(body, {"Cache-Control": "no-store", **headers}, status)
