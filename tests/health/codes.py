"""All codes of errors and warnings that the source can give."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("agent", "demo", "cloud_sink", "detector")
CODE = re.compile(r"[a-z][a-z0-9-]*(\.[a-z0-9-]+)*\Z")


def source_codes() -> dict[str, list[str]]:
    """Every code with the places (`file:line`) that give it."""
    found: dict[str, list[str]] = {}
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                for code in _codes(node):
                    found.setdefault(code, []).append(f"{file.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}")
    return found


def _codes(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.ClassDef):
        for statement in node.body:
            if isinstance(statement, ast.Assign) and _names(statement) == ["code"]:
                yield from _texts(statement.value)
    elif isinstance(node, ast.Assign) and _names(node) == ["CODES"] and isinstance(node.value, ast.Tuple):
        yield from _texts(node.value)
    elif isinstance(node, ast.Assign) and _names(node) == ["RULES"] and isinstance(node.value, ast.Dict):
        yield from (code for key in node.value.keys if key is not None for code in _texts(key))
    elif isinstance(node, ast.Call):
        for keyword in node.keywords:
            if keyword.arg in ("code", "newer_code"):
                yield from _texts(keyword.value)
        if getattr(node.func, "id", "") in ("Warning", "HealthWarning") and node.args:
            yield from _texts(node.args[0])
        if getattr(node.func, "attr", "") == "Check" and node.args:  # findings; those without a dot are names of checks
            yield from (code for code in _texts(node.args[0]) if "." in code)


def _names(node: ast.Assign) -> list[str]:
    return [t.id for t in node.targets if isinstance(t, ast.Name)]


def _texts(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str(text)) if CODE.match(text):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from _texts(body)
            yield from _texts(orelse)
        case ast.Tuple(elts=items):
            for item in items:
                yield from _texts(item)
