"""How errors are shown in a cell."""

from __future__ import annotations

import textwrap

from jupyter_remote.errors import JupyterRemoteError, as_coloured

HINT = 88  # characters of a line of a hint: front ends break longer ones inside of words


def lines_of(error: Exception) -> list[str]:
    """A remote error as the remote side shows it; others of ours in words, without frames."""
    render = getattr(error, "_render_traceback_", None)
    if not isinstance(error, JupyterRemoteError):
        return list(render()) if render else [f"{type(error).__name__}: {error}"]
    if type(error)._render_traceback_ is not JupyterRemoteError._render_traceback_:
        return error._render_traceback_()
    hint = [part for line in error.hint.splitlines() for part in _wrapped(line)]
    return as_coloured([f"\x1b[31m{type(error).__name__}\x1b[39m: {error.message}", *hint])


def _wrapped(line: str) -> list[str]:
    """A line of a hint; one that is indented is a command, and is copied as it is."""
    if line.startswith(" "):
        return [line]
    return textwrap.wrap(line, HINT, break_on_hyphens=False, break_long_words=False)
