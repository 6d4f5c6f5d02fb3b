"""The bill of materials of a zip, as CycloneDX has it (https://cyclonedx.org/docs/1.6/json/)."""

import uuid
from collections.abc import Sequence
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from deploy.stages import config
from deploy.vendoring import Locked


def bill_of_materials(packages: Sequence[Locked], vendored: Path, digest: str) -> dict[str, Any]:
    """What is in the zip with this SHA-256: packages of the lock, with the licence that each declares in `vendored`.

    Without a time, so that the same zip has the same bill.
    """
    app: str = config()["app_name"]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'sha256:{digest}')}",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": app, "name": app, "hashes": [_sha256(digest)]},
        },
        "components": [_component(package, vendored) for package in packages],
        "dependencies": [{"ref": app, "dependsOn": [_purl(package) for package in packages]}],
    }


def _component(package: Locked, vendored: Path) -> dict[str, Any]:
    component = {
        "type": "library",
        "bom-ref": _purl(package),
        "name": package.name,
        "version": package.version,
        "purl": _purl(package),
        "hashes": [_sha256(package.sha256)],
    }
    licences = _licences(vendored / f"{package.name.replace('-', '_')}-{package.version}.dist-info" / "METADATA")
    return component | ({"licenses": licences} if licences else {})


def _licences(metadata: Path) -> list[dict[str, Any]]:
    """Of a wheel: an expression of SPDX, else the name that it gives itself, else that of its classifier."""
    if not metadata.exists():
        return []
    headers = HeaderParser().parsestr(metadata.read_text(encoding="utf-8"))
    if expression := headers["License-Expression"]:
        return [{"expression": expression}]
    classified = [c.rpartition(" :: ")[2] for c in headers.get_all("Classifier", ()) if c.startswith("License :: ")]
    names = [headers["License"]] if headers["License"] else classified
    return [{"license": {"name": name}} for name in names]


def _purl(package: Locked) -> str:
    """https://github.com/package-url/purl-spec, type pypi: the names of the lock are normalized."""
    return f"pkg:pypi/{package.name}@{package.version}"


def _sha256(digest: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": digest}
