"""Bars of tqdm as data: std, auto, asyncio, notebook, rich, and what builds on them."""

from __future__ import annotations

import functools
import itertools
import sys
import weakref
from collections.abc import Callable
from types import ModuleType
from typing import Any

from jupyter_remote.wire import Bar
from jupyter_remote.worker import nesting
from jupyter_remote.worker.bars import Bars
from jupyter_remote.worker.encodable import number_of, rate_of

_ids = itertools.count(1)


class _Nowhere:
    """The file of a bar that is not printed."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        """Nothing to flush."""

    def isatty(self) -> bool:
        return False


def _tqdm_bar(bar: Any) -> Bar:
    facts = bar.format_dict
    elapsed_s = number_of(facts.get("elapsed")) or 0.0
    n, began_at = number_of(bar.n) or 0.0, number_of(bar.initial) or 0.0
    rate = number_of(facts.get("rate")) or rate_of(n - began_at, elapsed_s)
    factor, divisor = _scale_of(bar)
    return Bar(
        id=bar._jr_id,
        n=n * factor,
        total=_times(number_of(bar.total), factor),
        description=str(bar.desc or "").removesuffix(": "),
        unit=str(bar.unit),
        rate=_times(rate, factor),
        elapsed_s=elapsed_s,
        parent=bar._jr_parent,
        postfix=str(getattr(bar, "postfix", None) or ""),
        leave=bool(bar.leave) if bar.leave is not None else not bar._jr_parent,
        unit_divisor=divisor,
    )


def _scale_of(bar: Any) -> tuple[float, int]:
    """What counts are to be multiplied with, and the divisor of their prefixes."""
    scale = bar.unit_scale
    if not scale:
        return 1.0, 0
    if scale in (True, 1):
        return 1.0, int(bar.unit_divisor)
    return number_of(scale) or 1.0, 0


def _times(number: float | None, factor: float) -> float | None:
    return None if number is None else number_of(number * factor)


def _looking_at(bar: Any) -> Callable[[], Bar | None]:
    """Sees the bar without keeping it: one that is dropped is closed by that."""
    seen = weakref.ref(bar)

    def look() -> Bar | None:
        found = seen()
        return None if found is None or found.disable else _tqdm_bar(found)

    return look


def _file_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Where a bar with these arguments is drawn."""
    file = kwargs.get("file", args[4] if len(args) > 4 else None)
    return sys.stderr if file is None else file


def patch_tqdm(module: ModuleType, hooks: Bars) -> None:
    tqdm = module.tqdm
    init, refresh, close, display = tqdm.__init__, tqdm.refresh, tqdm.close, tqdm.display

    @functools.wraps(init)
    def new_init(self: Any, *args: Any, **kwargs: Any) -> None:
        self._jr_id = ""
        self._jr_quiet = hooks.replaces(_file_of(args, kwargs))
        init(self, *args, **kwargs)
        if self._jr_quiet and not self.disable:
            self.fp = _Nowhere()
            self._jr_id = f"tqdm-{next(_ids)}"
            self._jr_parent = nesting.enter(self, self._jr_id, lambda bar: not bar.disable)
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


def patch_notebook(module: ModuleType, hooks: Bars) -> None:
    """It draws with widgets, which a job has not: it becomes the plain class, that prints."""
    notebook = module.tqdm_notebook
    init = notebook.__init__
    for name in [n for n in vars(notebook) if n in vars(module.std_tqdm) or n == "colour"]:
        if name not in ("__init__", "__module__", "__doc__"):
            delattr(notebook, name)

    @functools.wraps(init)
    def new_init(self: Any, *args: Any, **kwargs: Any) -> None:
        shown = kwargs.pop("display", True)
        if isinstance(kwargs.get("ncols"), str):  # a width in CSS
            del kwargs["ncols"]
        kwargs["disable"] = bool(kwargs.get("disable", False))  # None: where there is no terminal
        super(notebook, self).__init__(*args, **kwargs)
        self.displayed = True
        if not shown:
            self.container = _nothing_to_show(module)

    notebook.__init__ = new_init


def _nothing_to_show(module: ModuleType) -> Any:
    """For those who place the widget themselves."""
    methods = {"_repr_mimebundle_": lambda self, **_: {}, "_ipython_display_": lambda self: None}
    return type("HBox", (module.HBox,), methods)()


def patch_rich(module: ModuleType, hooks: Bars) -> None:
    """It draws with a bar of rich: one that is not printed behaves as the plain class instead."""
    drawn, plain = module.tqdm_rich, module.std_tqdm
    init = drawn.__init__

    @functools.wraps(init)
    def new_init(self: Any, *args: Any, **kwargs: Any) -> None:
        self._jr_plain = hooks.replaces(_file_of(args, kwargs))
        if not self._jr_plain:
            init(self, *args, **kwargs)
            return
        for name in ("progress", "options"):
            kwargs.pop(name, None)
        plain.__init__(self, *args, **kwargs)

    def choose(name: str) -> Callable[..., Any]:
        theirs, simple = getattr(drawn, name), getattr(plain, name)

        @functools.wraps(theirs)
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            return (simple if self._jr_plain else theirs)(self, *args, **kwargs)

        return method

    for name in ("close", "clear", "reset", "display"):
        setattr(drawn, name, choose(name))
    drawn.__init__ = new_init
