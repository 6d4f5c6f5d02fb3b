"""The packages of the stages, for the tests of the deployment."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.stages import DEPLOYED
from tests.deploy.packages import Package, packaged
from tests.deploy.support.commands import simulated_on_prod


@pytest.fixture(scope="session")
def packages_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packages")


@pytest.fixture
def simulated_prod() -> Iterator[None]:
    """`prod` without money, as somebody tries it."""
    with simulated_on_prod():
        yield


@pytest.fixture(params=DEPLOYED)
def package(request: pytest.FixtureRequest, packages_folder: Path) -> Package:
    """The package of each deployed stage in turn."""
    return packaged(request.param, packages_folder)


@pytest.fixture(params=DEPLOYED)
def with_tokens(request: pytest.FixtureRequest, packages_folder: Path) -> Package:
    """The package of each deployed stage in turn, with AUTH=cognito."""
    return packaged(request.param, packages_folder, AUTH="cognito")


@pytest.fixture(params=DEPLOYED)
def with_state_machine(request: pytest.FixtureRequest, packages_folder: Path) -> Package:
    """The package of each deployed stage in turn, with ENGINE=step-functions."""
    return packaged(request.param, packages_folder, ENGINE="step-functions")


@pytest.fixture
def prod(packages_folder: Path) -> Package:
    """The package of `prod`."""
    return packaged("prod", packages_folder)
