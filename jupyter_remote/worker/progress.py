"""Progress bars of remote code as data: tqdm, rich.progress and Keras, unmodified.

Their classes are patched when they are imported, or at once if they are there already; nothing is
imported for it. While ``Hooks.active`` is true, bars are reported and what they would have printed
is not printed; while it is false they are as their authors made them.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import itertools
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

from jupyter_remote.wire import Bar
from jupyter_remote.worker.bars import Bars
from jupyter_remote.worker.encodable import number_of, rate_of

_ids = itertools.count(1)


class Hooks(Bars):
    """Bars of patched classes."""

    def install(self) -> None:
        for name, patch in PATCHES.items():
            if name in sys.modules:
                patch(sys.modules[name], self)
        sys.meta_path.insert(0, _Finder(self))


# --- tqdm: std, auto, asyncio, and what builds on it ------------------------------------------
class _Nowhere:
    """The file of a bar that is not printed."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        """Nothing to flush."""

    def isatty(self) -> bool:
        return False


_bars_here = threading.local()


def _parent_of(bar: Any) -> str:
    """The id of the innermost bar that is open in this thread; ``bar`` becomes the innermost."""
    stack = [b for b in getattr(_bars_here, "stack", ()) if b() is not None and not b().disable]
    _bars_here.stack = [*stack, weakref.ref(bar)]
    return str(stack[-1]()._jr_id) if stack else ""


def _tqdm_bar(bar: Any) -> Bar:
    facts = bar.format_dict
    elapsed_s = number_of(facts.get("elapsed")) or 0.0
    n, began_at = number_of(bar.n) or 0.0, number_of(bar.initial) or 0.0
    return Bar(
        id=bar._jr_id,
        n=n,
        total=number_of(bar.total),
        description=str(bar.desc or "").removesuffix(": "),
        unit=str(bar.unit),
        rate=number_of(facts.get("rate")) or rate_of(n - began_at, elapsed_s),
        elapsed_s=elapsed_s,
        parent=bar._jr_parent,
        postfix=str(getattr(bar, "postfix", None) or ""),
        leave=bool(bar.leave) if bar.leave is not None else not bar._jr_parent,
    )


def _looking_at(bar: Any) -> Callable[[], Bar | None]:
    """Sees the bar without keeping it: one that is dropped is closed by that."""
    seen = weakref.ref(bar)

    def look() -> Bar | None:
        found = seen()
        return None if found is None or found.disable else _tqdm_bar(found)

    return look


def _prints_to_user(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Would this bar appear in the cell, not in a file of the user's own?"""
    file = kwargs.get("file", args[4] if len(args) > 4 else None)
    return file in (None, sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)


def _patch_tqdm(module: ModuleType, hooks: Hooks) -> None:
    tqdm = module.tqdm
    init, refresh, close, display = tqdm.__init__, tqdm.refresh, tqdm.close, tqdm.display

    @functools.wraps(init)
    def new_init(self: Any, *args: Any, **kwargs: Any) -> None:
        self._jr_id = ""
        self._jr_quiet = hooks.active and _prints_to_user(args, kwargs)
        init(self, *args, **kwargs)
        if self._jr_quiet and not self.disable:
            self.fp = _Nowhere()
            self._jr_parent = _parent_of(self)
            self._jr_id = f"tqdm-{next(_ids)}"
            hooks.opened(_tqdm_bar(self), _looking_at(self))

    @functools.wraps(refresh)
    def new_refresh(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not self._jr_quiet:
            return refresh(self, *args, **kwargs)
        if self._jr_id and not self.disable:
            hooks.moved(self._jr_id, lambda: _tqdm_bar(self))
        return True

    @functools.wraps(close)
    def new_close(self: Any) -> None:
        last = _tqdm_bar(self) if getattr(self, "_jr_id", "") and not self.disable else None
        close(self)
        if last is not None:
            hooks.closed(last)

    @functools.wraps(display)
    def new_display(self: Any, *args: Any, **kwargs: Any) -> Any:
        return True if self._jr_quiet else display(self, *args, **kwargs)

    tqdm.__init__, tqdm.refresh, tqdm.close = new_init, new_refresh, new_close
    tqdm.display = new_display


def _patch_tqdm_notebook(module: ModuleType, hooks: Hooks) -> None:
    """It draws with widgets; a bar that is not printed behaves as the plain class instead."""
    notebook, plain = module.tqdm_notebook, module.std_tqdm
    init = notebook.__init__

    @functools.wraps(init)
    def new_init(self: Any, *args: Any, **kwargs: Any) -> None:
        if not (hooks.active and _prints_to_user(args, kwargs)):
            self._jr_quiet = False
            init(self, *args, **kwargs)
            return
        kwargs.pop("display", None)
        self.displayed = True
        self.status_printer = plain.status_printer
        plain.__init__(self, *args, **kwargs)

    def choose(name: str) -> Callable[..., Any]:
        theirs, simple = getattr(notebook, name), getattr(plain, name)

        @functools.wraps(theirs)
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            return (simple if self._jr_quiet else theirs)(self, *args, **kwargs)

        return method

    for name in ("__iter__", "update", "close", "clear", "reset", "display"):
        setattr(notebook, name, choose(name))
    notebook.__init__ = new_init


# --- rich.progress ----------------------------------------------------------------------------
def _patch_rich(module: ModuleType, hooks: Hooks) -> None:
    progress = module.Progress
    numbers: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
    start, stop, remove = progress.start, progress.stop, progress.remove_task

    def id_of(self: Any, task_id: Any) -> str:
        if self not in numbers:
            numbers[self] = next(_ids)
        return f"rich-{numbers[self]}-{task_id}"

    def bar_of(self: Any, task_id: Any) -> Bar:
        task = self._tasks[task_id]
        return Bar(
            id=id_of(self, task_id),
            n=number_of(task.completed) or 0.0,
            total=number_of(task.total),
            description=str(task.description),
            rate=number_of(task.speed or task.finished_speed),
            elapsed_s=number_of(task.elapsed) or 0.0,
            postfix=", ".join(f"{k}={v}" for k, v in task.fields.items()),
        )

    def quiet(self: Any) -> bool:
        return hooks.active and not self.disable

    def moving(name: str) -> Callable[..., Any]:
        theirs = getattr(progress, name)

        @functools.wraps(theirs)
        def method(self: Any, task_id: Any, *args: Any, **kwargs: Any) -> Any:
            result = theirs(self, task_id, *args, **kwargs)
            if quiet(self):
                hooks.moved(id_of(self, task_id), lambda: bar_of(self, task_id))
            return result

        return method

    add = progress.add_task

    @functools.wraps(add)
    def new_add(self: Any, *args: Any, **kwargs: Any) -> Any:
        task_id = add(self, *args, **kwargs)
        if quiet(self):
            hooks.opened(bar_of(self, task_id), lambda: bar_of(self, task_id))
        return task_id

    @functools.wraps(remove)
    def new_remove(self: Any, task_id: Any) -> None:
        if quiet(self):
            hooks.closed(bar_of(self, task_id))
        remove(self, task_id)

    @functools.wraps(start)
    def new_start(self: Any) -> None:
        # Not started, its live display draws nothing; counting goes on all the same.
        if not quiet(self):
            start(self)

    @functools.wraps(stop)
    def new_stop(self: Any) -> None:
        if not quiet(self):
            stop(self)
        for task_id in list(self._tasks):
            hooks.closed(bar_of(self, task_id))

    for name in ("update", "advance", "reset"):
        setattr(progress, name, moving(name))
    progress.add_task, progress.remove_task = new_add, new_remove
    progress.start, progress.stop = new_start, new_stop


# --- Keras 3 ----------------------------------------------------------------------------------
KERAS_SILENT = 3  # a verbosity that draws nothing and still keeps the averages


def _keras_bar(bar: Any, current: Any) -> Bar:
    elapsed_s = time.time() - bar._start
    means = {
        name: v[0] / max(1, v[1]) if isinstance(v, list | tuple) else v
        for name, v in getattr(bar, "_values", {}).items()
    }
    n = number_of(current) or 0.0
    return Bar(
        id=bar._jr_id,
        n=n,
        total=number_of(bar.target),
        unit=str(getattr(bar, "unit_name", "step")),
        rate=rate_of(n, elapsed_s),
        elapsed_s=elapsed_s,
        postfix=", ".join(f"{k}={float(v):.4g}" for k, v in means.items()),
    )


def _patch_keras(module: ModuleType, hooks: Hooks) -> None:
    theirs = module.Progbar.update

    @functools.wraps(theirs)
    def update(self: Any, current: Any, values: Any = None, finalize: Any = None) -> Any:
        if not hooks.active or getattr(self, "verbose", 1) not in (1, KERAS_SILENT):
            return theirs(self, current, values, finalize)
        self.verbose = KERAS_SILENT
        result = theirs(self, current, values, finalize)
        self._jr_current = current
        if not hasattr(self, "_jr_id"):
            self._jr_id = f"keras-{next(_ids)}"
            hooks.opened(_keras_bar(self, current), lambda: _keras_bar(self, self._jr_current))
        if finalize or (finalize is None and self.target is not None and current >= self.target):
            hooks.closed(_keras_bar(self, current))
        else:
            hooks.moved(self._jr_id, lambda: _keras_bar(self, current))
        return result

    module.Progbar.update = update


PATCHES: dict[str, Callable[[ModuleType, Hooks], None]] = {
    "tqdm.std": _patch_tqdm,
    "tqdm.notebook": _patch_tqdm_notebook,
    "rich.progress": _patch_rich,
    "keras.src.utils.progbar": _patch_keras,
}


class _Finder(importlib.abc.MetaPathFinder):
    """Patches a module when it is imported; all other imports pass by."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in PATCHES:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is not self and find and (spec := find(fullname, path, target)):
                self._patch_after(spec)
                found: importlib.machinery.ModuleSpec = spec
                return found
        return None

    def _patch_after(self, spec: importlib.machinery.ModuleSpec) -> None:
        loader: Any = spec.loader
        if not hasattr(loader, "exec_module"):
            return
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            PATCHES[spec.name](module, self._hooks)

        loader.exec_module = exec_module
