"""What direct and load-balanced views have in common."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from jupyter_remote import errors
from jupyter_remote.client.views import shown
from jupyter_remote.client.views.decorated import ParallelFunction, RemoteFunction
from jupyter_remote.client.views.engine import Engine
from jupyter_remote.client.views.record import Record
from jupyter_remote.client.views.results import AsyncMapResult, AsyncResult
from jupyter_remote.client.views.space import Space

if TYPE_CHECKING:
    from jupyter_remote.client.views.group import Group

Function = Callable[..., Any]
Targets = int | list[int] | str | None


class NoSuchFlag(errors.UsageError, KeyError):
    """A name that no flag of the view has."""


class View:
    """Workers, and what to do with calls for them.

    Attributes
    ----------
    block: wait for results, or give an :class:`AsyncResult` at once.
    track: kept for code that sets it; arguments are always free to be changed.
    targets: numbers of the workers; a number alone: results come without a list.
    label: a word of yours in the metadata of the calls.
    """

    block = False
    track = False
    label: str | None = None
    flags: ClassVar[tuple[str, ...]] = ("targets", "block", "track", "label")

    def __init__(self, group: Group, targets: Any, **flags: Any) -> None:
        self.client = group.client
        self.block = getattr(group.client, "block", False)
        self.targets: Targets = targets
        self.history: list[str] = []
        self._group = group
        self.set_flags(**flags)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._shown_targets()}>"

    def _shown_targets(self) -> str:
        chosen = self.targets
        if isinstance(chosen, list) and len(chosen) > 4:
            return f"[{chosen[0]}, {chosen[1]}, …, {chosen[-1]}]"
        return str(chosen)

    def __len__(self) -> int:
        return len(self._engines(None))

    @property
    def _space(self) -> Space:
        return self._group.space

    @property
    def _record(self) -> Record:
        return self._group.record

    @property
    def results(self) -> Mapping[str, AsyncResult]:
        """Of this client, by the ids of calls; those that are not done, and the latest."""
        return self._record.results

    @property
    def outstanding(self) -> set[str]:
        """Ids of calls of this view that are not done."""
        return self._record.outstanding().intersection(self.history)

    def _engines(self, targets: Any) -> list[Engine]:
        return self._group.choose(self.targets if targets is None else targets)

    def _is_single(self, targets: Any) -> bool:
        return isinstance(self.targets if targets is None else targets, int)

    # -- flags
    def set_flags(self, **flags: Any) -> Self:
        """Set ``block``, ``track``, ``targets`` and the like. Raises KeyError for other names."""
        for name in flags:
            if name not in self.flags:
                raise NoSuchFlag(f"Invalid name: {name!r}", hint=f"one of {', '.join(self.flags)}")
        for name, value in flags.items():
            setattr(self, name, value)
        return self

    @contextlib.contextmanager
    def temp_flags(self, **flags: Any) -> Iterator[None]:
        """The same for the block."""
        before = {name: getattr(self, name) for name in flags if name in self.flags}
        self.set_flags(**flags)
        try:
            yield
        finally:
            self.set_flags(**before)

    # -- calling
    _really_apply: Callable[..., Any]

    def apply(self, f: Function, /, *args: Any, **kwargs: Any) -> Any:
        """Call ``f(*args, **kwargs)`` over there; waits if ``block`` is set."""
        return self._really_apply(f, args, kwargs)

    def apply_async(self, f: Function, /, *args: Any, **kwargs: Any) -> AsyncResult:
        """The same, at once an :class:`AsyncResult`."""
        result: AsyncResult = self._really_apply(f, args, kwargs, block=False)
        return result

    def apply_sync(self, f: Function, /, *args: Any, **kwargs: Any) -> Any:
        """The same, waiting for the result."""
        return self._really_apply(f, args, kwargs, block=True)

    map: Callable[..., Any]

    def map_async(self, f: Function, *sequences: Iterable[Any], **flags: Any) -> AsyncMapResult:
        """``map`` that gives an :class:`AsyncMapResult` at once."""
        if "block" in flags:
            raise TypeError("map_async doesn't take a `block` keyword argument.")
        result: AsyncMapResult = self.map(f, *sequences, block=False, **flags)
        return result

    def map_sync(self, f: Function, *sequences: Iterable[Any], **flags: Any) -> list[Any]:
        """``map`` that waits: a list."""
        if "block" in flags:
            raise TypeError("map_sync doesn't take a `block` keyword argument.")
        result: list[Any] = self.map(f, *sequences, block=True, **flags)
        return result

    # -- decorators
    def remote(
        self, block: bool | None = None, **flags: Any
    ) -> Callable[[Function], RemoteFunction]:
        """Decorator: a call of the function is a call over there."""
        chosen = self.block if block is None else block
        return lambda f: RemoteFunction(self, f, chosen, flags)

    def parallel(
        self, dist: str = "b", block: bool | None = None, **options: Any
    ) -> Callable[[Function], ParallelFunction]:
        """Decorator: the function is called with parts of its sequences, side by side; its ``map``
        calls it with each item.

        options: chunksize, ordered, return_exceptions; flags of the view.
        """
        chosen = self.block if block is None else block
        return lambda f: ParallelFunction(self, f, chosen, dist, options)

    def _spread(
        self, f: Function, sequences: Sequence[Any], dist: str, **options: Any
    ) -> AsyncMapResult:
        """Call ``f`` with parts of the sequences; what they give is joined."""
        raise NotImplementedError

    # -- waiting
    def wait(self, jobs: Any = None, timeout: float | None = -1) -> bool:
        """Until these calls (results, ids, or all of this view) are done; False: timeout."""
        return self._record.wait(self._found(jobs), timeout)

    def wait_interactive(
        self, jobs: Any = None, interval: float = 1.0, timeout: float = -1
    ) -> None:
        """:meth:`wait` with a bar."""
        self._record.wait_interactive(self._found(jobs), interval, timeout)

    def _found(self, jobs: Any) -> list[AsyncResult]:
        if jobs is not None:
            return self._record.find(jobs, self.history)
        mine = set(self.history)
        return [result for result in self._record.open() if mine.intersection(result.msg_ids)]

    def get_result(
        self, indices_or_msg_ids: Any = None, block: bool | None = None, owner: bool = False
    ) -> AsyncResult:
        """The AsyncResult of calls by their ids or places in ``history``; without one the last.

        Raises KeyError where there is none any more.
        """
        waits = self.block if block is None else block
        return self._record.get(indices_or_msg_ids, self.history, waits=waits)

    def purge_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """Forget results: these, or "all"."""
        self._record.forget(None if jobs == "all" else self._found(jobs))

    def spin(self) -> None:
        """Results come by themselves."""

    def abort(self, jobs: Any = None, targets: Any = None, block: bool | None = None) -> None:
        """Drop calls that have not begun: these, or all."""
        self._record.abort(self._found(jobs))

    def queue_status(self, targets: Any = None, verbose: bool = False) -> dict[Any, Any]:
        """By worker: calls that wait or run, and how many are done. Of one worker only its own.

        ``verbose``: the ids of the calls instead of their number.
        """
        chosen = self.targets if targets is None else targets
        return self._group.status(chosen, verbose)

    def shutdown(
        self,
        targets: Any = None,
        restart: bool = False,
        hub: bool = False,
        block: bool | None = None,
    ) -> None:
        """Stop the workers' sessions. Their variables are lost."""
        if restart:
            raise errors.UsageError("workers are not restarted", hint="client.view() starts others")
        self._group.stop(self._engines(targets))

    # -- inside
    def _remember(self, result: AsyncResult) -> AsyncResult:
        result.group = self._group
        self.history.extend(self._record.add(result))
        return result

    def _finish(self, result: AsyncResult, block: bool | None, many: bool) -> Any:
        """The result, or what it gives, as the flags say."""
        self._remember(result)
        if not (self.block if block is None else block):
            return result
        return self._shown(result, many).get()

    def _shown(self, result: AsyncResult, many: bool) -> AsyncResult:
        """Waits; what its calls print is seen in the cell."""
        if shown.in_notebook() and threading.current_thread() is threading.main_thread():
            result.wait_shown(many)
        return result
