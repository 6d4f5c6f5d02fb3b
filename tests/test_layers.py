"""Imports point one way, every conditional write stands in one place, and app.py is a table of contents."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHALICELIB = ROOT / "chalicelib"
MODULES = sorted(CHALICELIB.rglob("*.py"))

DOMAIN = {"order", "changes", "idempotency", "validation", "schema", "pricing", "times", "exact_json"}
FRAMEWORKS = {"boto3", "botocore", "chalice", "aws_lambda_powertools"}
ENTRY = {"http", "chalice"}

WRITING = re.compile(
    r"\b(put_item|update_item|delete_item|transact_write_items|batch_write_item"
    r"|execute_statement|batch_execute_statement|execute_transaction)\b"
)
MAY_WRITE = {
    "repository.py",  # orders and the reservations of their ids
    "simulated_payments.py",  # the simulated provider's own ledger, which is no table of this service's
}
MOST_STATEMENTS = 3


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports anywhere in it, but for its type checker."""
    tree = ast.parse(path.read_text("utf-8"))
    for_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            assert node.module
            # `from chalicelib import times` imports chalicelib.times.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def siblings(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(path) if name.startswith("chalicelib.")}


def of_domain() -> list[Path]:
    return [CHALICELIB / f"{name}.py" for name in sorted(DOMAIN)]


@pytest.mark.parametrize("path", of_domain(), ids=lambda path: path.stem)
def test_the_domain_knows_no_aws_and_no_framework(path: Path) -> None:
    assert not packages(path) & FRAMEWORKS


@pytest.mark.parametrize("path", of_domain(), ids=lambda path: path.stem)
def test_the_domain_imports_nothing_but_the_domain(path: Path) -> None:
    assert siblings(path) <= DOMAIN


@pytest.mark.parametrize("path", [p for p in of_domain() if p.stem != "times"], ids=lambda path: path.stem)
def test_the_domain_has_no_clock_of_its_own(path: Path) -> None:
    assert not re.search(r"\butc_now\b|\.now\(|\butcnow\b|\btime\.time\b|\btoday\(", path.read_text("utf-8"))


@pytest.mark.parametrize("path", of_domain(), ids=lambda path: path.stem)
def test_the_domain_reads_no_environment(path: Path) -> None:
    assert "os" not in packages(path)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_what_runs_in_lambda_imports_nothing_that_is_never_deployed(path: Path) -> None:
    assert not packages(path) & {"app", "local", "ops", "tests", "benchmarks", "moto", "pytest"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_only_the_edge_of_http_knows_chalice(path: Path) -> None:
    assert path.stem in ENTRY or "chalice" not in packages(path)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_nothing_below_imports_what_puts_the_service_together(path: Path) -> None:
    assert path.stem in {"api", "http", "service"} or not siblings(path) & {"api", "http", "service"}


def test_every_write_to_dynamodb_stands_in_the_repository() -> None:
    writing = {path.name for path in MODULES if WRITING.search(path.read_text("utf-8"))}
    assert writing <= MAY_WRITE
    assert "repository.py" in writing
    assert not WRITING.search((ROOT / "app.py").read_text("utf-8"))


def test_no_import_goes_in_a_circle() -> None:
    graph = {path.stem: siblings(path) for path in MODULES}
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a circle: {' → '.join((*way, name))}"
        if name not in done:
            for below in sorted(graph.get(name, ())):
                walk(below, (*way, name))
            done.add(name)

    for name in graph:
        walk(name, ())


@pytest.mark.parametrize("path", [*MODULES, ROOT / "app.py"], ids=lambda path: path.name)
def test_boto3_clients_are_made_in_one_module(path: Path) -> None:
    made = re.search(r"boto3\.(client|resource|Session)\(", path.read_text("utf-8"))
    assert path.name == "clients.py" or not made


def test_app_reads_like_a_table_of_contents() -> None:
    tree = ast.parse((ROOT / "app.py").read_text("utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert functions
    for function in functions:
        body = [node for node in function.body if not _is_docstring(node)]
        assert function.decorator_list, f"{function.name} is no route, consumer or schedule"
        assert 1 <= len(body) <= MOST_STATEMENTS, function.name
        branches = (ast.If, ast.For, ast.While, ast.Try, ast.Match, ast.With)
        assert not any(isinstance(node, branches) for node in ast.walk(function)), f"{function.name} has logic"


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
