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


class _Tasks:
    """Tasks of all ``Progress`` objects, and their bars."""

    def __init__(self, module: ModuleType, hooks: Bars) -> None:
        self._module = module
        self._hooks = hooks
        self._known: weakref.WeakKeyDictionary[Any, _Known] = weakref.WeakKeyDictionary()

    def known(self, progress: Any) -> _Known:
        if progress not in self._known:
            quiet = not progress.disable and self._hooks.replaces(progress.console.file)
            self._known[progress] = _Known(quiet)
        return self._known[progress]

    def is_quiet(self, progress: Any) -> bool:
        return self.known(progress).quiet

    def _id_of(self, progress: Any, id: Any) -> str:
        return f"rich-{self.known(progress).number}-{id}"

    def _bar_of(self, progress: Any, id: Any) -> Bar:
        return _bar(self._module, progress, progress._tasks[id], self._id_of(progress, id))

    def added(self, progress: Any, id: Any) -> None:
        if progress._tasks[id].visible:
            self._open(progress, id)
        else:
            self.known(progress).hidden.add(id)

    def _open(self, progress: Any, id: Any) -> None:
        self.known(progress).hidden.discard(id)
        self._hooks.opened(self._bar_of(progress, id), lambda: self._bar_of(progress, id))

    def moved(self, progress: Any, id: Any) -> None:
        """Hidden tasks have no bar until they are shown."""
        hidden = self.known(progress).hidden
        if not progress._tasks[id].visible:
            hidden.add(id)
            self.closed(progress, id)
        elif id in hidden:
            self._open(progress, id)
        else:
            self._hooks.moved(self._id_of(progress, id), lambda: self._bar_of(progress, id))

    def closed(self, progress: Any, id: Any) -> None:
        self._hooks.closed(self._bar_of(progress, id))

    def started(self, progress: Any) -> None:
        progress.live._started = True  # as whoever counts in a thread asks; it draws nothing
        stopped = self.known(progress).stopped
        for id in stopped & progress._tasks.keys():
            self.added(progress, id)
        stopped.clear()

    def stopped(self, progress: Any) -> None:
        progress.live._started = False
        self.known(progress).stopped.update(progress._tasks)
        for id in list(progress._tasks):
            self.closed(progress, id)


def patch(module: ModuleType, hooks: Bars) -> None:
    progress, tasks = module.Progress, _Tasks(module, hooks)
    for name in ("update", "advance", "reset"):
        setattr(progress, name, _moving(tasks, getattr(progress, name)))
    _patch_tasks(progress, tasks)
    for name, instead in (
        ("start", tasks.started),
        ("stop", tasks.stopped),
        ("refresh", lambda progress: None),
    ):
        setattr(progress, name, _instead(tasks, getattr(progress, name), instead))


def _moving(tasks: _Tasks, theirs: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(theirs)
    def method(self: Any, task_id: Any, *args: Any, **kwargs: Any) -> Any:
        result = theirs(self, task_id, *args, **kwargs)
        if tasks.is_quiet(self):
            tasks.moved(self, task_id)
        return result

    return method


def _patch_tasks(progress: Any, tasks: _Tasks) -> None:
    add, remove = progress.add_task, progress.remove_task

    @functools.wraps(add)
    def new_add(self: Any, *args: Any, **kwargs: Any) -> Any:
        task_id = add(self, *args, **kwargs)
        if tasks.is_quiet(self):
            tasks.added(self, task_id)
        return task_id

    @functools.wraps(remove)
    def new_remove(self: Any, task_id: Any) -> None:
        if tasks.is_quiet(self):
            tasks.closed(self, task_id)
        remove(self, task_id)

    progress.add_task, progress.remove_task = new_add, new_remove


def _instead(
    tasks: _Tasks, theirs: Callable[[Any], None], ours: Callable[[Any], None]
) -> Callable[[Any], None]:
    @functools.wraps(theirs)
    def method(self: Any) -> None:
        (ours if tasks.is_quiet(self) else theirs)(self)

    return method


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
