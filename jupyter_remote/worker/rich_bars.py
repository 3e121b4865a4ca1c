"""Tasks of ``rich.progress`` as bars that are data."""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

from jupyter_remote.wire import Bar
from jupyter_remote.worker.bars import Bars
from jupyter_remote.worker.encodable import number_of

_numbers = itertools.count(1)
# Columns that show counts as sizes.
SIZES = ("DownloadColumn", "FileSizeColumn", "TotalFileSizeColumn", "TransferSpeedColumn")


class _Known:
    """What is to be remembered of one ``Progress``."""

    def __init__(self, quiet: bool) -> None:
        self.number = next(_numbers)
        self.quiet = quiet  # its bars are data and it draws nothing
        self.hidden: set[Any] = set()  # tasks
        self.stopped: set[Any] = set()  # tasks whose bars are closed until it starts again


def patch(module: ModuleType, hooks: Bars) -> None:
    progress = module.Progress
    all_known: weakref.WeakKeyDictionary[Any, _Known] = weakref.WeakKeyDictionary()

    def known(self: Any) -> _Known:
        if self not in all_known:
            quiet = not self.disable and hooks.replaces(self.console.file)
            all_known[self] = _Known(quiet)
        return all_known[self]

    def id_of(self: Any, task_id: Any) -> str:
        return f"rich-{known(self).number}-{task_id}"

    def bar_of(self: Any, task_id: Any) -> Bar:
        return _bar(module, self, self._tasks[task_id], id_of(self, task_id))

    def open_task(self: Any, task_id: Any) -> None:
        known(self).hidden.discard(task_id)
        hooks.opened(bar_of(self, task_id), lambda: bar_of(self, task_id))

    def moved(self: Any, task_id: Any) -> None:
        """Hidden tasks have no bar until they are shown."""
        hidden = known(self).hidden
        if not self._tasks[task_id].visible:
            hidden.add(task_id)
            hooks.closed(bar_of(self, task_id))
        elif task_id in hidden:
            open_task(self, task_id)
        else:
            hooks.moved(id_of(self, task_id), lambda: bar_of(self, task_id))

    def moving(name: str) -> Callable[..., Any]:
        theirs = getattr(progress, name)

        @functools.wraps(theirs)
        def method(self: Any, task_id: Any, *args: Any, **kwargs: Any) -> Any:
            result = theirs(self, task_id, *args, **kwargs)
            if known(self).quiet:
                moved(self, task_id)
            return result

        return method

    add, remove = progress.add_task, progress.remove_task
    start, stop, refresh = progress.start, progress.stop, progress.refresh

    @functools.wraps(add)
    def new_add(self: Any, *args: Any, **kwargs: Any) -> Any:
        task_id = add(self, *args, **kwargs)
        if known(self).quiet:
            if self._tasks[task_id].visible:
                open_task(self, task_id)
            else:
                known(self).hidden.add(task_id)
        return task_id

    @functools.wraps(remove)
    def new_remove(self: Any, task_id: Any) -> None:
        if known(self).quiet:
            hooks.closed(bar_of(self, task_id))
        remove(self, task_id)

    @functools.wraps(start)
    def new_start(self: Any) -> None:
        if known(self).quiet:
            self.live._started = True  # as whoever counts in a thread asks; it draws nothing
            for task_id in known(self).stopped:
                if task_id in self._tasks and self._tasks[task_id].visible:
                    open_task(self, task_id)
            known(self).stopped.clear()
        else:
            start(self)

    @functools.wraps(stop)
    def new_stop(self: Any) -> None:
        if not known(self).quiet:
            stop(self)
            return
        self.live._started = False
        known(self).stopped.update(self._tasks)
        for task_id in list(self._tasks):
            hooks.closed(bar_of(self, task_id))

    @functools.wraps(refresh)
    def new_refresh(self: Any) -> None:
        if not known(self).quiet:
            refresh(self)

    for name in ("update", "advance", "reset"):
        setattr(progress, name, moving(name))
    progress.add_task, progress.remove_task = new_add, new_remove
    progress.start, progress.stop, progress.refresh = new_start, new_stop, new_refresh


def _bar(module: ModuleType, progress: Any, task: Any, id: str) -> Bar:
    sizes = any(type(column).__name__ in SIZES for column in progress.columns)
    fields = (f"{name}={_plain(module, value)}" for name, value in task.fields.items())
    return Bar(
        id=id,
        n=number_of(task.completed) or 0.0,
        total=number_of(task.total),
        description=_plain(module, task.description),
        unit="B" if sizes else "it",
        rate=number_of(task.speed or task.finished_speed),
        elapsed_s=number_of(task.elapsed) or 0.0,
        postfix=", ".join(fields),
        leave=bool(task.visible) and not progress.live.transient,
        unit_divisor=1000 if sizes else 0,
    )


def _plain(module: ModuleType, text: Any) -> str:
    """Without markup such as ``[red]``."""
    try:
        return str(module.Text.from_markup(str(text)).plain)
    except Exception:  # an odd pair of brackets
        return str(text)
