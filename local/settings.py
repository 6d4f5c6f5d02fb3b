"""The settings of the laptop stack: a few environment variables and the stage `local` of config.json."""

import json
import os
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from local.faults import StartError

STAGE = "local"
ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Settings:
    """Where to listen, and where to keep the data. A port of 0 lets the operating system choose."""

    host: str
    port: int
    aws_port: int
    data: Path | None = None

    @property
    def reachable_host(self) -> str:
        """Where a client on this machine finds the host."""
        return {"0.0.0.0": LOOPBACK, "::": "::1"}.get(self.host, self.host)

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Settings":
        """From HOST, PORT, AWS_PORT and DATA. Raises StartError naming the bad one."""
        if environ.get("ENGINE") == "step-functions":
            raise StartError("ENGINE=step-functions runs on AWS only: the laptop's sagas are run by the queue.")
        return cls(
            host=_host(environ),
            port=_port(environ, "PORT", 8000),
            aws_port=_port(environ, "AWS_PORT", 8010),
            data=Path(environ["DATA"]) if environ.get("DATA") else None,
        )


def _host(environ: Mapping[str, str]) -> str:
    given = environ.get("HOST") or LOOPBACK
    try:
        return given if given == "localhost" else str(ip_address(given))
    except ValueError as error:
        raise StartError(f"HOST must be an IP address of this machine, or localhost, not {given!r}.") from error


def _port(environ: Mapping[str, str], name: str, default: int) -> int:
    given = environ.get(name) or str(default)
    if not re.fullmatch("[0-9]{1,5}", given) or int(given) > 65535:
        raise StartError(f"{name} must be a port number from 0 to 65535, not {given!r}.")
    return int(given)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises StartError with the file and the place of the error."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StartError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise StartError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(content, dict):
        raise StartError(f"{path} must contain a JSON object.")
    return content


def stage_variables(config: Mapping[str, Any]) -> dict[str, str]:
    """The environment of the stage `local` in config.json."""
    stage = config.get("stages", {}).get(STAGE)
    if not isinstance(stage, dict):
        raise StartError(f"config.json has no stage {STAGE!r}.")
    variables = {**config.get("environment_variables", {}), **stage.get("environment_variables", {})}
    for name, value in variables.items():
        if not isinstance(value, str):
            raise StartError(f"{name} of stage {STAGE!r} in config.json must be a string.")
    return variables


def enter_stage(environ: MutableMapping[str, str], variables: Mapping[str, str], app_name: str, aws_port: int) -> None:
    """Make `environ` the environment of the stage.

    A setting that the caller gave wins (LOG_LEVEL, for example), unless it says *where* things are: the names of the
    stage's resources, which the template creates, and everything about AWS are the stage's own. So no profile or key
    on this machine can lead to a real account.
    """
    for name in [name for name in environ if name.startswith("AWS_")]:
        del environ[name]
    for name, value in variables.items():
        if name.startswith("AWS_") or name == "STAGE" or value.startswith(f"{app_name}-"):
            environ[name] = value
        else:
            environ.setdefault(name, value)
    environ["AWS_ENDPOINT_URL"] = f"http://{LOOPBACK}:{aws_port}"
    # Without these boto3 would still read the caller's own configuration files ...
    environ["AWS_CONFIG_FILE"] = environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    # ... and would ask the caller's proxy for 127.0.0.1.
    for name in ("NO_PROXY", "no_proxy"):
        environ[name] = ",".join(filter(None, [environ.get(name), LOOPBACK]))
