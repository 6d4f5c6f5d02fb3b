"""`stage check` of a stage deployed in either way: green if it is as it should be, and never otherwise."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import Result

from deploy.stages import FUNCTIONS, stage_parameters
from deploy.template import merge_template, resources_template
from ops.template import UNRESOLVED, Template
from tests.ops.live_stage import WAYS, Answers, live_stage, operate


@pytest.fixture(scope="module", params=WAYS, autouse=True)
def way(request: pytest.FixtureRequest) -> Iterator[tuple[str, Answers]]:
    with live_stage(**WAYS[request.param]) as answers:
        yield WAYS[request.param]["stage"], answers


only_packaged = pytest.mark.parametrize("way", ["make deploy"], indirect=True, scope="module")


def check(stage: str, *words: str) -> Result:
    return operate("stage", "check", stage, *words)


def findings(stage: str, part: str = "differences") -> set[tuple[str, str]]:
    """Each sentence of this part, with the kind of thing that it is about."""
    return {(each["kind"], text) for each in json.loads(check(stage, "--json").stdout) for text in each[part]}


def test_a_stage_that_is_as_it_should_be_is_green(stage: str, answers: Answers) -> None:
    result = check(stage)
    assert result.exit_code == 0, result.output
    assert {line.split()[0] for line in result.stdout.splitlines()[1:]} == {"ok"}
    assert [name for name in answers.operations if not name.startswith(("Describe", "Get", "List"))] == []
    assert "DescribeStateMachine" not in answers.operations, "the stage does not ask for one"


def test_a_dead_stage_is_red_in_each_of_its_parts(
    stage: str, answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it exists in this region."""
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    result = check(stage, "--json")
    assert result.exit_code == 1
    assert [each["name"] for each in json.loads(result.stdout) if not each["differences"]] == []


@only_packaged
def test_what_cannot_be_seen_is_never_green(stage: str, answers: Answers) -> None:
    """Each call of AWS is refused in turn. What was seen is as it should be, so the status is 2, and not 1."""
    assert check(stage).exit_code == 0
    for operation in sorted(answers.operations):
        answers.restore()
        answers.refuse(operation, "AccessDeniedException")
        result = check(stage)
        assert (result.exit_code, "\ndiffers" in result.stdout) == (2, False), f"{operation}: {result.output}"


@only_packaged
def test_what_is_missing_is_never_green(stage: str, answers: Answers) -> None:
    """Each list that AWS answers with is empty in turn."""
    assert check(stage).exit_code == 0
    for operation in sorted(answers.operations - {"ListAliases", "ListAttachedRolePolicies"}):
        emptied: list[str] = []

        def empty(answer: dict[str, Any], emptied: list[str] = emptied) -> None:
            for name, value in answer.items():
                if isinstance(value, list):
                    value.clear()
                    emptied.append(name)

        answers.restore()
        answers.change(operation, empty)
        result = check(stage)
        # What moto sends as one element, and a policy's text, are other tests'.
        assert result.exit_code == (1 if emptied else 0), f"{operation} {emptied}: {result.output}"


def each(member: str, change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], None]:
    """A change of each element of a list of an answer."""

    def changed(answer: dict[str, Any]) -> None:
        for element in answer[member]:
            change(element)

    return changed


def variables(answer: dict[str, Any]) -> None:
    given = answer["Environment"]["Variables"]
    del given["CURRENCY"]
    given |= {"AWS_ENDPOINT_URL": "https://example.com", "ORDER_QUEUE": "https://sqs.us-east-1.amazonaws.com/1/x"}


def policies(answer: dict[str, Any]) -> None:
    document = json.loads(answer["Policy"])
    document["Statement"].append({"Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunction"})
    answer["Policy"] = json.dumps(document)


def methods(resource: dict[str, Any]) -> None:
    for verb, method in resource.get("resourceMethods", {}).items():
        if verb != "OPTIONS":
            method["authorizationType"] = "NONE"
            method["methodIntegration"]["uri"] = "functions/other/invocations"


def grants(answer: dict[str, Any]) -> None:
    answer["PolicyDocument"]["Statement"][0] |= {"Action": ["dynamodb:*"]}


def another(member: str, **of: Any) -> Callable[[dict[str, Any]], None]:
    """One more element of a list of an answer."""
    return lambda answer: answer[member].append({**(answer[member][0] if answer[member] else {}), **of})


SPOILT: list[tuple[str, Callable[[dict[str, Any]], object], set[tuple[str, str]]]] = [
    (
        "DescribeTable",
        lambda answer: answer["Table"].update(DeletionProtectionEnabled=False, BillingModeSummary={}),
        {
            ("table", "deletion protection: off, should be on"),
            ("table", "billing mode: PROVISIONED, should be PAY_PER_REQUEST"),
        },
    ),
    (
        "GetQueueAttributes",
        lambda answer: answer["Attributes"].update(Policy="{}", VisibilityTimeout="5"),
        {
            ("queue", "policy: any transport, should be TLS only"),
            ("queue", f"VisibilityTimeout: 5, should be {stage_parameters('prod')['VisibilityTimeout']}"),
        },
    ),
    (
        "ListEventSourceMappings",
        each(
            "EventSourceMappings", lambda m: m.update(State="Disabled", BatchSize=1, MaximumBatchingWindowInSeconds=9)
        ),
        {
            ("mapping", "state: Disabled, should be Enabled"),
            ("mapping", "batch size: 1, should be 10"),
            ("mapping", "batching window: 9, should be 1"),
        },
    ),
    (
        "ListEventSourceMappings",
        another("EventSourceMappings", FunctionArn="arn:other"),
        {("mapping", "arn:other reads the queue too")},
    ),
    (
        "DescribeRule",
        lambda answer: answer.update(State="DISABLED", ScheduleExpression="rate(1 day)"),
        {
            ("schedule", "state: DISABLED, should be ENABLED"),
            ("schedule", "schedule: rate(1 day), should be rate(1 minute)"),
            ("rule", "state: DISABLED, should be ENABLED"),
        },
    ),
    (
        "DescribeAlarms",
        each(
            "MetricAlarms",
            lambda a: a.update(ActionsEnabled=False, AlarmActions=[], Threshold=-1, Dimensions=[], Metrics=[]),
        ),
        {
            ("alarm", "its actions are switched off"),
            ("alarm", "AlarmActions: does not notify orderonce-prod-alerts"),
            ("alarm", "Threshold: -1, should be 0"),
            ("alarm", "Dimensions differs from the template"),
            ("alarm", "Metrics differs from the template"),
        },
    ),
    (
        "ListSubscriptionsByTopic",
        each("Subscriptions", lambda s: s.update(SubscriptionArn="PendingConfirmation")),
        {("topic", "nobody has subscribed to it: the subscription is not confirmed")},
    ),
    (
        "DescribeLogGroups",
        each("logGroups", lambda group: group.pop("retentionInDays")),
        {("log group", "retention in days: for ever, should be 90")},
    ),
    (
        "GetFunctionConfiguration",
        lambda answer: answer.update(
            State="Failed", LastUpdateStatus="InProgress", Timeout=3, Architectures=["x86_64"], TracingConfig={}
        ),
        {
            ("function", "state: Failed, should be Active"),
            ("function", "last update: InProgress, should be Successful"),
            ("function", "Timeout: 3, should be 10"),
            ("function", "architecture: x86_64, should be arm64"),
            ("function", "tracing: false, should be true"),
        },
    ),
    (
        "GetFunctionConfiguration",
        variables,
        {
            ("function", "CURRENCY: None, should be 'USD'"),
            ("function", "AWS_ENDPOINT_URL: 'https://example.com', should be 'not set'"),
            ("function", "ORDER_QUEUE: 'https://sqs.us-east-1.amazonaws.com/1/x', should be 'orderonce-prod-orders'"),
        },
    ),
    (
        "GetFunctionConcurrency",
        lambda answer: answer.update(ReservedConcurrentExecutions=0),
        {("function", "reserved concurrency: 0, should be 100")},
    ),
    ("GetPolicy", policies, {("function", "* may invoke it")}),
    ("ListFunctions", lambda answer: answer["Functions"].append(answer["Functions"][1]), set()),
    (
        "ListAttachedRolePolicies",
        another("AttachedPolicies", PolicyName="AdministratorAccess"),
        {("role", "has the policy AdministratorAccess beside its own")},
    ),
    (
        "GetRolePolicy",
        grants,
        {
            ("role", "may dynamodb:* on arn:*:dynamodb:*:*:table/orderonce-prod-orders"),
            ("role", "may not dynamodb:PutItem on arn:*:dynamodb:*:*:table/orderonce-prod-orders"),
        },
    ),
    ("GetStages", another("item", stageName="Stage"), {("API", "the stage 'Stage' serves it too")}),
    (
        "GetResources",
        each("items", methods),
        {
            ("API", "authorization of POST /orders: NONE, should be AWS_IAM"),
            ("API", "POST /orders does not lead to orderonce-prod-APIHandler-AbC123"),
        },
    ),
    (
        "GetResources",
        another("items", path="/debug", resourceMethods={"GET": {"authorizationType": "NONE"}}),
        {("API", "GET /debug is not a route of the application")},
    ),
]


@only_packaged
def test_each_difference_is_seen(stage: str, answers: Answers) -> None:
    """All at once: each is a difference of its own, and one of them would be enough."""
    for operation, change, _ in SPOILT:
        answers.change(operation, change)
    seen = findings(stage)
    assert {text for _, _, texts in SPOILT for text in texts} - seen == set()
    assert check(stage).exit_code == 1


@only_packaged
def test_a_stage_that_is_deployed_in_both_ways_is_red(stage: str, answers: Answers) -> None:
    answers.change(
        "ListFunctions", lambda answer: answer["Functions"].append({**answer["Functions"][0], "Handler": "app.recover"})
    )
    assert any("is deployed more than once" in text for _, text in findings(stage))


@only_packaged
def test_the_deployed_routes_count_and_not_the_edited_ones(stage: str, answers: Answers) -> None:
    """The gateway serves what was deployed last; its definition may have been changed since."""
    summary = {"/orders": {"POST": {"authorizationType": "NONE", "apiKeyRequired": False}}}
    answers.change("GetDeployment", lambda answer: answer.update(apiSummary=summary))
    seen = findings(stage)
    assert ("API", "authorization of POST /orders: NONE, should be AWS_IAM") in seen
    assert ("API", "GET /orders/{order_id} does not exist") in seen


def test_every_alarm_is_compared_in_full(stage: str) -> None:
    """Nothing of an alarm but whom it notifies depends on more than the names of the stage.

    Those of a release look at the version that was published last: they ring while it goes on only.
    """
    names = dict.fromkeys(FUNCTIONS.values(), "a-function")
    for template in (resources_template(stage), merge_template(stage)):
        for alarm in Template(template, {"Stage": stage, **names}).of_type("AWS::CloudWatch::Alarm"):
            unresolved = {name for name, value in alarm.items() if value is UNRESOLVED}
            assert unresolved == ({"Metrics"} if "-release-" in alarm["AlarmName"] else set())
