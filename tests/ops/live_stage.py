"""A deployed stage on moto, in one of the two ways, as far as `stage check` looks at it.

What moto lacks is put into AWS's answers (`Answers`); what a test wants to be wrong is put there too.
"""

import copy
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import boto3
import pytest
from botocore.session import Session
from click.testing import CliRunner, Result
from moto import mock_aws

from app import app
from chalicelib import telemetry
from chalicelib.adapters import clients
from deploy import state_machine
from deploy.callers import caller_settings, has_tokens
from deploy.gateway import OPEN_ROUTES
from deploy.policies import static_policy
from deploy.stages import EVER, SAGA_STEP, config, function_name, functions_of, stage_config
from deploy.state_machine import has_state_machine
from deploy.tables import table_names
from deploy.template import merge_template, resources_template
from ops import stages
from ops.cli import ops
from ops.template import UNRESOLVED, Template
from tests.deploy.packages import configured
from tests.deploy.support.commands import SIMULATED_ON_PROD
from tests.support.tables import create_like

ACCOUNT, REGION = "123456789012", "us-east-1"
LOGS = "arn:aws:logs:*:*:log-group:"

WAYS: dict[str, Any] = {
    "chalice deploy": {"stage": "dev", "packaged": False},
    "make deploy": {"stage": "prod", "packaged": True},
    "make deploy, by alias": {"stage": "prod", "packaged": True, "alias": "live"},
}
"""Stages of both ways of deployment, whose requests are signed."""

WITH_TOKENS: dict[str, Any] = {
    way: {**WAYS[way], "settings": {"AUTH": "cognito", "CORS_ORIGIN": "https://shop.example"}}
    for way in ("chalice deploy", "make deploy")
}
"""The same with access tokens, for the pages of a shop."""

WITH_STATE_MACHINE: dict[str, Any] = {
    way: {**WAYS[way], "settings": {"ENGINE": "step-functions"}} for way in ("chalice deploy", "make deploy, by alias")
}
"""The same with a state machine that runs the sagas."""

Change = Callable[[dict[str, Any]], object]


class Answers:
    """Sees each call of AWS, and changes its answer: `change("GetStages", lambda answer: answer["item"].clear())`."""

    def __init__(self) -> None:
        self.operations: set[str] = set()
        self._always: dict[str, list[Change]] = {}
        self._now: dict[str, list[Change]] = {}
        self._refused: dict[str, str] = {}

    def always(self, operation: str, change: Change) -> None:
        """For as long as the stage lives."""
        self._always.setdefault(operation, []).append(change)

    def change(self, operation: str, change: Change) -> None:
        """Until `restore`."""
        self._now.setdefault(operation, []).append(change)

    def refuse(self, operation: str, code: str) -> None:
        """AWS answers with this error until `restore`."""
        self._refused[operation] = code

    def restore(self) -> None:
        """The stage is as it should be again."""
        self._now.clear()
        self._refused.clear()
        self.operations.clear()

    def watch(self, client: Any) -> None:
        """The calls of this client."""
        client.meta.events.register("after-call", self._answered)

    def _answered(self, http_response: Any, parsed: dict[str, Any], model: Any, **_: Any) -> None:
        self.operations.add(model.name)
        if code := self._refused.get(model.name):
            http_response.status_code = 403
            parsed["Error"] = {"Code": code, "Message": "as the test wants it"}
        elif "Error" not in parsed:
            for change in (*self._always.get(model.name, ()), *self._now.get(model.name, ())):
                change(parsed)


def operate(*words: str, typed: str | None = None) -> Result:
    """The result of a command of the operator's."""
    telemetry.logger()  # made before the command's log format and streams
    clients.forget()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AUTH", "POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE"):
            patch.delenv(name, raising=False)
        return CliRunner().invoke(ops, words, input=typed, catch_exceptions=False)


@contextmanager
def live_stage(
    stage: str, *, packaged: bool, alias: str = "", restored: str = "", settings: Mapping[str, str] | None = None
) -> Iterator[Answers]:
    """The stage, deployed by `make deploy` (packaged) or by `chalice deploy`; what is invoked is perhaps an alias.

    `restored` is what the names of its tables in use end in; `settings` change those of its part of config.json.
    """
    answers = Answers()
    make = Session.create_client

    def watched(session: Session, *args: Any, **options: Any) -> Any:
        client = make(session, *args, **options)
        answers.watch(client)
        return client

    simulated = SIMULATED_ON_PROD if stage == "prod" else {}
    with (
        mock_aws(config={"lambda": {"use_docker": False}}),
        configured(stage, {**simulated, **(settings or {})}),
        patch.object(stages, "config", config),
    ):
        _Deployment(stage, packaged, alias, restored).deploy(answers)
        with patch.object(Session, "create_client", watched):
            yield answers


class _Deployment:
    def __init__(self, stage: str, packaged: bool, alias: str, restored: str) -> None:
        self.stage, self.packaged, self.alias, self.restored = stage, packaged, alias, restored
        self.tables = table_names(stage, restored)
        self.config = stage_config(stage)
        self.pool = self._user_pool() if has_tokens(stage) else {}

    def _user_pool(self) -> dict[str, str]:
        """The pool, and the settings that name it: beside `chalice deploy` those of config.json."""
        cognito: Any = boto3.client("cognito-idp")
        invited = {"AllowAdminCreateUserOnly": True}
        pool = cognito.create_user_pool(PoolName="shop", AdminCreateUserConfig=invited)["UserPool"]
        cognito.create_group(UserPoolId=pool["Id"], GroupName="operators")
        clients = [cognito.create_user_pool_client(UserPoolId=pool["Id"], ClientName=name) for name in ("one", "two")]
        ids = ",".join(client["UserPoolClient"]["ClientId"] for client in clients)
        settings = {"USER_POOL_ARN": pool["Arn"], "USER_POOL_CLIENTS": ids}
        if not self.packaged:
            self.config["environment_variables"].update(settings)
        return settings

    def deploy(self, answers: Answers) -> None:
        """All that runs, beside what it runs on."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # moto does not know all resources
            document = resources_template(self.stage, watched=False)
            for own in (state_machine.MACHINE, state_machine.ROLE):  # made when their function is
                document["Resources"].pop(own, None)
            boto3.client("cloudformation").create_stack(StackName="resources", TemplateBody=json.dumps(document))
        if self.restored:
            self._restore()
        for name in functions_of(self.stage):
            self._function(name)
        if has_state_machine(self.stage):
            self._state_machine()
        self._mapping()
        self._schedules()
        self._api()
        self._watching()
        self._protect_tables()
        tls = {"Effect": "Deny", "Principal": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}
        policy = json.dumps({"Statement": [tls]})
        answers.always("GetQueueAttributes", lambda answer: answer["Attributes"].update(Policy=policy))
        if self.alias:  # moto puts the alias' version in its place
            answers.always("ListEventSourceMappings", self._by_alias)
        xray = {"TracingConfig": {"Mode": "Active"}}
        answers.always("GetFunctionConfiguration", lambda answer: answer.update(xray))

    def name(self, function: str) -> str:
        """As Chalice names a function, or CloudFormation."""
        if self.packaged:
            return f"orderonce-{self.stage}-{EVER[function]}-AbC123"
        return function_name(function).replace("${Stage}", self.stage)

    def arn(self, function: str) -> str:
        """What is invoked."""
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{self.name(function)}" + (self.alias and f":{self.alias}")

    def _settings(self) -> dict[str, str]:
        settings: dict[str, str] = self.config["environment_variables"] | self.tables | self.pool
        if self.packaged:  # a queue's Ref is its URL, a topic's its ARN
            for queue in ("ORDER_QUEUE", "ORDER_DEAD_LETTERS"):
                settings[queue] = boto3.client("sqs").get_queue_url(QueueName=settings[queue])["QueueUrl"]
            settings["SETTINGS_DIGEST"] = "0123456789abcdef"
            settings["ALERTS_TOPIC"] = f"arn:aws:sns:{REGION}:{ACCOUNT}:{settings['ALERTS_TOPIC']}"
            settings = self._of_the_package() | settings
        return settings

    def _own_settings(self, function: str) -> dict[str, str]:
        if function == "order_consumer" and has_state_machine(self.stage):
            machine = state_machine.machine_name(self.stage)
            return {"STATE_MACHINE": f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{machine}"}
        return {}

    def _state_machine(self) -> None:
        """As the template says, with what it invokes."""
        function, iam = self.arn(SAGA_STEP), boto3.client("iam")
        role = iam.create_role(RoleName="saga", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        policy = json.dumps(state_machine.policy(function))
        iam.put_role_policy(RoleName="saga", PolicyName="saga", PolicyDocument=policy)
        log = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{state_machine.log_group(self.stage)}:*"
        boto3.client("stepfunctions").create_state_machine(
            name=state_machine.machine_name(self.stage),
            definition=json.dumps(state_machine.definition(function)),
            roleArn=role,
            loggingConfiguration={
                "level": "ERROR",
                "includeExecutionData": False,
                "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": log}}],
            },
            tracingConfiguration={"enabled": True},
        )

    def _of_the_package(self) -> dict[str, str]:
        """What the package sets beside the stage's configuration: values of parameters."""
        document = merge_template(self.stage)
        variables = document["Resources"]["OrderConsumer"]["Properties"]["Environment"]["Variables"]
        parameters = document["Parameters"]
        references = {name: value["Ref"] for name, value in variables.items() if value.get("Ref") in parameters}
        return {name: str(parameters[reference]["Default"]) for name, reference in references.items()}

    def _function(self, name: str) -> None:
        own = self.config["lambda_functions"][name]
        lambdas: Any = boto3.client("lambda")
        made = lambdas.create_function(
            FunctionName=self.name(name),
            Runtime="python3.11",
            Role=self._role(name),
            Handler="app.app" if name == "api_handler" else f"app.{name}",
            Code={"ZipFile": b"code"},
            Timeout=own.get("lambda_timeout", config()["lambda_timeout"]),
            MemorySize=own.get("lambda_memory_size", config()["lambda_memory_size"]),
            Architectures=["arm64"],
            Environment={"Variables": self._settings() | self._own_settings(name)},
        )
        if self.alias:
            version = lambdas.publish_version(FunctionName=self.name(name))["Version"]
            lambdas.create_alias(FunctionName=self.name(name), Name=self.alias, FunctionVersion=version)
        assert made["FunctionArn"] in self.arn(name)
        if "reserved_concurrency" in own:
            lambdas.put_function_concurrency(
                FunctionName=self.name(name), ReservedConcurrentExecutions=own["reserved_concurrency"]
            )
        group = f"/aws/lambda/{self.name(name)}"
        logs = boto3.client("logs")
        existing = {g["logGroupName"] for g in logs.describe_log_groups()["logGroups"]}
        if group not in existing:
            logs.create_log_group(logGroupName=group)
        logs.put_retention_policy(logGroupName=group, retentionInDays=self.config["log_retention_in_days"])

    def _role(self, name: str) -> str:
        """With the resources of its account; a packaged one with a pattern for its log group, and no GetQueueUrl."""
        policy = static_policy(name, self.stage, self.tables)
        for statement in policy["Statement"]:
            statement["Resource"] = statement["Resource"].replace(":*:*:", f":{REGION}:{ACCOUNT}:", 1)
            if self.packaged:
                statement["Action"] = [action for action in statement["Action"] if action != "sqs:GetQueueUrl"]
                if ":logs:" in statement["Resource"]:
                    pattern = f"/aws/lambda/orderonce-{self.stage}-{EVER[name]}-*:*"
                    statement["Resource"] = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{pattern}"
        iam = boto3.client("iam")
        role = iam.create_role(RoleName=self.name(name), AssumeRolePolicyDocument="{}")["Role"]
        iam.put_role_policy(RoleName=self.name(name), PolicyName=name, PolicyDocument=json.dumps(policy))
        return str(role["Arn"])

    def _mapping(self) -> None:
        settings = self.config["environment_variables"]
        boto3.client("lambda").create_event_source_mapping(
            FunctionName=self.arn("order_consumer"),
            EventSourceArn=f"arn:aws:sqs:{REGION}:{ACCOUNT}:{settings['ORDER_QUEUE']}",
            BatchSize=int(settings["CONSUMER_BATCH_SIZE"]),
            MaximumBatchingWindowInSeconds=int(settings["CONSUMER_BATCHING_WINDOW_SECONDS"]),
            ScalingConfig={"MaximumConcurrency": int(settings["CONSUMER_MAX_CONCURRENCY"])},
        )

    def _by_alias(self, answer: dict[str, Any]) -> None:
        for mapping in answer["EventSourceMappings"]:
            mapping["FunctionArn"] = self.arn("order_consumer")

    def _schedules(self) -> None:
        events = boto3.client("events")
        often = {"recover": "1 minute", "dead_letter_monitor": "1 minute", "reconcile_payments": "1 day"}
        for name in often.keys() & functions_of(self.stage).keys():
            rule = f"{self.name(name)}-event"
            arn = events.put_rule(Name=rule, ScheduleExpression=f"rate({often[name]})")["RuleArn"]
            events.put_targets(Rule=rule, Targets=[{"Id": "1", "Arn": self.arn(name)}])
            self._permit(name, "events.amazonaws.com", arn)

    def _permit(self, function: str, principal: str, source: str) -> None:
        boto3.client("lambda").add_permission(
            **({"Qualifier": self.alias} if self.alias else {}),
            FunctionName=self.name(function),
            StatementId="one",
            Action="lambda:InvokeFunction",
            Principal=principal,
            SourceArn=source,
        )

    def _api(self) -> None:
        gateway: Any = boto3.client("apigateway")
        api = gateway.create_rest_api(name="orderonce")["id"]
        (root,) = gateway.get_resources(restApiId=api)["items"]
        resources = {"": root["id"]}
        required_of_protected = self._required(gateway, api)
        uri = f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/{self.arn('api_handler')}/invocations"
        for path, verbs in app.routes.items():
            above = ""
            for part in path.split("/")[1:]:
                here = f"{above}/{part}"
                if here not in resources:
                    made = gateway.create_resource(restApiId=api, parentId=resources[above], pathPart=part)
                    resources[here] = made["id"]
                above = here
            at = {"restApiId": api, "resourceId": resources[path]}
            for verb in verbs:
                required = {"authorizationType": "NONE"} if path in OPEN_ROUTES else required_of_protected
                gateway.put_method(**at, httpMethod=verb, **required)
                gateway.put_integration(**at, httpMethod=verb, type="AWS_PROXY", integrationHttpMethod="POST", uri=uri)
            if origin := caller_settings(self.stage).cors_origin:
                self._preflight(gateway, at, origin)
        gateway.create_deployment(restApiId=api, stageName=self.config["api_gateway_stage"])
        source = f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{api}/*"
        self._permit("api_handler", "apigateway.amazonaws.com", source)

    def _required(self, gateway: Any, api: str) -> dict[str, Any]:
        """What every protected method requires."""
        if not self.pool:
            return {"authorizationType": "AWS_IAM"}
        made = gateway.create_authorizer(
            restApiId=api,
            name="cognito",
            type="COGNITO_USER_POOLS",
            providerARNs=[self.pool["USER_POOL_ARN"]],
            identitySource="method.request.header.Authorization",
        )
        scopes = list(caller_settings(self.stage).user_pool_scopes)
        return {
            "authorizationType": "COGNITO_USER_POOLS",
            "authorizerId": made["id"],
            "authorizationScopes": scopes,
        }

    @staticmethod
    def _preflight(gateway: Any, at: dict[str, str], origin: str) -> None:
        header = "method.response.header.Access-Control-Allow-Origin"
        gateway.put_method(**at, httpMethod="OPTIONS", authorizationType="NONE")
        gateway.put_integration(**at, httpMethod="OPTIONS", type="MOCK")
        gateway.put_method_response(**at, httpMethod="OPTIONS", statusCode="200", responseParameters={header: True})
        gateway.put_integration_response(
            **at, httpMethod="OPTIONS", statusCode="200", responseParameters={header: f"'{origin}'"}
        )

    def _watching(self) -> None:
        topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:{self.config['environment_variables']['ALERTS_TOPIC']}"
        boto3.client("sns").subscribe(TopicArn=topic, Protocol="email", Endpoint="ann@example.com")
        document = merge_template(self.stage) if self.packaged else resources_template(self.stage)
        names = {logical_id: self.name(name) for name, logical_id in functions_of(self.stage).items()}
        names |= {f"{logical_id}.Version": "1" for logical_id in names}
        names |= {"AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": ACCOUNT}
        cloudwatch: Any = boto3.client("cloudwatch")
        for alarm in Template(document, {"Stage": self.stage, "RestoredTables": self.restored, **names}).of_type(
            "AWS::CloudWatch::Alarm"
        ):
            notified = {"AlarmActions": [topic], "OKActions": [topic]}
            known = {name: value for name, value in alarm.items() if value is not UNRESOLVED}
            if "Metrics" in alarm.keys() - known.keys():  # they name the version that was published last
                known |= {"Namespace": "AWS/Lambda", "MetricName": "Errors", "Statistic": "Sum", "Period": 60}
            cloudwatch.put_metric_alarm(**copy.deepcopy(known) | notified)
        if self.packaged:
            group = f"/aws/apigateway/orderonce-{self.stage}"
            boto3.client("logs").create_log_group(logGroupName=group)
            days = self.config["log_retention_in_days"]
            boto3.client("logs").put_retention_policy(logGroupName=group, retentionInDays=days)

    def _restore(self) -> None:
        """Tables of the new names, as the old ones are; what they lack is protected later."""
        for setting, target in self.tables.items():
            create_like(boto3.client("dynamodb"), table_names(self.stage)[setting], target)

    def _protect_tables(self) -> None:
        dynamodb = boto3.client("dynamodb")
        for name in dynamodb.list_tables()["TableNames"]:
            dynamodb.update_table(TableName=name, DeletionProtectionEnabled=True)
            dynamodb.update_continuous_backups(
                TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
            )
            if any(each in name for each in ("-orders", "-idempotency")):
                expiry: Any = {"Enabled": True, "AttributeName": "expiresAt"}
                dynamodb.update_time_to_live(TableName=name, TimeToLiveSpecification=expiry)
