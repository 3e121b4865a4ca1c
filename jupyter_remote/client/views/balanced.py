"""Load-balanced views: each call goes to whichever worker is free."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

from jupyter_remote import calls, errors
from jupyter_remote.client.views import partition
from jupyter_remote.client.views.base import View
from jupyter_remote.client.views.dependencies import Conditions, Dependency, checked
from jupyter_remote.client.views.dispatcher import MapWork, Pace, Single
from jupyter_remote.client.views.exchange import Request
from jupyter_remote.client.views.group import Group
from jupyter_remote.client.views.lazymap import LazyMap
from jupyter_remote.client.views.parts import Part
from jupyter_remote.client.views.pending import Join
from jupyter_remote.client.views.results import AsyncMapResult, AsyncResult

UNMET = errors.UnmetDependencyError.__name__


class LoadBalancedView(View):
    """Each call goes to a worker that is free.

    Attributes
    ----------
    targets: numbers of workers that may take calls; None: all.
    retries: how often a call is tried again when its worker died in the middle of it.
    after: calls (results, ids, a Dependency) that have to be done before.
    follow: the same, and the call runs where they ran.
    timeout: seconds to wait for these.
    """

    retries = 0
    after: Any = None
    follow: Any = None
    timeout: float | None = None
    flags: ClassVar[tuple[str, ...]] = (*View.flags, "after", "follow", "retries", "timeout")

    def __init__(self, group: Group, targets: Any = None, **flags: Any) -> None:
        self._paces: dict[int, Pace] = {}
        super().__init__(group, targets, **flags)

    def set_flags(self, **flags: Any) -> Self:
        for name in ("after", "follow"):
            checked(flags.get(name))
        timeout, retries = flags.get("timeout"), flags.get("retries", 0)
        if not isinstance(timeout, int | float | None):
            raise TypeError(f"Invalid type for timeout: {type(timeout)!r}")
        if timeout is not None and timeout < 0:
            raise ValueError(f"Invalid timeout: {timeout}")
        if not isinstance(retries, int):
            raise TypeError(f"retries must be int, not {type(retries)!r}")
        return super().set_flags(**flags)

    def _really_apply(
        self,
        function: Callable[..., Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        block: bool | None = None,
        targets: Any = None,
        retries: int | None = None,
        after: Any = None,
        follow: Any = None,
        timeout: float | None = None,
        track: bool | None = None,
        label: str | None = None,
        name: str = "",
    ) -> Any:
        space = self._space
        space.exchange.check()
        shipped = space.functions.shipped(function)
        plain, inputs = space.packed_arguments(tuple(args), dict(kwargs or {}))
        pace = self._paces.setdefault(shipped.number, Pace())
        left = self.retries if retries is None else retries
        dispatcher = self._group.dispatcher

        def done(request: Request) -> None:
            nonlocal left
            dispatcher.done(request, part.engine, pace, 1)
            if request.reply is not None and request.reply.error is None:
                result.heard(request)
                return
            lost = isinstance(request.error, errors.EngineError) and part.engine is not None
            if (lost and left > 0) or (_is_unmet(request) and work.elsewhere(self._group.ids)):
                left -= lost
                work.again()
                dispatcher.add(work)
                return
            result.heard(request)

        name = name or shipped.name
        part = Part(Request(done), None, name=name, label=self.label if label is None else label)
        result = AsyncResult(space, [part], single=True, name=name)
        result.drop = dispatcher.drop
        work = Single(part, shipped, plain, inputs, pace, self._allowed(targets))
        after = self.after if after is None else after
        follow = self.follow if follow is None else follow
        if after is None and follow is None:
            dispatcher.add(work)
        else:
            result.drop = functools.partial(self._drop, work)
            self._add_later(work, Dependency(after), Dependency(follow), timeout)
        return self._finish(result, block, many=False)

    def _add_later(
        self, work: Single, after: Dependency, follow: Dependency, timeout: float | None
    ) -> None:
        work.part.after, work.part.follow = sorted(after), sorted(follow)
        wait_s = self.timeout if timeout is None else timeout
        Conditions(self._record, after, follow, wait_s, functools.partial(self._go, work))

    def _drop(self, work: Single, requests: list[Request]) -> set[int]:
        """It may wait for others still, and not for a worker."""
        request = work.part.request
        gone = self._group.dispatcher.drop(requests)
        if not gone and work.part.engine is None:
            request.finish(calls.Reply(request.id, dropped=True))
            return {request.id}
        return gone

    def _allowed(self, targets: Any) -> frozenset[int] | None:
        chosen = self.targets if targets is None else targets
        return None if chosen is None else frozenset(e.id for e in self._group.choose(chosen))

    def _go(self, work: Single, engines: set[int] | None, error: Exception | None) -> None:
        """What the call waited for is there, or will never be."""
        if engines is not None:
            work.engines = frozenset(engines).intersection(work.engines or engines)
            if not work.engines:
                error = errors.ImpossibleDependency(
                    "none of the workers that may take it is one that it was to follow",
                    hint="allow more of them: targets=None",
                )
        if error is not None:
            work.fail(error)
        elif not work.part.request.done:  # it may have been dropped meanwhile
            self._group.space.exchange.later(lambda: self._group.dispatcher.add(work))

    def map(
        self,
        f: Callable[..., Any],
        *sequences: Iterable[Any],
        block: bool | None = None,
        chunksize: int | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        label: str | None = None,
    ) -> Any:
        """``f`` of each item, by whoever is free.

        Parameters
        ----------
        chunksize: items of one call; without it as many as take a short while, measured.
        ordered: iterating gives results in the order of the items, else what is done first.
        return_exceptions: exceptions stand for the items of their calls, one item each without a
            chunksize.
        """
        if not sequences:
            raise errors.UsageError("must have some sequences to map onto!", hint="map(f, items)")
        if chunksize is not None and chunksize < 1:
            raise errors.UsageError(f"chunksize is at least 1, not {chunksize}")
        chunk = chunksize or (1 if return_exceptions else None)
        items = list(zip(*sequences, strict=False))
        waits = self.block if block is None else block
        result = self._map_items(f, items, chunk, partition.flat, return_exceptions, waits)
        result.ordered = ordered
        return self._finish(result, block, many=False)

    def _map_items(
        self,
        f: Callable[..., Any],
        items: Sequence[tuple[Any, ...]],
        chunk: int | None,
        join: Join,
        return_exceptions: bool,
        waits: bool = False,
    ) -> AsyncMapResult:
        """``waits``: whoever calls changes nothing meanwhile."""
        self._space.exchange.check()
        result = AsyncMapResult(
            self._space,
            [],
            single=False,
            name=getattr(f, "__name__", "map"),
            join=join,
            more=bool(items),
            return_exceptions=return_exceptions,
        )
        result._total = len(items)
        if items:
            dispatcher = self._group.dispatcher
            allowed = self._allowed(None)
            work = MapWork(self._group, f, items, result, chunk, dispatcher, allowed)
            if not waits and not partition.are_plain(items):
                work.pack()
            result.withdraw = functools.partial(dispatcher.withdraw, work)
            dispatcher.add(work)
        return result

    def _spread(
        self, f: Callable[..., Any], sequences: Sequence[Any], dist: str, **options: Any
    ) -> AsyncMapResult:
        """In parts of ``chunksize`` items, one call each."""
        size = options.get("chunksize") or 1
        count = -(-len(sequences[0]) // size)
        items = [
            tuple(partition.part_of(s, index, count, dist) for s in sequences)
            for index in range(count)
        ]

        def join(found: list[Any]) -> Any:
            return partition.joined(partition.flat(found), dist)

        return self._map_items(f, items, 1, join, bool(options.get("return_exceptions")))

    def imap(
        self,
        f: Callable[..., Any],
        *sequences: Iterable[Any],
        ordered: bool = True,
        max_outstanding: int | str = "auto",
        return_exceptions: bool = False,
    ) -> LazyMap:
        """Results as they come, for sequences that may be endless: at most ``max_outstanding``
        calls are under way; 0: no limit. ``cancel()`` of what it gives takes no more items."""
        if not sequences:
            raise errors.UsageError("must have some sequences to map onto!", hint="imap(f, items)")
        most = 2 * len(self) if max_outstanding == "auto" else int(max_outstanding)

        def call(item: tuple[Any, ...]) -> AsyncResult:
            result: AsyncResult = self._really_apply(f, item, block=False)
            return result

        items = iter(zip(*sequences, strict=False))
        return LazyMap(call, items, most, ordered=ordered, return_exceptions=return_exceptions)


def _is_unmet(request: Request) -> bool:
    """Did the worker lack what the function needs?"""
    reply = request.reply
    return reply is not None and reply.error is not None and reply.error.ename == UNMET
