"""What a deployment from GitHub needs in an account: enough to deploy a stage, and no way out of the boundary."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
import pytest

from deploy import __main__ as command
from deploy import boundary, stacks, state_machine
from deploy.policies import static_policy
from deploy.stages import DEPLOYED, FUNCTIONS, ROOT, functions_of, read, stage_config
from tests.deploy.packages import Package, packaged
from tests.deploy.support.iam import ACCOUNT, REGION, allows, filled
from tests.deploy.test_package import lint, stage_name
from tests.deploy.test_workflows import workflow
from tests.support.step_functions import step_functions

BOOTSTRAP = ROOT / "deploy" / "bootstrap.json"
RESOURCES = read(BOOTSTRAP)["Resources"]
REPOSITORY = "ann/orderonce"


def arn(service: str, rest: str, account: str = ACCOUNT, region: str = REGION) -> str:
    return f"arn:aws:{service}:{region}:{account}:{rest}"


def role(name: str) -> str:
    return arn("iam", f"role/{name}", region="")


def boundary_of(stage: str) -> str:
    return arn("iam", f"policy/orderonce-boundary-{stage}", region="")


def made(logical_id: str, stage: str) -> Any:
    """A resource's properties for a stage."""
    values = {
        "Stage": stage,
        "Repository": REPOSITORY,
        "Artifacts": "the-bucket",
        "Artifacts.Arn": "arn:aws:s3:::the-bucket",
        **{name: f"the-{name}" for name in ("GitHub", "Provider", "Boundary", "BudgetUsd", "BudgetEmail")},
        **{each["Ref"]: each["Ref"] for each in RESOURCES["DeployRole"]["Properties"]["ManagedPolicyArns"]},
    }
    return filled(RESOURCES[logical_id]["Properties"], values)


def deploying(stage: str) -> list[Mapping[str, Any]]:
    """The policies of the deploy role."""
    return [made(name, stage)["PolicyDocument"] for name in made("DeployRole", stage)["ManagedPolicyArns"]]


def test_cfn_lint_finds_no_error() -> None:
    assert lint(BOOTSTRAP) == ""


def test_every_policy_fits() -> None:
    """6,144 characters without white space (IAM User Guide, "IAM and AWS STS quotas")."""
    for name in (*(each["Ref"] for each in RESOURCES["DeployRole"]["Properties"]["ManagedPolicyArns"]), "Boundary"):
        assert len(json.dumps(made(name, "prod")["PolicyDocument"], separators=(",", ":"))) < 6_144


def test_only_the_stages_environment_of_the_repository_is_trusted() -> None:
    for stage in DEPLOYED:
        (statement,) = made("DeployRole", stage)["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Condition"] == {
            "StringEquals": {
                "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
                "token.actions.githubusercontent.com:sub": f"repo:{REPOSITORY}:environment:{stage}",
            }
        }
        assert workflow("deploy")["jobs"][stage]["environment"] == stage


def test_the_workflow_uses_each_output() -> None:
    text = (ROOT / ".github" / "workflows" / "deploy.yml").read_text(encoding="utf-8")
    for output in read(BOOTSTRAP)["Outputs"].values():
        variable = output["Description"].split()[2]
        assert f"${{{{ vars.{variable} }}}}" in text


# --- the deploy role may do what a deployment does ---

NOT_USED = {
    "AWS::ApiGateway::RestApi": r"iam:PassRole|s3:.*",  # a body in a bucket, logs of the old kind
    "AWS::Cognito::UserPool": r"iam:.*",
    "AWS::Cognito::UserPoolClient": r"iam:.*",
    "AWS::Cognito::UserPoolDomain": r"cloudfront:.*",
    "AWS::Cognito::UserPoolGroup": r"iam:.*",
    "AWS::DynamoDB::Table": r"dynamodb:(.*Item|Query|Scan|.*Kinesis.*|.*Replica|.*Import.*|(Put|Delete)ResourcePolicy)"
    r"|kinesis:.*|logs:.*|s3:.*|iam:CreateServiceLinkedRole",
    "AWS::Events::EventBus": r"events:(Put|Remove)Permission",
    "AWS::Events::Rule": r"iam:PassRole",
    "AWS::IAM::Role": r"iam:((Attach|Detach)RolePolicy|DeleteRolePermissionsBoundary)",
    "AWS::Lambda::Function": r"(ec2|elasticfilesystem|s3files):.*"
    r"|lambda:(AssociateRuntimeAlias|PassCapacityProvider|GetCodeSigningConfig|GetLayerVersion)",
    "AWS::Logs::LogGroup": r"firehose:.*|s3:.*|logs:Put(Index|DataProtection|Bearer|LogGroupDeletion).*",
    "AWS::StepFunctions::StateMachine": r"(kms|s3):.*",  # a key of its own, a definition in a bucket
    "AWS::SNS::Subscription": r"iam:.*",
    "AWS::SNS::Topic": r"iam:.*|sns:PutDataProtectionPolicy",
    "AWS::WAFv2::WebACL": r"payments:.*",
    "AWS::WAFv2::WebACLAssociation": r"(amplify|apprunner|appsync|bedrock-agentcore|cognito-idp|ec2):.*"
    r"|elasticloadbalancing:.*|wafv2:(Get|Put)PermissionPolicy",
}
"""Actions that the handler of a resource needs for what no stage has; and those that would lead out of the boundary."""

OF_SAM = {
    "AWS::ApiGateway::Deployment",
    "AWS::ApiGateway::RestApi",
    "AWS::ApiGateway::Stage",
    "AWS::CodeDeploy::Application",
    "AWS::CodeDeploy::DeploymentGroup",
    "AWS::Events::Rule",
    "AWS::Lambda::Alias",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Function",
    "AWS::Lambda::Permission",
    "AWS::Lambda::Version",
}
"""What the SAM transform makes of the package's own resources (tests/deploy/test_transform.py)."""

PLACES = {
    "AWS::ApiGateway": [arn("apigateway", path, "") for path in ("/restapis/a1", "/domainnames/d", "/tags/t")],
    "AWS::Cognito": [arn("cognito-idp", "userpool/eu-west-1_AbCdEf")],
    "AWS::CloudWatch::Alarm": [arn("cloudwatch", "alarm:orderonce-{0}-a")],
    "AWS::CloudWatch::Dashboard": [arn("cloudwatch", "dashboard/orderonce-{0}", region="")],
    "AWS::CodeDeploy": [
        arn("codedeploy", "application:orderonce-{0}-App-X"),
        arn("codedeploy", "deploymentgroup:orderonce-{0}-App-X/orderonce-{0}-G"),
        arn("codedeploy", "deploymentconfig:CodeDeployDefault.LambdaCanary10Percent10Minutes"),
    ],
    "AWS::DynamoDB::Table": [arn("dynamodb", "table/orderonce-{0}-orders")],
    "AWS::Events::EventBus": [arn("events", "event-bus/orderonce-{0}")],
    "AWS::Events::Rule": [
        arn("events", "rule/orderonce-{0}-RecoverRecoverEvent-X"),
        arn("events", "rule/orderonce-{0}/r"),
    ],
    "AWS::IAM::Role": [role("orderonce-{0}-RecoverRole-X")],
    "AWS::KMS": [arn("kms", "key/k"), arn("kms", "alias/orderonce-{0}")],
    "AWS::Lambda": [arn("lambda", "function:orderonce-{0}-Recover-X"), arn("lambda", "event-source-mapping:m")],
    "AWS::Logs": [arn("logs", "log-group:/aws/lambda/orderonce-{0}-Recover-X:*")],
    "AWS::SNS": [arn("sns", "orderonce-{0}-alerts")],
    "AWS::StepFunctions": [arn("states", "stateMachine:orderonce-{0}-saga")],
    "AWS::SQS": [arn("sqs", "orderonce-{0}-orders")],
    "AWS::WAFv2": [arn("wafv2", "regional/webacl/orderonce-{0}/i"), arn("apigateway", "/restapis/a1/stages/s", "")],
}
"""The ARNs that the actions of a type are asked for: each must be allowed on one of them, if not on all."""


@cache
def handlers() -> Mapping[str, frozenset[str]]:
    """What the caller must be allowed to do for each type of resource, by CloudFormation's own schemas."""
    found: dict[str, frozenset[str]] = {}
    for path in Path(str(files("cfnlint") / "data" / "schemas" / "resources")).glob("*.json"):
        schema = json.loads(path.read_text(encoding="utf-8"))
        verbs = (schema.get("handlers", {}).get(verb, {}) for verb in ("create", "read", "update", "delete"))
        permissions = frozenset(action for verb in verbs for action in verb.get("permissions", ()))
        found[schema["typeName"]] = found.get(schema["typeName"], frozenset()) | permissions
    return found


def context_of(stage: str) -> dict[str, str]:
    return {
        "aws:RequestTag/stage": stage,
        "aws:ResourceTag/stage": stage,
        "iam:PermissionsBoundary": boundary_of(stage),
        "iam:PassedToService": "lambda.amazonaws.com",
        "kms:ViaService": f"dynamodb.{REGION}.amazonaws.com",
        "lambda:FunctionArn": arn("lambda", f"function:orderonce-{stage}-OrderConsumer-X"),
    }


def places(kind: str, action: str, stage: str) -> Iterator[str]:
    """The ARNs that an action is asked for."""
    service = action.partition(":")[0]
    if service == "kms" or action == "iam:PassRole":
        kind = "AWS::KMS" if service == "kms" else "AWS::IAM::Role"
    elif service == "s3":
        yield "arn:aws:s3:::the-bucket/orderonce/z.zip"
        return
    elif service == "codedeploy":
        kind = "AWS::CodeDeploy"
    for prefix, arns in PLACES.items():
        if kind.startswith(prefix):
            yield from (each.format(stage) for each in arns)


def test_the_deploy_role_may_make_change_and_delete_all_that_a_stage_has(
    with_tokens: Package, packages_folder: Path
) -> None:
    """With access tokens and a state machine, which add a pool and the machine, and take nothing away."""
    stage = stage_name(with_tokens)
    policies = deploying(stage)
    with_state_machine = packaged(stage, packages_folder, ENGINE="step-functions")
    types = {resource["Type"] for each in (with_tokens, with_state_machine) for resource in each.resources.values()}
    kinds = OF_SAM | {type_ for type_ in types if not type_.startswith("AWS::Serverless::")}
    missing = [
        (kind, action)
        for kind in sorted(kinds)
        for action in sorted(handlers()[kind])
        if not re.fullmatch(NOT_USED.get(kind, ""), action)
        and not any(allows(policies, action, place, context_of(stage)) for place in places(kind, action, stage))
    ]
    assert missing == []


def test_what_is_said_not_to_be_used_is_needed_by_nothing_else() -> None:
    for kind, unused in NOT_USED.items():
        assert any(re.fullmatch(unused, action) for action in handlers()[kind]), kind


def test_the_deploy_role_may_call_cloudformation_as_the_command_does() -> None:
    source = Path(stacks.__file__).read_text(encoding="utf-8")
    used = {
        name
        for name in re.findall(r"client\.([a-z_]+)\(", source)
        if not name.startswith("get_") or name == "get_template"
    }
    used |= set(re.findall(r'get_paginator\("([a-z_]+)"\)', source))
    assert len(used) > 8
    for stage in DEPLOYED:
        for name in (command._stack(stage), command._resources_stack(stage)):
            for call in used:
                action = "cloudformation:" + "".join(word.title() for word in call.split("_"))
                assert allows(deploying(stage), action, arn("cloudformation", f"stack/{name}/id")), action
    transform = arn("cloudformation", "transform/Serverless-2016-10-31", "aws")
    assert allows(deploying("dev"), "cloudformation:CreateChangeSet", transform)
    for action in ("s3:PutObject", "s3:GetObject"):
        assert allows(deploying("dev"), action, "arn:aws:s3:::the-bucket/orderonce/a.zip")


def test_the_deploy_role_may_look_at_a_stage_and_try_it() -> None:
    """As `stage check`, `catalogue load` and `stage smoke` do after a deployment."""
    for stage in DEPLOYED:
        queue, table = arn("sqs", f"orderonce-{stage}-orders"), arn("dynamodb", f"table/orderonce-{stage}-inventory")
        for action, place in (
            ("execute-api:Invoke", arn("execute-api", f"a1b2/{stage}/POST/orders")),
            *((f"sqs:{call}", queue) for call in ("SendMessage", "ReceiveMessage", "DeleteMessage", "GetQueueUrl")),
            ("sqs:ChangeMessageVisibility", queue),
            ("sqs:GetQueueAttributes", queue),
            ("dynamodb:UpdateItem", table),
            *((f"dynamodb:Describe{of}", table) for of in ("Table", "TimeToLive", "ContinuousBackups")),
            ("sns:ListSubscriptionsByTopic", arn("sns", f"orderonce-{stage}-alerts")),
            ("lambda:GetPolicy", arn("lambda", f"function:orderonce-{stage}-APIHandler-X")),
            ("lambda:ListAliases", arn("lambda", f"function:orderonce-{stage}-APIHandler-X")),
            ("lambda:ListFunctions", "*"),
            ("states:DescribeStateMachine", arn("states", f"stateMachine:orderonce-{stage}-saga")),
            ("lambda:ListEventSourceMappings", "*"),
            ("events:ListRuleNamesByTarget", "*"),
            ("cloudwatch:DescribeAlarms", "*"),
            ("logs:DescribeLogGroups", "*"),
            ("iam:GetRolePolicy", role(f"orderonce-{stage}-RecoverRole-X")),
            ("apigateway:GET", arn("apigateway", "/restapis/a1/stages", "")),
            ("secretsmanager:DescribeSecret", arn("secretsmanager", f"secret:orderonce/{stage}/stripe-AbC123")),
            ("ssm:DescribeParameters", "*"),
            *(
                (f"cognito-idp:{call}", arn("cognito-idp", "userpool/eu-west-1_AbCdEf"))
                for call in ("DescribeUserPool", "GetGroup", "ListUserPoolClients", "ListUserPools")
            ),
        ):
            assert allows(deploying(stage), action, place), action


def test_the_deploy_role_reads_no_secret() -> None:
    for stage in DEPLOYED:
        for action, place in SECRETS.items():
            assert not allows(deploying(stage), action, place.format(stage), context_of(stage))


def test_the_deploy_role_changes_the_pool_of_its_stage_alone_and_nobody_in_it() -> None:
    pool = arn("cognito-idp", "userpool/eu-west-1_AbCdEf")
    for stage in DEPLOYED:
        other = {"aws:ResourceTag/stage": "another", "aws:RequestTag/stage": "another"}
        for call in ("UpdateUserPool", "DeleteUserPool", "UpdateUserPoolClient", "DescribeUserPoolClient"):
            assert allows(deploying(stage), f"cognito-idp:{call}", pool, context_of(stage))
            assert not allows(deploying(stage), f"cognito-idp:{call}", pool, other)
        for call in ("AdminAddUserToGroup", "AdminCreateUser", "AdminSetUserPassword", "ListUsers"):
            assert not allows(deploying(stage), f"cognito-idp:{call}", pool, context_of(stage))


# --- it cannot leave the boundary ---


def every_action_of_iam() -> list[str]:
    return [f"iam:{name}" for name in boto3.client("iam").meta.service_model.operation_names]


LEADING_OUT = [
    role("Administrator"),
    role("orderonce-deploy-prod"),
    role("orderonce-deploy-dev"),
    arn("iam", "user/ann", region=""),
    arn("iam", "group/people", region=""),
    arn("iam", "policy/orderonce-boundary-prod", region=""),
    arn("iam", "policy/orderonce-boundary-dev", region=""),
    arn("iam", "policy/any", region=""),
    arn("iam", "oidc-provider/token.actions.githubusercontent.com", region=""),
]
ONLY_BOUNDED = {"iam:CreateRole", "iam:DeleteRolePolicy", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy"}


@pytest.mark.parametrize("stage", DEPLOYED)
def test_it_changes_no_identity_but_the_roles_of_its_stage(stage: str) -> None:
    (other,) = set(DEPLOYED) - {stage}
    for resource in (*LEADING_OUT, role(f"orderonce-{other}-RecoverRole-X")):
        for action in every_action_of_iam():
            if action != "iam:ListRoles":  # has no resource
                assert not allows(deploying(stage), action, resource, context_of(stage)), (action, resource)


@pytest.mark.parametrize("stage", DEPLOYED)
def test_a_role_of_the_stage_gets_permissions_only_within_the_boundary(stage: str) -> None:
    own = role(f"orderonce-{stage}-RecoverRole-X")
    unbounded = {name: value for name, value in context_of(stage).items() if name != "iam:PermissionsBoundary"}
    foreign = unbounded | {"iam:PermissionsBoundary": boundary_of("other")}
    within = {action for action in every_action_of_iam() if allows(deploying(stage), action, own, context_of(stage))}
    without = {action for action in every_action_of_iam() if allows(deploying(stage), action, own, unbounded)}
    assert within - without == ONLY_BOUNDED
    assert {action for action in every_action_of_iam() if allows(deploying(stage), action, own, foreign)} == without
    assert not without & {"iam:AttachRolePolicy", "iam:DeleteRolePermissionsBoundary"}


@pytest.mark.parametrize("stage", DEPLOYED)
def test_it_passes_roles_only_to_services_that_need_them_and_changes_no_other_stage(stage: str) -> None:
    (other,) = set(DEPLOYED) - {stage}
    needs = {"lambda": True, "codedeploy": True, "states": True}
    for service, may in {**needs, "ec2": False, "cloudformation": False}.items():
        passed = context_of(stage) | {"iam:PassedToService": f"{service}.amazonaws.com"}
        assert allows(deploying(stage), "iam:PassRole", role(f"orderonce-{stage}-R"), passed) is may
        assert not allows(deploying(stage), "iam:PassRole", role("Administrator"), passed)
    assert not allows(deploying(stage), "sts:AssumeRole", role("Administrator"))
    assert not allows(
        deploying(stage), "cloudformation:DeleteStack", arn("cloudformation", "stack/orderonce-bootstrap/i")
    )
    for neighbour in (f"orderonce-{other}", f"orderonce-{stage}ops"):
        for action, place in {
            "cloudformation:ExecuteChangeSet": arn("cloudformation", f"stack/{neighbour}/id"),
            "dynamodb:DeleteTable": arn("dynamodb", f"table/{neighbour}-orders"),
            "events:DeleteRule": arn("events", f"rule/{neighbour}-r"),
            "kms:DeleteAlias": arn("kms", f"alias/{neighbour}"),
            "lambda:UpdateFunctionCode": arn("lambda", f"function:{neighbour}-Recover-X"),
            "logs:DeleteLogGroup": arn("logs", f"log-group:/aws/lambda/{neighbour}-Recover-X"),
            "sqs:DeleteQueue": arn("sqs", f"{neighbour}-orders"),
            "states:UpdateStateMachine": arn("states", f"stateMachine:{neighbour}-saga"),
        }.items():
            assert not allows(deploying(stage), action, place, context_of(stage)), action


# --- the boundary ---


SECRETS = {
    "secretsmanager:GetSecretValue": arn("secretsmanager", "secret:orderonce/{0}/stripe-AbC123"),
    "ssm:GetParameter": arn("ssm", "parameter/orderonce/{0}/stripe"),
}
"""What reads a key, and where docs/deploying.md says that it is kept."""


@pytest.mark.parametrize("key", ["", "secretsmanager:orderonce/{0}/stripe", "ssm:/orderonce/{0}/stripe"])
@pytest.mark.parametrize("stage", DEPLOYED)
def test_the_boundary_leaves_each_function_what_it_may_do(stage: str, key: str) -> None:
    """Of both engines: the boundary is made before anybody chooses one."""
    bounds = [made("Boundary", stage)["PolicyDocument"]]
    with patch.dict(stage_config(stage)["environment_variables"], STRIPE_KEY=key.format(stage)):
        found = [(function, static_policy(function, stage)) for function in functions_of(stage)]
        with step_functions(stage):
            found += [(function, static_policy(function, stage)) for function in functions_of(stage)]
    for function, policy in found:
        for statement in policy["Statement"]:
            for action in statement["Action"]:
                resource = str(statement["Resource"])
                parts = resource.split(":", 5)
                place = arn(parts[2], parts[5]) if len(parts) == 6 else resource
                place = re.sub(f"orderonce-{stage}:\\*$", f"orderonce-{stage}-APIHandler-X:*", place)  # as packaged
                assert allows(bounds, action, place), (function, action, place)
    for service in ("sqs", "secretsmanager", "ssm"):
        through = {"kms:ViaService": f"{service}.{REGION}.amazonaws.com"}
        assert allows(bounds, "kms:Decrypt", arn("kms", "key/k"), through)


def test_the_boundary_leaves_a_release_by_canary_what_it_may_do(prod: Package) -> None:
    bounds = [made("Boundary", "prod")["PolicyDocument"]]
    (policy,) = prod.properties("CanaryRole")["Policies"]
    actions = {action for statement in policy["PolicyDocument"]["Statement"] for action in statement["Action"]}
    function = arn("lambda", "function:orderonce-prod-Recover-X:live")
    assert actions
    assert [action for action in actions if not allows(bounds, action, function)] == []


def test_the_boundary_leaves_the_state_machine_what_it_may_do(with_state_machine: Package) -> None:
    stage = stage_name(with_state_machine)
    bounds = [made("Boundary", stage)["PolicyDocument"]]
    invoked = arn("lambda", f"function:orderonce-{stage}-SagaStep-X:live")
    for statement in state_machine.policy(invoked)["Statement"]:
        for action in statement["Action"]:
            assert allows(bounds, action, statement["Resource"]), action


def test_the_boundary_leaves_none_the_way_to_another_stage_or_identity() -> None:
    bounds = [made("Boundary", "dev")["PolicyDocument"]]
    assert not allows(bounds, "dynamodb:GetItem", arn("dynamodb", "table/orderonce-prod-orders"))
    for action, place in SECRETS.items():
        assert not allows(bounds, action, place.format("prod"))
    assert not allows(bounds, "kms:Decrypt", arn("kms", "key/k"))
    assert not [action for action in every_action_of_iam() if allows(bounds, action, role("orderonce-dev-R"))]


def test_the_boundary_bounds_every_role_if_it_is_given(package: Package) -> None:
    roles = package.of_type("AWS::IAM::Role")
    assert len(roles) >= len(FUNCTIONS)
    wanted = {"Fn::If": ["HasBoundary", {"Ref": boundary.PARAMETER}, {"Ref": "AWS::NoValue"}]}
    assert {name: properties["PermissionsBoundary"] for name, properties in roles.items()} == dict.fromkeys(
        roles, wanted
    )
    assert not [name for name, properties in roles.items() if "ManagedPolicyArns" in properties]


def test_what_the_environment_does_not_say_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Known:
        def parameters(self, _: str, wanted: Mapping[str, str]) -> dict[str, str]:
            return {name: f"the old {name}" for name in wanted}

    monkeypatch.setattr(command, "_stacks", Known)
    monkeypatch.delenv("ALERTS_EMAIL", raising=False)
    for said, meant in {"": "the old PermissionsBoundary", "arn:of:one": "arn:of:one", "none": ""}.items():
        monkeypatch.setenv("PERMISSIONS_BOUNDARY", said)
        found = command._parameters("a-stack", {"Stage": "dev"})
        assert (found["PermissionsBoundary"], found["AlertsEmail"]) == (meant, "the old AlertsEmail")


# --- the bucket ---


def test_the_bucket_is_private_encrypted_versioned_and_keeps_what_a_rollback_needs() -> None:
    bucket = made("Artifacts", "prod")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert "BucketEncryption" in bucket
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]
    assert "ExpirationInDays" not in rule
    (tls,) = made("ArtifactsPolicy", "prod")["PolicyDocument"]["Statement"]
    assert (tls["Effect"], tls["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
