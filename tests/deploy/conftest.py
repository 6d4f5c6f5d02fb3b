"""What the tests of the deployment share: each stage's package."""

from pathlib import Path

import pytest

from deploy.stages import DEPLOYED
from tests.deploy.packages import Package, packaged


@pytest.fixture(scope="session")
def packages_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packages")


@pytest.fixture(params=DEPLOYED)
def package(request: pytest.FixtureRequest, packages_folder: Path) -> Package:
    """The test runs for each deployed stage. Ask for it in the xdist group `package` only, where it is made once."""
    return packaged(request.param, packages_folder)


@pytest.fixture
def prod(packages_folder: Path) -> Package:
    """The package of `prod`."""
    return packaged("prod", packages_folder)
