"""A mutant: the project with one mistake in it, and how a process becomes it."""

import ast
import importlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import CodeType, FunctionType
from typing import Any


class Stale(Exception):
    """A row of a list does not match the code any more."""


@dataclass(frozen=True)
class Mutant:
    """A file with one difference: `before` and `after` are its whole text. `name` is for people."""

    name: str
    path: str
    before: str
    after: str

    @cached_property
    def removed(self) -> tuple[str, ...]:
        """The lines that it changes, without indentation."""
        return tuple(line.strip() for line in self._before[self._start : len(self._before) - self._same_at_end])

    @cached_property
    def added(self) -> tuple[str, ...]:
        """What it makes of them."""
        return tuple(line.strip() for line in self._after[self._start : len(self._after) - self._same_at_end])

    @cached_property
    def lines(self) -> range:
        """The numbers of the lines that it changes; where it only adds some, of the line that comes after them."""
        return range(self._start + 1, max(len(self._before) - self._same_at_end, self._start + 1) + 1)

    @property
    def function(self) -> str:
        """The qualified name of the function that it changes."""
        holding = [name for name, node in functions_in(self.before).items() if _holds(node, self.lines[0])]
        return max(holding, key=len, default="")

    def seen_on(self) -> set[int]:
        """The lines of which a test runs at least one if it can see the difference."""
        seen: set[int] = set()
        statements = [node for node in ast.walk(ast.parse(self.before)) if isinstance(node, ast.stmt)]
        for line in self.lines:
            holding = [node for node in statements if _holds(node, line) and not isinstance(node, ast.ClassDef)]
            if not holding:
                continue
            smallest = min(holding, key=lambda node: _end(node) - node.lineno)
            compound = hasattr(smallest, "body") or isinstance(smallest, ast.Match)
            head_only = compound and not isinstance(smallest, ast.FunctionDef)
            seen |= {smallest.lineno, line} if head_only else set(range(smallest.lineno, _end(smallest) + 1))
        return seen

    def become(self) -> None:
        """From now on this process is the mutant: each function of the file does what the changed text says.

        The functions stay the same objects, so it does not matter who has imported them. Raises Stale where no function
        changes.
        """
        module = importlib.import_module(self.path.removesuffix(".py").replace("/", "."))
        changed = dict(_codes(compile(self.after, str(module.__file__), "exec")))
        old, new = functions_in(self.before), functions_in(self.after)
        differing = [name for name in new if name in old and ast.dump(old[name]) != ast.dump(new[name])]
        if not differing:
            raise Stale(f"{self.name}: no function of {self.path} changes")
        for name in differing:
            function = _live(vars(module), name)
            function.__code__ = changed[name]
            _set_defaults(function, new[name].args)

    @cached_property
    def _before(self) -> list[str]:
        return self.before.splitlines()

    @cached_property
    def _after(self) -> list[str]:
        return self.after.splitlines()

    @cached_property
    def _start(self) -> int:
        return _alike(self._before, self._after)

    @cached_property
    def _same_at_end(self) -> int:
        rest = slice(self._start, None)
        return _alike(self._before[rest][::-1], self._after[rest][::-1])


def functions_in(source: str) -> dict[str, ast.FunctionDef]:
    """The functions and methods of a module by their qualified names; those inside of them are part of them."""

    def found(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
        for node in body:
            if isinstance(node, ast.FunctionDef):
                yield prefix + node.name, node
            elif isinstance(node, ast.ClassDef):
                yield from found(node.body, f"{prefix}{node.name}.")

    return dict(found(ast.parse(source).body, ""))


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            if inner.co_flags & inspect.CO_OPTIMIZED:
                yield inner.co_qualname, inner
            else:
                yield from _codes(inner)  # a class


def _live(names: Mapping[str, Any], qualified: str) -> FunctionType:
    first, _, rest = qualified.partition(".")
    found = names[first]
    if rest:
        return _live(vars(found), rest)
    found = getattr(found, "fget", found)  # a property
    function = inspect.unwrap(getattr(found, "__func__", found))  # a class method; one that is decorated
    assert isinstance(function, FunctionType)
    return function


def _set_defaults(function: FunctionType, args: ast.arguments) -> None:
    def value(node: ast.expr) -> Any:
        return eval(compile(ast.Expression(node), "default", "eval"), function.__globals__)

    function.__defaults__ = tuple(map(value, args.defaults)) or None
    named = zip(args.kwonlyargs, args.kw_defaults, strict=True)
    function.__kwdefaults__ = {arg.arg: value(node) for arg, node in named if node}


def _alike(some: list[str], others: list[str]) -> int:
    """How many lines at the beginning are the same."""
    pairs = enumerate(zip(some, others, strict=False))
    return next((n for n, (one, other) in pairs if one != other), min(len(some), len(others)))


def _holds(node: ast.stmt, line: int) -> bool:
    return node.lineno <= line <= _end(node)


def _end(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno
