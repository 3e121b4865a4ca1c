"""State of IPython: what ``%config`` and ``from __future__`` set for the cells that follow."""

from __future__ import annotations
import __future__

import os
import sys
from typing import Any

from jupyter_remote.ambient.of_libraries import DRAWING
from jupyter_remote.ambient.of_python import Kind

FUTURE = 0
for _feature in __future__.all_feature_names:
    FUTURE |= getattr(__future__, _feature).compiler_flag


def _read_shell(module: Any) -> Any:
    shells = module.InteractiveShell
    if not shells.initialized():
        return None
    shell = shells.instance()
    return shell.ast_node_interactivity, shell.compile.flags & FUTURE


def _write_shell(module: Any, came: tuple[str, int]) -> None:
    shell = module.InteractiveShell.instance()
    shell.ast_node_interactivity = came[0]
    shell.compile.flags = shell.compile.flags & ~FUTURE | came[1]


def _is_inline(matplotlib: Any) -> bool:
    """Do figures become pictures here, now or from the first one on?"""
    config = sys.modules.get("matplotlib_inline.config")
    if config is not None and config.InlineBackend.initialized():
        return True
    return "matplotlib_inline" in os.environ.get("MPLBACKEND", "")


def _read_inline(matplotlib: Any) -> Any:
    """How they do."""
    config = sys.modules.get("matplotlib_inline.config")
    if config is None or not config.InlineBackend.initialized():
        return None
    backend = config.InlineBackend.instance()
    return sorted(backend.figure_formats), dict(backend.print_figure_kwargs), backend.close_figures


def _write_inline(matplotlib: Any, came: tuple[list[str], dict[str, Any], bool]) -> None:
    from IPython.core.interactiveshell import InteractiveShell
    from matplotlib_inline.backend_inline import configure_inline_support
    from matplotlib_inline.config import InlineBackend

    shell = InteractiveShell.instance()
    backend = InlineBackend.instance(parent=shell)
    backend.shell = shell
    backend.print_figure_kwargs, backend.close_figures = came[1], came[2]
    backend.figure_formats = set(came[0])
    configure_inline_support(shell, "inline")  # type: ignore[no-untyped-call]


KINDS = {
    "shell": Kind("IPython.core.interactiveshell", frozenset(), _read_shell, _write_shell),
    "inline": Kind("matplotlib", DRAWING, _read_inline, _write_inline, is_used=_is_inline),
}
