"""No insecure setting that nobody accepted with a reason: checkov looks at what SAM makes of the package of `prod`,
with everything that a parameter can add to it. `.ci/slow` runs it, not `make test`: it installs a hundred packages."""

import os
from pathlib import Path
from typing import Any

import pytest

from deploy.stages import read
from tests.deploy.packages import packaged
from tests.deploy.support.checkov import ACCEPTED, differences, scanned
from tests.deploy.support.conditions import Conditions
from tests.deploy.support.sam import transformed
from tests.support.skipping import skip

OPTIONS = {
    "DomainName": "api.example.com",
    "DomainCertificate": "arn:aws:acm:us-east-1:123456789012:certificate/one",
    "RequestsPerAddress": "2000",
    "MaxReadUnits": "4000",
    "MaxWriteUnits": "4000",
    "UserPoolDomain": "shop-prod",
}


@pytest.fixture
def resources(packages_folder: Path) -> dict[str, Any]:
    if os.environ.get("REQUIRE_CHECKOV") != "1":
        skip("scans the template with checkov, which is installed for it", to_run="make scan, with a network")
    # With access tokens, which adds a pool, and takes nothing away.
    template = packaged("prod", packages_folder, AUTH="cognito").template
    return Conditions({**template, "Resources": transformed(template)}, **OPTIONS).resources


@pytest.mark.slow
def test_every_finding_is_accepted_with_a_reason_and_no_reason_is_out_of_date(
    resources: dict[str, Any], tmp_path: Path
) -> None:
    assert differences(scanned(resources, tmp_path), read(ACCEPTED)) == []


@pytest.mark.slow
def test_an_insecure_setting_is_found(resources: dict[str, Any], tmp_path: Path) -> None:
    del resources["OrderQueue"]["Properties"]["KmsMasterKeyId"]
    resources["StageKey"]["Properties"]["EnableKeyRotation"] = False
    found = differences(scanned(resources, tmp_path), read(ACCEPTED))
    assert found == ["AWS::SQS::Queue.OrderQueue fails CKV_AWS_27", "AWS::KMS::Key.StageKey fails CKV_AWS_7"]


def test_what_is_accepted_for_one_resource_is_not_for_another_and_is_needed() -> None:
    accepted = {"CKV_1": {"of": "AWS::SQS::Queue.*", "because": "…"}, "CKV_2": {"of": "*", "because": "…"}}
    found = {("CKV_1", "AWS::SQS::Queue.OrderQueue"), ("CKV_1", "AWS::SNS::Topic.AlertsTopic")}
    assert differences(found, accepted) == [
        "AWS::SNS::Topic.AlertsTopic fails CKV_1",
        "CKV_2 is accepted, but nothing fails it",
    ]


def test_each_accepted_finding_has_a_sentence() -> None:
    for entry in read(ACCEPTED).values():
        assert entry.keys() == {"of", "because"}
        assert entry["because"].endswith(".")
        assert len(entry["because"].split()) > 8
