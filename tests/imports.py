"""Imports between the modules of this tree, read from their source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Import(NamedTuple):
    """One imported module, and the name that is taken from it (empty for `import module`)."""

    file: Path
    line: int
    module: str
    name: str = ""

    def __str__(self) -> str:
        what = f"{self.module}.{self.name}" if self.name else self.module
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {what}"


def sources(*tops: str) -> list[Path]:
    """The Python files below these folders of ROOT."""
    return sorted(p for top in tops for p in (ROOT / top).rglob("*.py"))


@cache
def module_of(file: Path) -> str:
    """The dotted name of a file's module."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def is_package(module: str) -> bool:
    """Whether the module is a folder with an `__init__.py`."""
    return (ROOT.joinpath(*module.split(".")) / "__init__.py").exists()


@cache
def is_module(module: str) -> bool:
    """Whether the tree has this module."""
    return is_package(module) or ROOT.joinpath(*module.split(".")).with_suffix(".py").exists()


@cache
def face(package: str) -> frozenset[str]:
    """The names in `__all__` of a package's `__init__.py`."""
    tree = ast.parse((ROOT.joinpath(*package.split(".")) / "__init__.py").read_text())
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
            return frozenset(ast.literal_eval(node.value))  # type: ignore[attr-defined]
    return frozenset()


def imports(file: Path, *, in_functions: bool = True) -> Iterator[Import]:
    """Every import of a file: at module level (TYPE_CHECKING blocks included) and, if asked for, in functions."""
    package = module_of(file) if file.name == "__init__.py" else module_of(file).rpartition(".")[0]
    stack: list[ast.AST] = [ast.parse(file.read_text())]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(file, node.lineno, module, alias.name)
        elif in_functions or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            stack.extend(ast.iter_child_nodes(node))


def past_a_face(found: Import) -> bool:
    """Whether an import takes something of another package of `agent` that its face does not name."""
    parts = found.module.split(".")
    if found.module == "agent" and found.name and is_package(f"agent.{found.name}"):
        parts = ["agent", found.name]
    if parts[0] != "agent" or len(parts) < 2 or parts[1] == "model" or not is_package(f"agent.{parts[1]}"):
        return False
    package = f"agent.{parts[1]}"
    if module_of(found.file) == package or module_of(found.file).startswith(f"{package}."):
        return False
    return len(parts) > 2 or found.name not in face(package)


def circles(files: list[Path]) -> list[list[str]]:
    """Groups of modules that import each other at module level (strongly connected, Tarjan's algorithm)."""
    graph = {module_of(f): _targets(f) & {module_of(g) for g in files} for f in files}
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        number[module] = low[module] = len(number)
        stack.append(module)
        for other in sorted(graph[module]):
            if other not in number:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], number[other])
        if low[module] == number[module]:
            group = [stack.pop()]
            while group[-1] != module:
                group.append(stack.pop())
            if len(group) > 1 or module in graph[module]:
                found.append(sorted(group))

    for module in graph:
        if module not in number:
            visit(module)
    return sorted(found)


def _targets(file: Path) -> set[str]:
    """The modules that a file imports at module level; a name that is a module counts as that module.

    From outside a package, a name of its face counts as the package, also where a module has this name.
    """
    found = set()
    for i in imports(file, in_functions=False):
        submodule = f"{i.module}.{i.name}"
        inside = f"{module_of(file)}.".startswith(f"{i.module}.")
        is_submodule = bool(i.name) and is_module(submodule)
        found.add(submodule if is_submodule and (inside or i.name not in _face_or_none(i.module)) else i.module)
    return found


def _face_or_none(module: str) -> frozenset[str]:
    """The face of a package; empty for a plain module."""
    return face(module) if is_package(module) else frozenset()
