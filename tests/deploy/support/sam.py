"""The SAM transform, as CloudFormation makes it of the package: run by the emulator's environment, which has it."""

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from tests.deploy.support.emulator import CACHE, REQUIREMENTS
from tests.support.environments import python_with

_PROGRAM = """
import json, sys
from samtranslator.translator.transform import transform

class NoManagedPolicies:
    def load(self):
        return {}

template, parameters = json.load(sys.stdin)
for resource in template["Resources"].values():
    if resource["Type"] == "AWS::Serverless::Function":
        resource["Properties"]["CodeUri"] = {"Bucket": "a-bucket", "Key": "a-key"}
json.dump(transform(template, parameters, NoManagedPolicies()), sys.stdout)
"""


def transformed(template: Mapping[str, Any], **parameters: str) -> dict[str, Any]:
    """The resources of a packaged template after the transform. Raises NotInstalled without a package index."""
    python = python_with(REQUIREMENTS, CACHE)
    done = subprocess.run(
        [str(python), "-c", _PROGRAM],
        input=json.dumps([template, parameters]),
        env={"AWS_DEFAULT_REGION": "us-east-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    resources: dict[str, Any] = json.loads(done.stdout)["Resources"]
    return resources
