"""Progress bars of remote code as data: tqdm, rich.progress and Keras, unmodified.

Their classes are patched when they are imported, or at once if they are there already; nothing is
imported for it. While ``Hooks.active`` is true, bars are reported and what they would have printed
is not printed; while it is false they print, as where there are no widgets.
"""

from __future__ import annotations

import functools
import itertools
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from jupyter_remote import imports
from jupyter_remote.wire import Bar
from jupyter_remote.worker import inside, rich_bars, tqdm_bars
from jupyter_remote.worker.bars import Bars
from jupyter_remote.worker.encodable import number_of, rate_of

_ids = itertools.count(1)


class Hooks(Bars):
    """Bars of patched classes."""

    def install(self) -> None:
        """Called while the streams are those that people see."""
        self.streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
        for name, patch in PATCHES.items():
            imports.after_import(name, functools.partial(patch, hooks=self))


def is_bar(value: Any) -> bool:
    """A progress bar: over when its cell is, nobody misses it."""
    kinds = (("tqdm.std", "tqdm"), ("rich.progress", "Progress"), (inside.__name__, "progress"))
    known = (getattr(sys.modules.get(module), name, None) for module, name in kinds)
    return isinstance(value, tuple(kind for kind in known if kind is not None))


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
        postfix=", ".join(f"{k}={number_of(v) or 0.0:.4g}" for k, v in means.items()),
    )


def _patch_keras(module: ModuleType, hooks: Bars) -> None:
    theirs = module.Progbar.update

    @functools.wraps(theirs)
    def update(self: Any, current: Any, values: Any = None, finalize: Any = None) -> Any:
        if not hooks.replaces(sys.stdout) or getattr(self, "verbose", 1) not in (1, KERAS_SILENT):
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


PATCHES: dict[str, Callable[..., None]] = {
    "tqdm.std": tqdm_bars.patch_tqdm,
    "tqdm.notebook": tqdm_bars.patch_notebook,
    "tqdm.rich": tqdm_bars.patch_rich,
    "rich.progress": rich_bars.patch,
    "keras.src.utils.progbar": _patch_keras,
}
