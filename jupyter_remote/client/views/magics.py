"""``%px`` and its like for a view, as ipyparallel's ``activate`` makes them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from jupyter_remote import errors
from jupyter_remote.client.views.results import AsyncResult

if TYPE_CHECKING:
    from jupyter_remote.client.views.view import DirectView


class ViewMagics:
    """Of one view. ``%px CODE`` and ``%%px`` run code on its workers, ``%pxresult`` shows what the
    last one gave, ``%autopx`` has every cell run there until it is said again."""

    def __init__(self, view: DirectView, shell: Any, suffix: str) -> None:
        self._view = view
        self._shell = shell
        self._last: AsyncResult | None = None
        self._run_here: Any = None
        self._suffix = suffix

    def register(self) -> None:
        """Magics that are there already and are not of a view stay."""
        magics = {
            ("line", "px"): self.px,
            ("cell", "px"): self.cell,
            ("line", "pxresult"): self.result,
            ("line", "autopx"): self.autopx,
        }
        for (kind, name), function in magics.items():
            name += self._suffix
            there = self._shell.magics_manager.magics[kind].get(name)
            if there is not None and not isinstance(getattr(there, "__self__", None), ViewMagics):
                print(f"%{name} is taken by another extension; activate(suffix=...) gives another")
                continue
            self._shell.register_magic_function(function, magic_kind=kind, magic_name=name)

    def px(self, line: str) -> None:
        """Run code on the workers, and show what it prints."""
        self._execute(line)

    def cell(self, line: str, cell: str) -> Any:
        """``%%px [--noblock] [--targets 0,1]``."""
        words = line.split()
        block = "--noblock" not in words and "-a" not in words
        targets = None
        for flag in ("--targets", "-t"):
            if flag in words:
                targets = _targets(words[words.index(flag) + 1])
        return self._execute(cell, block=block, targets=targets)

    def result(self, line: str) -> None:
        """Show the outputs of the last ``%px``."""
        if self._last is None:
            raise errors.UsageError("no %px yet", hint="%px runs code on the workers")
        self._last.display_outputs()

    def autopx(self, line: str) -> None:
        """Have cells run on the workers, or here again."""
        if self._run_here is not None:
            self._shell.run_cell = self._run_here
            self._run_here = None
            print("%autopx disabled")
            return
        self._run_here = self._shell.run_cell
        here = self._run_here

        def run_cell(raw_cell: str, *args: Any, **kwargs: Any) -> Any:
            if raw_cell.lstrip().startswith(f"%autopx{self._suffix}"):
                return here(raw_cell, *args, **kwargs)
            call = f"get_ipython().run_cell_magic('px{self._suffix}', '', {raw_cell!r})"
            return here(call, *args, **kwargs)

        self._shell.run_cell = run_cell
        print("%autopx enabled")

    def _execute(self, code: str, *, block: bool = True, targets: Any = None) -> Any:
        self._last = self._view.execute(code, silent=False, targets=targets, block=False)
        if not block:
            return self._last
        self._view._shown(self._last, many=not isinstance(self._view.targets, int)).get()
        return None


def _targets(text: str) -> Any:
    if text == "all":
        return "all"
    found = [int(part) for part in text.split(",")]
    return found[0] if len(found) == 1 else found


def activate(view: DirectView, suffix: str) -> None:
    """See :meth:`DirectView.activate`."""
    module = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    if shell is None:
        raise errors.UsageError("there is no IPython here", hint="activate() works in a notebook")
    ViewMagics(view, shell, suffix).register()
