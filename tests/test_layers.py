"""The folders are the architecture: imports point one way, every conditional write is in one place."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHALICELIB = ROOT / "chalicelib"
MODULES = sorted(CHALICELIB.rglob("*.py"))
SHARED = "shared"
COMPOSITION = "service"

MAY_IMPORT = {
    SHARED: {SHARED},
    "domain": {"domain", SHARED},
    "use_cases": {"use_cases", "domain", SHARED},
    "adapters": {"adapters", "domain", SHARED},
    COMPOSITION: {"use_cases", "adapters", "domain", SHARED},
    "entrypoints": {"entrypoints", COMPOSITION, "use_cases", "domain", SHARED},
}
"""Each room, and the rooms that it may import. An adapter may import one use case more: the ports."""

NOT_FOR_CHALICELIB = {"app", "local", "ops", "deploy", "conformance", "tests", "benchmarks", "moto", "pytest"}
FRAMEWORKS = {"boto3", "botocore", "chalice", "jsonschema", "requests", "stripe"}
MAY_USE = {
    "adapters": {"boto3", "botocore", "requests", "stripe"},
    "entrypoints": {"jsonschema", "chalice"},
}
WRITING = re.compile(
    r"\b(put_item|update_item|delete_item|transact_write_items|batch_write_item"
    r"|execute_statement|batch_execute_statement|execute_transaction)\b"
)
MAY_WRITE = {
    "repository.py",  # orders
    "claims.py",  # order ids lent to requests without a key
    "last_alert.py",  # the last alert
    "payment_ledger.py",  # what each payment is
}
MAX_STATEMENTS = 3


def room(module: str) -> str:
    """The room of a module: its folder in chalicelib, or one of the two at the top."""
    parts = module.split(".")
    if len(parts) == 1:
        return SHARED
    if parts[1] == COMPOSITION:
        return COMPOSITION
    return parts[1] if (CHALICELIB / parts[1]).is_dir() else SHARED


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


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


def rooms(path: Path) -> set[str]:
    ports = "chalicelib.use_cases.ports."
    return {
        room(name)
        for name in imported(path)
        if name.startswith("chalicelib.") and not (room(module_of(path)) == "adapters" and name.startswith(ports))
    }


def in_room(name: str) -> list[Path]:
    return [path for path in MODULES if path.parent != CHALICELIB and room(module_of(path)) == name]


@pytest.mark.parametrize("path", [p for p in MODULES if p.name != "__init__.py"], ids=module_of)
def test_imports_point_one_way(path: Path) -> None:
    name = room(module_of(path))
    assert rooms(path) <= MAY_IMPORT[name]
    assert packages(path) & FRAMEWORKS <= MAY_USE.get(name, set())
    assert not packages(path) & NOT_FOR_CHALICELIB


@pytest.mark.parametrize("path", sorted((ROOT / "conformance").rglob("*.py")), ids=module_of)
def test_the_conformance_suite_knows_nothing_of_this_service(path: Path) -> None:
    """It is for any API: a copy of the folder runs wherever Python and jsonschema are."""
    assert packages(path) <= {*sys.stdlib_module_names, "conformance", "jsonschema"}


def test_only_the_edge_of_http_knows_chalice() -> None:
    assert [path.name for path in MODULES if "chalice" in packages(path)] == ["http.py"]


@pytest.mark.parametrize("path", in_room("domain"), ids=module_of)
def test_the_domain_has_no_clock_and_no_world(path: Path) -> None:
    assert not re.search(r"\butc_now\b|\.now\(|\butcnow\b|\btime\.time\b|\btoday\(|\bopen\(", path.read_text("utf-8"))
    assert not packages(path) & {"os", "time", "random", "socket"}


def test_the_environment_is_read_in_one_place() -> None:
    reading = [p.name for p in (*MODULES, ROOT / "app.py") if re.search(r"\benviron\b|getenv", p.read_text("utf-8"))]
    assert reading == ["settings.py"]


def test_every_write_to_dynamodb_is_in_the_adapters_that_own_a_table() -> None:
    writing = {path.name for path in MODULES if WRITING.search(path.read_text("utf-8"))}
    assert writing == MAY_WRITE
    assert not WRITING.search((ROOT / "app.py").read_text("utf-8"))


def test_adapters_are_made_in_one_place() -> None:
    others = [path for path in MODULES if room(module_of(path)) not in ("adapters", COMPOSITION)]
    assert not [path.name for path in others if "adapters" in rooms(path)]


@pytest.mark.parametrize("path", [*MODULES, ROOT / "app.py"], ids=lambda path: path.name)
def test_boto3_clients_are_made_in_one_module(path: Path) -> None:
    made = re.search(r"boto3\.(client|resource|Session)\(", path.read_text("utf-8"))
    assert path.name == "clients.py" or not made


def test_no_import_goes_in_a_circle() -> None:
    modules = {module_of(path) for path in MODULES}
    graph = {
        module_of(path): {n if n in modules else n.rpartition(".")[0] for n in imported(path)} & modules
        for path in MODULES
    }
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a circle: {' → '.join((*way, name))}"
        if name not in done:
            for below in sorted(graph[name]):
                walk(below, (*way, name))
            done.add(name)

    for name in graph:
        walk(name, ())


def test_app_reads_like_a_table_of_contents() -> None:
    tree = ast.parse((ROOT / "app.py").read_text("utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert functions
    for function in functions:
        body = [node for node in function.body if not _is_docstring(node)]
        assert function.decorator_list, f"{function.name} is not a route, consumer or schedule"
        assert 1 <= len(body) <= MAX_STATEMENTS, function.name
        branches = (ast.If, ast.For, ast.While, ast.Try, ast.Match, ast.With)
        assert not any(isinstance(node, branches) for node in ast.walk(function)), f"{function.name} has logic"


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
