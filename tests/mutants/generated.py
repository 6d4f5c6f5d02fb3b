"""The mutants that mutmut makes of a file. It needs mutmut: see `environment.py`."""

from collections.abc import Iterator, Sequence

import libcst
from mutmut.mutation.file_mutation import create_mutations

from tests.mutants.mutant import Mutant, functions_in
from tests.support.template import ROOT

_INDENT = "    "


def mutants_of(path: str) -> Iterator[Mutant]:
    """mutmut's mutants of the functions of a file, each once. It makes none of what is decorated, as properties are."""
    source = (ROOT / path).read_text("utf-8")
    module, mutations, *_ = create_mutations(path, source)
    names = dict(_named(module.body, ""))
    nodes = functions_in(source)
    seen: set[str] = set()
    for mutation in mutations:
        function = mutation.contained_by_top_level_function
        if function is None or function not in names:
            continue
        name, old = names[function], _lines(function)
        new = _lines(function.deep_replace(mutation.original_node, mutation.mutated_node))
        at = min([nodes[name].lineno, *(one.lineno for one in nodes[name].decorator_list)]) - 1
        after = _patched(source, at, old, new, _INDENT * name.count("."))
        if after != source and after not in seen:
            seen.add(after)
            yield Mutant(name, path, source, after)


def _named(body: Sequence[libcst.CSTNode], prefix: str) -> Iterator[tuple[libcst.FunctionDef, str]]:
    for node in body:
        if isinstance(node, libcst.FunctionDef):
            yield node, prefix + node.name.value
        elif isinstance(node, libcst.ClassDef):
            yield from _named(node.body.body, f"{prefix}{node.name.value}.")


def _lines(function: libcst.FunctionDef) -> list[str]:
    code: str = libcst.Module([function.with_changes(leading_lines=[])]).code
    return code.splitlines()


def _patched(source: str, at: int, old: list[str], new: list[str], indent: str) -> str:
    """The source, with that in which `new` differs from `old`, which begins at line `at` (from 0)."""
    lines, shorter = source.splitlines(), min(len(old), len(new))
    head = next((n for n in range(shorter) if old[n] != new[n]), shorter)
    tail = next((n for n in range(shorter - head) if old[-1 - n] != new[-1 - n]), shorter - head)
    lines[at + head : at + len(old) - tail] = [indent + line if line else "" for line in new[head : len(new) - tail]]
    return "\n".join(lines) + "\n"
