"""What `make package` writes for each stage: the template for CloudFormation."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chalicelib.settings import DEFAULT_MAX_RECEIVES, AppSettings, BadSetting
from deploy import stages
from deploy.gateway import OPEN_ROUTES
from deploy.names import log_group_id, role_id
from deploy.policies import packaged_policy, static_policy
from deploy.stages import CHALICE, DEPLOYED, FUNCTIONS, RESOURCES, config, functions_of, stage_config
from deploy.tables import RESTORABLE, by_name
from deploy.template import resources_template
from tests.deploy.packages import Package
from tests.deploy.support.conditions import Conditions
from tests.support.template import Template

ARN_OF_ORDERS = {"Fn::GetAtt": ["OrderQueue", "Arn"]}


def lint(path: Path) -> str:
    """The errors of cfn-lint; empty if there are only warnings."""
    cfn_lint = Path(sys.executable).with_name("cfn-lint")
    command = [str(cfn_lint), "--non-zero-exit-code", "error", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def stage_name(package: Package) -> str:
    (only,) = package.template["Parameters"]["Stage"]["AllowedValues"]
    return str(only)


# --- the templates as such ---


def test_cfn_lint_finds_no_error_in_the_package(package: Package) -> None:
    assert lint(package.path) == ""


@pytest.mark.parametrize("stage", DEPLOYED)
def test_cfn_lint_finds_no_error_in_the_stack_of_resources(stage: str, tmp_path: Path) -> None:
    path = tmp_path / "resources.json"
    path.write_text(json.dumps(resources_template(stage)), encoding="utf-8")
    assert lint(path) == ""
    assert lint(RESOURCES) == ""


@pytest.mark.parametrize("stage", DEPLOYED)
def test_the_stack_of_resources_fits_into_one_call(stage: str) -> None:
    """51,200 bytes (AWS CloudFormation User Guide, "quotas"), so it needs no bucket."""
    assert len(json.dumps(resources_template(stage), separators=(",", ":"))) < 51_200


def test_every_resource_of_the_laptop_is_in_the_package(package: Package) -> None:
    described = json.loads(RESOURCES.read_text(encoding="utf-8"))["Resources"]
    assert described.keys() <= package.resources.keys()
    assert {name: package.resources[name]["Type"] for name in described} == {n: r["Type"] for n, r in described.items()}


def test_no_arn_names_a_partition(package: Package) -> None:
    """They work in China and GovCloud too."""
    policies = {path.name: path.read_text(encoding="utf-8") for path in CHALICE.glob("policy-*.json")}
    stage = stage_name(package)
    made = {"package": json.dumps(package.template), "resources": json.dumps(resources_template(stage)), **policies}
    assert [name for name, text in made.items() if "arn:aws" in text] == []


def test_a_package_is_for_one_stage(package: Package) -> None:
    parameter = package.template["Parameters"]["Stage"]
    assert parameter["AllowedValues"] == [parameter["Default"]]


def test_a_stage_has_values_of_parameters_that_exist(package: Package) -> None:
    """CloudFormation refuses a request with any other."""
    assert stages.stage_parameters(stage_name(package)).keys() <= package.template["Parameters"].keys()


# --- functions and roles ---


def test_the_functions_are_those_of_config_json(package: Package) -> None:
    """Chalice silently ignores a name that it does not know."""
    assert set(package.of_type("AWS::Serverless::Function")) == set(FUNCTIONS.values())
    assert set(stage_config(stage_name(package))["lambda_functions"]) == set(FUNCTIONS)


def test_the_name_of_each_function_is_an_output(package: Package) -> None:
    outputs = package.template["Outputs"]
    named = {logical_id: outputs[f"{logical_id}Name"]["Value"] for logical_id in FUNCTIONS.values()}
    assert named == {logical_id: {"Ref": logical_id} for logical_id in FUNCTIONS.values()}


def test_each_function_has_a_role_with_its_own_policy_and_only_codedeploy_has_another(package: Package) -> None:
    others = set(package.of_type("AWS::IAM::Role")) - {role_id(function) for function in FUNCTIONS}
    assert others == ({"CanaryRole"} if "Canary" in package.template["Parameters"] else set())
    for function in FUNCTIONS:
        assert package.function(function)["Role"] == {"Fn::GetAtt": [role_id(function), "Arn"]}
        (policy,) = package.properties(role_id(function))["Policies"]
        assert policy["PolicyDocument"] == by_name(packaged_policy(function, stage_name(package)))


@pytest.mark.parametrize("stage", DEPLOYED)
def test_a_role_may_do_in_the_package_what_it_may_do_beside_chalice_deploy(stage: str) -> None:
    """Except asking for a queue's URL, which its settings have."""
    for function in functions_of(stage):
        by_chalice, packaged = (
            {action for statement in by_name(policy)["Statement"] for action in statement["Action"]}
            for policy in (static_policy(function, stage), packaged_policy(function, stage))
        )
        assert packaged == by_chalice - {"sqs:GetQueueUrl"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_function_is_as_its_stage_says(function: str, package: Package) -> None:
    stage = stage_config(stage_name(package))
    own = stage["lambda_functions"][function]
    made = package.function(function)
    assert made["Timeout"] == own.get("lambda_timeout", config()["lambda_timeout"])
    assert made["MemorySize"] == own.get("lambda_memory_size", config()["lambda_memory_size"])
    assert made.get("ReservedConcurrentExecutions") == own.get("reserved_concurrency")
    assert made["Architectures"] == ["arm64"]
    assert made["Tracing"] == "Active"
    log = package.properties(log_group_id(function))
    assert log["RetentionInDays"] == stage["log_retention_in_days"]
    assert log["LogGroupName"] == {"Fn::Sub": f"/aws/lambda/${{{FUNCTIONS[function]}}}"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_settings_that_name_resources_are_references(function: str, package: Package) -> None:
    variables = package.function(function)["Environment"]["Variables"]
    named = {name: value for name, value in variables.items() if "orderonce-" in json.dumps(value)}
    assert set(named) <= {"POWERTOOLS_SERVICE_NAME", *RESTORABLE.values()}  # test_tables.py is about those tables
    references = {value["Ref"] for value in variables.values() if isinstance(value, dict) and "Ref" in value}
    assert references <= package.resources.keys() | {"MaxReceives"}
    assert len(references) == 6


def test_the_consumer_ends_well_before_its_messages_are_seen_again(package: Package) -> None:
    stage = stage_name(package)
    window = int(stage_config(stage)["environment_variables"]["CONSUMER_BATCHING_WINDOW_SECONDS"])
    timeout = package.function("order_consumer")["Timeout"]
    assert timeout == 10
    for template in (package.template, resources_template(stage)):
        queue = Conditions(template).resources["OrderQueue"]["Properties"]
        assert queue["VisibilityTimeout"] == 6 * timeout + window, "as AWS advises"
    longest = AppSettings.from_environment({"CONSUMER_BATCHING_WINDOW_SECONDS": "40"}).batching_window
    assert longest + 10 < 60, "what waits for the rest of its batch is in flight"
    with pytest.raises(BadSetting):
        AppSettings.from_environment({"CONSUMER_BATCHING_WINDOW_SECONDS": str(60 - 10)})


def test_runs_of_a_schedule_do_not_overlap(package: Package) -> None:
    for function in ("recover", "dead_letter_monitor"):
        (event,) = package.function(function)["Events"].values()
        assert event["Properties"]["Schedule"] == "rate(1 minute)"
        assert package.function(function)["Timeout"] < 60


# --- the consumer's mapping ---


def mapping(package: Package) -> dict[str, Any]:
    (event,) = package.function("order_consumer")["Events"].values()
    assert event["Type"] == "SQS"
    properties: dict[str, Any] = event["Properties"]
    return properties


def test_the_mapping_reads_the_queue_of_the_stack_as_its_stage_says(package: Package) -> None:
    settings = stage_config(stage_name(package))["environment_variables"]
    assert mapping(package)["Queue"] == {"Fn::Sub": "${OrderQueue.Arn}"}
    assert mapping(package)["BatchSize"] == int(settings["CONSUMER_BATCH_SIZE"])
    assert mapping(package)["MaximumBatchingWindowInSeconds"] == int(settings["CONSUMER_BATCHING_WINDOW_SECONDS"])
    assert mapping(package)["ScalingConfig"]["MaximumConcurrency"] == int(settings["CONSUMER_MAX_CONCURRENCY"])


def test_the_consumer_is_never_asked_which_messages_failed(package: Package) -> None:
    """It deletes what succeeded and raises, which is safe whatever a mapping says."""
    assert "FunctionResponseTypes" not in mapping(package)


# --- the API ---


def routes(package: Package) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, route)
        for path, methods in package.definition["paths"].items()
        for method, route in methods.items()
    ]


def test_every_route_but_the_open_ones_requires_a_signed_request(package: Package) -> None:
    assert package.definition["securityDefinitions"]["sigv4"]["x-amazon-apigateway-authtype"] == "awsSigv4"
    unsigned = {(path, method) for path, method, route in routes(package) if route.get("security") != [{"sigv4": []}]}
    assert unsigned == {(path, "get") for path in OPEN_ROUTES}
    assert {path for path, _, _ in routes(package)} == set(package.definition["paths"])
    assert set(OPEN_ROUTES) == {"/health", "/openapi.json", "/products"}
    for function in FUNCTIONS:
        assert package.function(function)["Environment"]["Variables"]["AUTH"] == "iam"


def test_the_api_is_throttled_and_what_is_open_on_its_own(package: Package) -> None:
    parameters = package.template["Parameters"]
    limits = {
        (setting["HttpMethod"], setting["ResourcePath"]): tuple(
            parameters[setting[limit]["Ref"]]["Default"] for limit in ("ThrottlingBurstLimit", "ThrottlingRateLimit")
        )
        for setting in package.properties("RestAPI")["MethodSettings"]
    }
    of_open = {("GET", path): (40, 20) for path in ("/~1health", "/~1openapi.json", "/~1products")}
    assert limits == {("*", "/*"): (200, 100), **of_open}


def test_the_api_is_regional(package: Package) -> None:
    """An edge-optimized one sends every request through a network of AWS's own, from anywhere to one region."""
    assert package.properties("RestAPI")["EndpointConfiguration"] == "REGIONAL"


def test_the_api_is_traced_and_keeps_an_access_log(package: Package) -> None:
    api = package.properties("RestAPI")
    assert api["TracingEnabled"] is True
    assert api["AccessLogSetting"]["DestinationArn"] == {"Fn::GetAtt": ["ApiAccessLog", "Arn"]}
    assert json.loads(api["AccessLogSetting"]["Format"])["apiRequestId"] == "$context.requestId"
    retention = stage_config(stage_name(package))["log_retention_in_days"]
    assert package.properties("ApiAccessLog")["RetentionInDays"] == retention


BODILESS = {
    "error.responseType",
    "httpMethod",
    "identity.sourceIp",
    "identity.userArn",
    "integrationLatency",
    "path",
    "requestId",
    "requestTime",
    "resourcePath",
    "responseLatency",
    "responseLength",
    "status",
    "xrayTraceId",
}
"""Variables that never quote the body of a request (Amazon API Gateway Developer Guide, "Variables for data models,
authorizers, mapping templates, and CloudWatch access logging"), as `error.validationErrorString` may."""


def test_no_variable_that_is_logged_or_answered_can_quote_the_body(package: Package) -> None:
    """It may have anything in it, a card number too."""
    texts = [package.properties("RestAPI")["AccessLogSetting"]["Format"]]
    for answer in package.definition["x-amazon-apigateway-gateway-responses"].values():
        texts += [*answer["responseTemplates"].values(), *answer["responseParameters"].values()]
    used = {name for text in texts for name in re.findall(r"context\.([A-Za-z.]+)", text)}
    assert used <= BODILESS | {"error.messageString"}
    assert not re.search(r"\$input|\$util|method\.request", "".join(texts))


def test_the_gateway_checks_the_body_of_a_new_order(package: Package) -> None:
    post = package.definition["paths"]["/orders"]["post"]
    validator = package.definition["x-amazon-apigateway-request-validators"][
        post["x-amazon-apigateway-request-validator"]
    ]
    assert validator == {"validateRequestBody": True, "validateRequestParameters": False}
    assert post["consumes"] == ["application/json"]
    (body,) = post["parameters"]
    assert body["schema"] == {"$ref": "#/definitions/OrderRequest"}
    assert "OrderRequest" in package.definition["definitions"]


def test_the_gateways_own_answers_are_problems(prod: Package) -> None:
    answers = prod.definition["x-amazon-apigateway-gateway-responses"]
    assert {"DEFAULT_4XX", "DEFAULT_5XX"} <= answers.keys()
    statuses = {int(answer["statusCode"]) for answer in answers.values() if "statusCode" in answer}
    assert statuses == {400, 401, 403, 404, 413, 415, 429, 500, 504}
    for kind, answer in answers.items():
        assert answer["responseParameters"]["gatewayresponse.header.Content-Type"] == "'application/problem+json'"
        assert answer["responseParameters"]["gatewayresponse.header.X-Correlation-Id"] == "context.requestId"
        text = answer["responseTemplates"]["application/json"]
        document = json.loads(text.replace("$context.error.messageString", '"Forbidden"'))
        assert document["detail"] == "Forbidden" or kind == "BAD_REQUEST_BODY"
        known = set() if kind.startswith("DEFAULT") else {"status"}
        assert set(document) == {"type", "title", "detail", "retryable", "instance"} | known
        assert document["instance"] == "urn:correlation-id:$context.requestId"
        assert document["retryable"] is (answer.get("statusCode") in ("429", "500", "504") or kind == "DEFAULT_5XX")
        assert str(document.get("status")) == answer.get("statusCode", "None")


def test_the_gateways_refusal_of_a_body_promises_no_list_of_errors(prod: Package) -> None:
    """It does not know them, nor whether the body is JSON at all."""
    answer = prod.definition["x-amazon-apigateway-gateway-responses"]["BAD_REQUEST_BODY"]
    document = json.loads(answer["responseTemplates"]["application/json"])
    assert (document["type"].rpartition("/")[2], document["status"]) == ("not-an-order", 400)
    assert "customerId, items and totalAmount" in document["detail"]
    assert "errors" not in document


# --- what is kept, and how ---


def test_tables_queues_and_the_key_are_retained(package: Package) -> None:
    kept = ("AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::KMS::Key")
    for resource in package.resources.values():
        if resource["Type"] in kept:
            assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_every_table_can_be_restored_to_a_point_in_time(package: Package) -> None:
    tables = package.of_type("AWS::DynamoDB::Table")
    assert len(tables) == 5
    for table in tables.values():
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_everything_at_rest_is_encrypted_with_the_stages_key_if_it_has_one(package: Package) -> None:
    key = {"Fn::GetAtt": ["StageKey", "Arn"]}
    places = {
        "AWS::DynamoDB::Table": ("SSESpecification", "KMSMasterKeyId"),
        "AWS::SQS::Queue": ("KmsMasterKeyId",),
        "AWS::SNS::Topic": ("KmsMasterKeyId",),
        "AWS::Logs::LogGroup": ("KmsKeyId",),
    }
    for kind, (property_, *inner) in places.items():
        found = package.of_type(kind)
        assert found
        for properties in found.values():
            condition, own_key, _ = properties[property_]["Fn::If"]
            assert condition == "OwnKey"
            assert (own_key[inner[0]] if inner else own_key) == key


def test_dev_has_keys_of_aws_and_prod_its_own(package: Package) -> None:
    wanted = {"dev": "AWS_OWNED", "prod": "STAGE_KEY"}[stage_name(package)]
    assert package.template["Parameters"]["Encryption"]["Default"] == wanted
    assert package.resources["StageKey"]["Condition"] == "OwnKey"


def test_the_services_that_deliver_messages_may_use_the_key(prod: Package) -> None:
    statements = prod.properties("StageKey")["KeyPolicy"]["Statement"]
    services = {json.dumps(s["Principal"]["Service"]) for s in statements if "Service" in s["Principal"]}
    assert services == {
        '"cloudwatch.amazonaws.com"',
        '"events.amazonaws.com"',
        '{"Fn::Sub": "logs.${AWS::Region}.amazonaws.com"}',
    }
    for statement in statements:
        assert statement["Sid"] == "Administration" or statement["Condition"]


def test_queues_require_tls(package: Package) -> None:
    policies = package.of_type("AWS::SQS::QueuePolicy").values()
    assert {queue["Ref"] for policy in policies for queue in policy["Queues"]} == set(
        package.of_type("AWS::SQS::Queue")
    )
    for policy in policies:
        statement, *_ = policy["PolicyDocument"]["Statement"]
        assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_only_sqs_fills_the_dead_letters_and_only_the_rule_those_of_events(package: Package) -> None:
    template = Template(package.template, {})
    allowed = template.resolve(package.properties("OrderDeadLetters")["RedriveAllowPolicy"])
    assert allowed == {"redrivePermission": "byQueue", "sourceQueueArns": [template.resolve(ARN_OF_ORDERS)]}
    (target,) = package.properties("OrderEventsRule")["Targets"]
    assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["OrderEventsDeadLetters", "Arn"]}}
    policy = package.properties("OrderEventsDeadLettersPolicy")["PolicyDocument"]["Statement"]
    (events,) = (statement for statement in policy if statement["Effect"] == "Allow")
    rule = template.resolve(package.properties("OrderEventsRule")["Name"])
    source = template.resolve(events["Condition"]["ArnEquals"]["aws:SourceArn"])
    assert source.endswith(f":rule/{template.resolve(package.properties('EventBus')['Name'])}/{rule}")


def test_every_log_group_is_kept_for_a_time(package: Package) -> None:
    groups = package.of_type("AWS::Logs::LogGroup")
    assert len(groups) == len(FUNCTIONS) + 2
    assert all(group["RetentionInDays"] > 0 for group in groups.values())


@pytest.mark.parametrize("receives", [None, 5])
def test_receives_are_counted_alike_by_queue_and_functions(receives: int | None, package: Package) -> None:
    """Whatever the stack's parameter is: it is the only source of both."""
    values = {"MaxReceives": receives} if receives else {}
    resources = Conditions(package.template, **values).resources
    counted = resources["OrderQueue"]["Properties"]["RedrivePolicy"]["maxReceiveCount"]
    assert counted == (receives or DEFAULT_MAX_RECEIVES)
    for logical_id in FUNCTIONS.values():
        assert resources[logical_id]["Properties"]["Environment"]["Variables"]["MAX_RECEIVES"] == counted


def test_without_a_value_of_a_stage_queue_and_consumer_have_the_same_default() -> None:
    """On the laptop, and where `chalice deploy` sets no MAX_RECEIVES."""
    parameters = json.loads(RESOURCES.read_text(encoding="utf-8"))["Parameters"]
    assert parameters["MaxReceives"]["Default"] == DEFAULT_MAX_RECEIVES


def test_a_stages_own_receives_reach_its_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(stages.config()["stages"]["dev"]["environment_variables"], "MAX_RECEIVES", "5")
    assert stages.stage_parameters("dev")["MaxReceives"] == "5"
    assert stages.stage_parameters("prod")["MaxReceives"] == str(DEFAULT_MAX_RECEIVES)
