"""Functions that run over there whenever they are called: made by decorators of a view."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from jupyter_remote import errors, remotely

if TYPE_CHECKING:
    from jupyter_remote.client.views.base import View


class RemoteFunction:
    """Made by ``view.remote``. Over there it is the function itself."""

    def __init__(
        self, view: View, f: Callable[..., Any], block: bool, flags: Mapping[str, Any]
    ) -> None:
        functools.update_wrapper(self, f)
        self.view = view
        self.func = f
        self.block = block
        self.flags = dict(flags)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self.view.temp_flags(block=self.block, **self.flags):
            return self.view.apply(self.func, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, '__name__', self.func)} on {self.view!r}>"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return remotely.itself, (self.func,)


class ParallelFunction(RemoteFunction):
    """Made by ``view.parallel``: called with sequences, workers call it with parts of them."""

    def __init__(
        self,
        view: View,
        f: Callable[..., Any],
        block: bool,
        dist: str,
        options: Mapping[str, Any],
    ) -> None:
        flags = {name: value for name, value in options.items() if name in view.flags}
        super().__init__(view, f, block, flags)
        self._dist = dist
        self._options = {n: value for n, value in options.items() if n not in flags}

    def __call__(self, *sequences: Any) -> Any:
        if not sequences:
            raise errors.UsageError("there is nothing to share out", hint="give a sequence")
        sized = [s if hasattr(s, "__len__") else list(s) for s in sequences]
        lengths = [len(sequence) for sequence in sized]
        if len(set(lengths)) > 1:
            raise ValueError(f"all sequences must have equal length, but have {lengths}")
        with self.view.temp_flags(**self.flags):
            if not lengths[0]:
                return []
            result = self.view._spread(self.func, sized, self._dist, **self._options)
            return self.view._finish(result, self.block, many=True)

    def map(self, *sequences: Any) -> Any:
        """Of each item."""
        with self.view.temp_flags(block=self.block, **self.flags):
            return self.view.map(self.func, *sequences, **self._options)
