"""Small functions: the figures we hold ourselves to. A file is as long as its one idea, so files have no figure."""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median, quantiles

PACKAGE = Path(__file__).resolve().parents[1] / "alma_async"
FILES = sorted(PACKAGE.rglob("*.py"))


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function's body: without its signature, which may list many options, and its docstring."""
    first = node.body[0]
    told = (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
    start = first.end_lineno or 0 if told else first.lineno - 1
    return (node.end_lineno or 0) - start


def functions() -> list[tuple[int, str]]:
    """All functions of the package with their lengths."""
    return [
        (body_lines(node), f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}")
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]


def test_functions_fit_on_a_screen():
    """Median at most 8 lines, nine of ten at most 25, and none over 60."""
    lengths = [length for length, _ in functions()]
    assert median(lengths) <= 8
    assert quantiles(lengths, n=10)[-1] <= 25
    assert [where for length, where in functions() if length > 60] == []
