"""What is shown where: the AST of a cell before and after."""

import ast

import pytest

from ocimagic.magics.statements import ShowStatements

LS = "get_ipython().run_line_magic('image_ls', '')"
QUIET = "get_ipython().run_line_magic('image_ls', '-a;')"
OTHER = "get_ipython().run_line_magic('time', '')"
CELL = "get_ipython().run_cell_magic('dockerfile', '-t x', 'FROM x')"


def shown(code):
    return f"__import__('ocimagic.magics.statements', fromlist=['show']).show({code})"


def transform(code, interactivity="last_expr"):
    visitor = ShowStatements({"image_ls", "dockerfile"}, lambda: interactivity)
    return ast.unparse(ast.fix_missing_locations(visitor.visit(ast.parse(code))))


@pytest.mark.parametrize(
    ("cell", "made"),
    [
        (LS, LS),
        (CELL, CELL),
        (f"{LS}\n{LS}", f"{shown(LS)}\n{LS}"),
        (f"{LS}\nx = 1", f"{shown(LS)}\nx = 1"),
        (f"x = {LS}\nx", f"x = {LS}\nx"),
        (f"for i in x:\n    {LS}", f"for i in x:\n    {shown(LS)}"),
        (f"def f():\n    {LS}", f"def f():\n    {shown(LS)}"),
        (f"{OTHER}\nx", f"{OTHER}\nx"),
        (f"print({LS})\nx", f"print({LS})\nx"),
        (QUIET, f"({QUIET}, None)[1]"),
        (f"{QUIET}\nx", f"{QUIET}\nx"),
        ("", ""),
    ],
)
def test_bare_calls_are_shown(cell, made):
    assert transform(cell) == made


@pytest.mark.parametrize(
    ("interactivity", "made"),
    [
        ("all", f"{LS}\n{LS}"),
        ("none", f"{shown(LS)}\n{shown(LS)}"),
        ("last_expr_or_assign", f"{shown(LS)}\n{LS}"),
    ],
)
def test_ipythons_own_choice_is_kept(interactivity, made):
    assert transform(f"{LS}\n{LS}", interactivity) == made


def test_lines_stay_for_tracebacks():
    visitor = ShowStatements({"image_ls"}, lambda: "last_expr")
    tree = ast.fix_missing_locations(visitor.visit(ast.parse(f"\n\n{LS}\nx")))

    assert {node.lineno for node in ast.walk(tree.body[0]) if hasattr(node, "lineno")} == {3}
