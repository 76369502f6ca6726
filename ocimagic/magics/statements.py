"""Show the value of a magic wherever it stands.

IPython shows only the last expression of a cell.  Here a bare call of one of our magics is
shown in any other place too: in the middle, in a loop, in a function.  The last expression
is left to IPython, since only that way ``Out`` and ``_`` get it.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_SHOW = "__import__('ocimagic.magics.statements', fromlist=['show']).show(VALUE)"
_SILENT = "(VALUE, None)[1]"


class ShowStatements(ast.NodeTransformer):
    """The AST transformer.

    Args:
        ours: names of our magics.
        interactivity: returns ``InteractiveShell.ast_node_interactivity`` as it is now.
    """

    def __init__(self, ours: Collection[str], interactivity: Callable[[], str]) -> None:
        self._ours = ours
        self._interactivity = interactivity
        self._left: set[int] = set()

    def visit_Module(self, node: ast.Module) -> ast.AST:
        """Transform a cell, remembering what IPython shows by itself."""
        left = {"all": node.body, "none": []}.get(self._interactivity(), node.body[-1:])
        self._left = {id(statement) for statement in left}
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        """Wrap a bare call of ours."""
        line = self._our_line(node.value)
        if line is None:
            return node
        from ocimagic.magics.expansion import is_quiet

        silent = is_quiet(line)
        if id(node) in self._left:
            return _wrapped(node, _SILENT) if silent else node
        return node if silent else _wrapped(node, _SHOW)

    def _our_line(self, value: ast.expr) -> str | None:
        """Return the line of a ``run_line_magic`` or ``run_cell_magic`` call of ours."""
        match value:
            case ast.Call(
                func=ast.Attribute(attr="run_line_magic" | "run_cell_magic"),
                args=[ast.Constant(value=str(name)), ast.Constant(value=str(line)), *_],
            ) if name in self._ours:
                return line
            case _:
                return None


def _wrapped(node: ast.Expr, template: str) -> ast.Expr:
    made = ast.parse(template, mode="eval").body

    class _PutIn(ast.NodeTransformer):
        def visit_Name(self, name: ast.Name) -> ast.AST:
            return node.value if name.id == "VALUE" else name

    for part in ast.walk(made):
        ast.copy_location(part, node)
    return ast.copy_location(ast.Expr(_PutIn().visit(made)), node)


def show(value: object) -> None:
    """Display a value unless there is none."""
    from IPython.display import display

    if value is not None:
        display(value)
