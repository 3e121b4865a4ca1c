"""Exception groups and syntax errors of remote code, shown as other remote exceptions are."""

from __future__ import annotations

import sys
import traceback
from typing import Any

from jupyter_remote.errors import JupyterRemoteError


class ShowGroups:
    """Stands before a shell's ``showtraceback``, which shows these two with every frame there is,
    whatever they say themselves."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._before = shell.showtraceback

    def __call__(self, exc_tuple: Any = None, *args: Any, **kwargs: Any) -> None:
        error = exc_tuple[1] if exc_tuple else sys.exc_info()[1]
        if isinstance(error, BaseExceptionGroup) and (lines := _lines(error)):
            self._shell._showtraceback(type(error), error, lines)
        elif isinstance(error, SyntaxError) and isinstance(error, JupyterRemoteError):
            self._shell._showtraceback(type(error), error, error._render_traceback_())
        else:
            self._before(exc_tuple, *args, **kwargs)


def _lines(error: BaseExceptionGroup[Any]) -> list[str]:
    """Nothing for groups that have nothing to do with us."""
    if isinstance(error, JupyterRemoteError):
        return error._render_traceback_()
    if not any(isinstance(member, JupyterRemoteError) for member in error.exceptions):
        return []
    # what ``except*`` left over of one of ours
    bare = error.derive(error.exceptions)
    bare.__notes__ = getattr(error, "__notes__", [])
    return "".join(traceback.format_exception(bare)).splitlines()


def install(shell: Any) -> None:
    """Called by ``%load_ext``; a second time does nothing."""
    if not isinstance(vars(shell).get("showtraceback"), ShowGroups):
        shell.showtraceback = ShowGroups(shell)


def uninstall(shell: Any) -> None:
    """Called by ``%unload_ext``. What another extension has put before ours stays."""
    if isinstance(vars(shell).get("showtraceback"), ShowGroups):
        del shell.showtraceback
