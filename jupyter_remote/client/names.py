"""Which names a cell reads, assigns and deletes, told by its AST before anything runs.

The rules are Python's own: scopes of functions, lambdas, comprehensions and classes, ``global`` and
``nonlocal``, and the order in which statements run (:mod:`.flow`, :mod:`.scopes`). IPython's lines
(``%magic``, ``!command``, ``name?``) are read as the calls they become (:mod:`.lines`).
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import lru_cache

from jupyter_remote.client.flow import CellNames, Flow

__all__ = ["CellNames", "analyse"]

FLAGS = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def analyse(
    source: str,
    transform: Callable[[str], str] | None = None,
    *,
    filename: str = "<cell>",
) -> CellNames:
    """The names of a cell.

    Parameters
    ----------
    source: the cell as typed.
    transform: the shell's ``transform_cell``; by default that of a plain IPython.
    filename: what a syntax error calls the cell; pass the name under which the shell compiles it.

    Raises SyntaxError as the shell would, with ``filename``, line and text set, so that
    ``shell.showsyntaxerror()`` shows it as for a local cell.
    """
    transform = transform or plain_transform()
    python = transform(source)
    flow = Flow(lambda text: parse(transform(text), filename))
    flow.run(parse(python, filename))
    return flow.result()


def parse(python: str, filename: str) -> ast.Module:
    """The checked AST of plain Python; a lone ``await`` is fine as it is in a cell."""
    tree = compile(python, filename, "exec", FLAGS | ast.PyCF_ONLY_AST, dont_inherit=True)
    assert isinstance(tree, ast.Module)
    try:  # the compiler finds what the parser lets through, such as a lone ``return``
        for statement in tree.body:  # as IPython does
            compile(ast.Module([statement], []), filename, "exec", FLAGS, dont_inherit=True)
    except SyntaxError as error:
        if error.text is None and error.lineno:  # it looked for the line in a file
            error.text = python.splitlines(keepends=True)[error.lineno - 1]
        raise
    return tree


@lru_cache(maxsize=1)
def plain_transform() -> Callable[[str], str]:
    """What IPython does to a cell before Python sees it, without a running shell."""
    from IPython.core.inputtransformer2 import TransformerManager

    transform: Callable[[str], str] = TransformerManager().transform_cell  # type: ignore[no-untyped-call]
    return transform
