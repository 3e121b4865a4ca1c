"""Workers addressed together: ipyparallel's DirectView, by its names and meanings."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from jupyter_remote import errors, remotely
from jupyter_remote.client.views import partition, shown
from jupyter_remote.client.views.engine import Engine, Space, connect
from jupyter_remote.client.views.exchange import Request
from jupyter_remote.client.views.functions import Shipped
from jupyter_remote.client.views.results import AsyncMapResult, AsyncResult, Part
from jupyter_remote.wire import Parcel

if TYPE_CHECKING:
    from jupyter_remote.client.views.group import Group

Function = Callable[..., Any]
Targets = int | list[int]
REMEMBERED = 100_000  # results of one view, for get_result
FLAGS = ("block", "track", "targets", "after", "follow", "retries", "timeout")


class View:
    """What views have in common.

    Attributes
    ----------
    block: wait for results, or give an :class:`AsyncResult` at once.
    track: kept for code that sets it; arguments are always free to be changed.
    targets: numbers of the workers; a number alone: results come without a list.
    """

    block = False
    track = False

    def __init__(self, group: Group, targets: Targets) -> None:
        self.client = group.client
        self.targets: Targets = targets
        self.history: list[str] = []
        self.results: dict[str, Any] = {}
        self._group = group
        self._open: set[Any] = set()  # results that are not done

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
    def outstanding(self) -> set[str]:
        """Ids of calls that are not done."""
        return {id for result in list(self._open) for id in result.msg_ids}

    def _engines(self, targets: Targets | slice | str | None) -> list[Engine]:
        return self._group.choose(self.targets if targets is None else targets)

    def _is_single(self, targets: Any) -> bool:
        return isinstance(self.targets if targets is None else targets, int)

    # -- flags
    def set_flags(self, **flags: Any) -> None:
        """Set ``block``, ``track``, ``targets`` and the like."""
        for name, value in flags.items():
            if name not in FLAGS:
                raise errors.UsageError(f"Invalid flag: {name}", hint=f"one of {', '.join(FLAGS)}")
            setattr(self, name, value)

    @contextlib.contextmanager
    def temp_flags(self, **flags: Any) -> Iterator[None]:
        """The same for the block."""
        before = {name: getattr(self, name, None) for name in flags}
        self.set_flags(**flags)
        try:
            yield
        finally:
            self.set_flags(**before)

    # -- calling
    def _really_apply(
        self, function: Function, args: Sequence[Any], kwargs: Mapping[str, Any], **flags: Any
    ) -> Any:
        raise NotImplementedError

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

    def map(self, f: Function, *sequences: Iterable[Any], **flags: Any) -> Any:
        raise NotImplementedError

    def map_async(self, f: Function, *sequences: Iterable[Any], **flags: Any) -> AsyncMapResult:
        """``map`` that gives an :class:`AsyncMapResult` at once."""
        flags["block"] = False
        result: AsyncMapResult = self.map(f, *sequences, **flags)
        return result

    def map_sync(self, f: Function, *sequences: Iterable[Any], **flags: Any) -> list[Any]:
        """``map`` that waits: a list."""
        flags["block"] = True
        result: list[Any] = self.map(f, *sequences, **flags)
        return result

    def imap(self, f: Function, *sequences: Iterable[Any], **flags: Any) -> Iterator[Any]:
        """Results in order, each as soon as it is there."""
        return iter(self.map_async(f, *sequences, **flags))

    # -- decorators
    def remote(self, block: bool | None = None, **flags: Any) -> Callable[[Function], Function]:
        """Decorator: a call of the function is a call over there."""

        def decorate(f: Function) -> Function:
            @functools.wraps(f)
            def called(*args: Any, **kwargs: Any) -> Any:
                chosen = self.block if block is None else block
                return self._really_apply(f, args, kwargs, block=chosen, **flags)

            return called

        return decorate

    def parallel(
        self, dist: str = "b", block: bool | None = None, **flags: Any
    ) -> Callable[[Function], Any]:
        """Decorator: the function is called with a part of its sequences by each worker; its
        ``map`` calls it with each item."""

        def decorate(f: Function) -> ParallelFunction:
            chosen = self.block if block is None else block
            return ParallelFunction(self, f, dist, chosen, flags)

        return decorate

    # -- waiting
    def wait(self, jobs: Any = None, timeout: float | None = -1) -> bool:
        """Until these AsyncResults (one, several, or all of this view) are done; False: timeout."""
        if jobs is None:
            found = list(self._open)
        else:
            found = [jobs] if isinstance(jobs, AsyncResult) else list(jobs)
        waited = [result.wait(timeout) for result in found]
        return all(waited)

    def wait_interactive(
        self, jobs: Any = None, interval: float = 1.0, timeout: float = -1
    ) -> None:
        """:meth:`wait` with a bar for each."""
        found = list(self._open) if jobs is None else jobs
        for result in [found] if isinstance(found, AsyncResult) else found:
            result.wait_interactive(interval, timeout)

    def get_result(self, indices_or_msg_ids: Any = None, block: bool | None = None) -> AsyncResult:
        """The AsyncResult of a call by its id or place in ``history``; without one the last."""
        key = -1 if indices_or_msg_ids is None else indices_or_msg_ids
        key = getattr(key, "msg_ids", [key])[0]
        id = self.history[key] if isinstance(key, int) else key
        found: AsyncResult | None = self.results.get(id)
        if found is None:
            raise errors.UsageError(f"there is no result {id!r}", hint="see view.history")
        if self.block if block is None else block:
            found.wait()
        return found

    def purge_results(self, jobs: Any = "all", targets: Any = None) -> None:
        """Forget results."""
        ids = list(self.results) if jobs == "all" else getattr(jobs, "msg_ids", jobs)
        for id in [ids] if isinstance(ids, str) else ids:
            self.results.pop(id, None)

    def spin(self) -> None:
        """Results come by themselves."""

    def abort(self, jobs: Any = None, targets: Any = None, block: bool | None = None) -> None:
        """Drop calls that have not begun: these, or all."""
        found = [jobs] if isinstance(jobs, AsyncResult) else jobs or list(self._open)
        for result in found:
            if not result.done():
                result.abort()

    def queue_status(self, targets: Any = None, verbose: bool = False) -> dict[Any, Any]:
        """By worker: calls that wait or run, and calls that are done."""
        status: dict[Any, Any] = {
            e.id: {"queue": e.outstanding, "completed": e.completed, "tasks": 0}
            for e in self._engines(targets)
        }
        return {**status, "unassigned": 0}

    def shutdown(self, targets: Any = None, restart: bool = False, **_: Any) -> None:
        """Stop the workers' sessions. Their variables are lost."""
        self._group.stop(self._engines(targets))

    # -- inside
    def _remember(self, result: AsyncResult) -> AsyncResult:
        ids = result.msg_ids
        self.history.extend(ids)
        for id in ids:
            self.results[id] = result
        while len(self.results) > REMEMBERED:
            del self.results[next(iter(self.results))]
        self._open.add(result)
        result.add_done_callback(self._open.discard)
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
            live = shown.Live(many)
            result.show_live(live)
            try:
                result.wait()
            finally:
                live.flush(last=True)
        return result


class DirectView(View):
    """Workers that are addressed by their numbers: each call runs on every one of them."""

    # -- calling
    def _really_apply(
        self,
        function: Function,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        targets: Any = None,
        block: bool | None = None,
        track: bool | None = None,
        name: str = "",
        **_: Any,
    ) -> Any:
        engines = self._engines(targets)
        space = self._space
        shipped = space.functions.shipped(function)
        plain, inputs = space.packed_arguments(tuple(args), dict(kwargs or {}))
        single = self._is_single(targets)
        work = [
            Share(engine, lambda r, e=engine: e.call(r, shipped, plain, inputs))  # type: ignore[misc]
            for engine in engines
        ]
        result = begin(space, work, single=single, name=name or shipped.name)
        return self._finish(result, block, many=not single)

    def execute(
        self, code: str, silent: bool = True, targets: Any = None, block: bool | None = None
    ) -> AsyncResult:
        """Run code as a cell: its names stay there. Gives an AsyncResult in any case."""
        engines = self._engines(targets)
        single = self._is_single(targets)
        work = [
            Share(engine, lambda r, e=engine: e.execute(r, code))  # type: ignore[misc]
            for engine in engines
        ]
        result = begin(self._space, work, single=single, name="execute")
        self._remember(result)
        if self.block if block is None else block:
            self._shown(result, not single).get()
        return result

    def run(self, filename: str | Path, targets: Any = None, block: bool | None = None) -> Any:
        """Run a script of this computer over there: its names stay there."""
        path = Path(filename)
        try:
            code = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise errors.UsageError(f"{filename} cannot be read: {error}") from None
        return self.execute(code, targets=targets, block=block)

    def map(self, f: Function, *sequences: Any, block: bool | None = None, **flags: Any) -> Any:
        """``f`` of each item; every worker has one share of the items."""
        targets = flags.pop("targets", None)
        engines = self._engines(targets)
        items = list(zip(*sequences, strict=False))
        space = self._space
        shipped = space.functions.shipped(_chunked(f, space))
        shares = [share for share in partition.shares(len(items), len(engines)) if len(share)]
        work = []
        for engine, share in zip(engines, shares, strict=False):
            packed = space.packed_arguments((items[share.start : share.stop],), {})
            work.append(Share(engine, _caller(engine, shipped, packed), len(share)))
        name = getattr(f, "__name__", "map")
        result = begin(space, work, AsyncMapResult, name=name, join=partition.flat)
        return self._finish(result, block, many=True)

    # -- moving
    def push(
        self,
        ns: Mapping[str, Any],
        targets: Any = None,
        block: bool | None = None,
        track: bool | None = None,
    ) -> Any:
        """Give names values over there."""
        if not isinstance(ns, Mapping):
            raise TypeError(f"Must be a dict, not {type(ns)}")
        return self._really_apply(
            remotely.push, (dict(ns),), targets=targets, block=block, name="push"
        )

    def pull(self, names: Any, targets: Any = None, block: bool | None = None) -> Any:
        """The value of a name, or a list of those of several. Raises NameError of over there."""
        if isinstance(names, str):
            function: Function = remotely.pull_one
        elif isinstance(names, list | tuple | set) and all(isinstance(n, str) for n in names):
            function, names = remotely.pull, list(names)
        else:
            raise TypeError(f"names must be strings, not {names!r}")
        return self._really_apply(function, (names,), targets=targets, block=block, name="pull")

    def scatter(
        self,
        key: str,
        seq: Any,
        dist: str = "b",
        flatten: bool = False,
        targets: Any = None,
        block: bool | None = None,
        track: bool | None = None,
    ) -> Any:
        """Give every worker its share of a sequence, under the name ``key``. With fewer items than
        workers some get an empty one. ``flatten``: one item alone without a list."""
        engines = self._engines(targets)
        space = self._space
        shipped = space.functions.shipped(remotely.push)
        work = []
        for index, engine in enumerate(engines):
            share = partition.part_of(seq, index, len(engines), dist)
            value = share[0] if flatten and len(share) == 1 else share
            packed = space.packed_arguments(({key: value},), {})
            work.append(Share(engine, _caller(engine, shipped, packed)))
        result = begin(space, work, name="scatter")
        return self._finish(result, block, many=True)

    def gather(
        self, key: str, dist: str = "b", targets: Any = None, block: bool | None = None
    ) -> Any:
        """The shares of all workers in one, in the order of the workers."""
        engines = self._engines(targets)
        space = self._space
        shipped = space.functions.shipped(remotely.pull_one)
        packed = space.packed_arguments((key,), {})
        work = [Share(engine, _caller(engine, shipped, packed)) for engine in engines]

        def join(found: list[Any]) -> Any:
            return partition.joined(found, dist)

        result = begin(space, work, AsyncMapResult, name="gather", join=join)
        return self._finish(result, block, many=True)

    def __getitem__(self, key: Any) -> Any:
        """``view["a"]`` pulls; a number or a slice is a view of fewer workers."""
        if isinstance(key, int | slice):
            ids = self.targets if isinstance(self.targets, list) else [self.targets]
            chosen: Any = ids[key]
            return DirectView(self._group, chosen)
        return self.pull(key, block=True)

    def __setitem__(self, key: str, value: Any) -> None:
        self.push({key: value}, block=True)

    def __delitem__(self, key: str) -> None:
        self.apply_sync(remotely.forget, [key])

    def get(self, key_s: Any) -> Any:
        """Pull, waiting."""
        return self.pull(key_s, block=True)

    def update(self, ns: Mapping[str, Any]) -> Any:
        """Push, as a dict is updated."""
        return self.push(ns, block=self.block, track=self.track)

    def clear(self, targets: Any = None, block: bool | None = None) -> Any:
        """Delete all names over there."""
        return self._really_apply(remotely.clear, targets=targets, block=block, name="clear")

    # -- imports
    @contextlib.contextmanager
    def sync_imports(self, local: bool = True, quiet: bool = False) -> Iterator[None]:
        """``import`` statements in the block are made over there, too, and the names bound there.

        ``local=False``: only there.
        """
        import builtins

        real = builtins.__import__
        seen: set[str] = set()
        depth = 0

        def importing(
            name: str,
            globals: Any = None,
            locals: Any = None,
            fromlist: Any = (),
            level: int = 0,
        ) -> Any:
            nonlocal depth
            outer = depth == 0 and not level and threading.current_thread() is current
            depth += 1
            try:
                module = (
                    real(name, globals, locals, fromlist, level) if local or not outer else None
                )
            finally:
                depth -= 1
            if outer:
                statement = _import_statement(name, fromlist)
                if statement not in seen:
                    seen.add(statement)
                    self._import_there(name, statement, fromlist, quiet)
            return module if module is not None else _Stub(name)

        current = threading.current_thread()
        builtins.__import__ = importing
        try:
            yield
        finally:
            builtins.__import__ = real

    def _import_there(self, name: str, statement: str, names: Any, quiet: bool) -> None:
        if not quiet:
            what = f"{', '.join(names)} from {name}" if names else name
            print(f"importing {what} on engine(s)")
        self._really_apply(remotely.import_module, (name, statement), block=True, name="import")

    def importer(self) -> Any:
        """A ``sync_imports`` of its own."""
        return self.sync_imports(True)

    # -- magics
    def activate(self, suffix: str = "") -> None:
        """``%px``, ``%%px`` and ``%autopx`` work on this view; ``suffix`` is put behind them."""
        from jupyter_remote.client.views.magics import activate

        activate(self, suffix)


class _Stub(ModuleType):
    """What an import gives that is made only over there."""


class ParallelFunction:
    """Made by ``view.parallel``: called with sequences, every worker calls it with its share."""

    def __init__(
        self, view: View, f: Function, dist: str, block: bool, flags: dict[str, Any]
    ) -> None:
        functools.update_wrapper(self, f)
        self._view = view
        self._function = f
        self._dist = dist
        self._block = block
        self._flags = flags

    def __call__(self, *sequences: Any) -> Any:
        view = self._view
        if not sequences:
            raise ValueError("give at least one sequence")
        lengths = {len(sequence) for sequence in sequences}
        if len(lengths) > 1:
            raise ValueError("all sequences must have equal length")
        engines = view._group.choose("all" if not hasattr(view, "execute") else view.targets)
        shares = [
            tuple(partition.part_of(s, i, len(engines), self._dist) for s in sequences)
            for i in range(len(engines))
        ]
        shares = [share for share in shares if len(share[0])]
        space = view._space
        shipped = space.functions.shipped(self._function)
        work = []
        for engine, share in zip(engines, shares, strict=False):
            packed = space.packed_arguments(share, {})
            work.append(Share(engine, _caller(engine, shipped, packed), len(share[0])))

        def join(found: list[Any]) -> Any:
            return partition.joined(found, self._dist)

        result = begin(space, work, AsyncMapResult, name=shipped.name, join=join)
        return view._finish(result, self._block, many=True)

    def map(self, *sequences: Any) -> Any:
        """Of each item."""
        return self._view.map(self._function, *sequences, block=self._block, **self._flags)


def _chunked(f: Function, space: Space) -> Function:
    """Calls ``f`` with each item of a share."""
    return functools.partial(remotely.run_chunk, f)


class Share(NamedTuple):
    """What one worker has to do of a call of a view."""

    engine: Engine
    send: Callable[[Request], None]
    size: int = 1


def begin(
    space: Space,
    work: Sequence[Share],
    kind: type[AsyncResult] = AsyncResult,
    *,
    name: str,
    single: bool = False,
    join: Callable[[list[Any]], Any] | None = None,
) -> AsyncResult:
    """Send every worker its share. One that is gone ends its call, and not those of the others."""
    made: list[AsyncResult] = []

    def done(request: Request) -> None:
        if request.tag is not None:
            request.tag.completed += 1
        made[0].heard(request)

    parts = [Part(Request(done, tag=share.engine), share.engine, share.size) for share in work]
    made.append(kind(space, parts, single=single, name=name, join=join))
    connect([share.engine for share in work])
    for share, part in zip(work, parts, strict=True):
        try:
            share.send(part.request)
        except errors.EngineError as error:
            part.request.finish(None, error)
    return made[0]


def _caller(
    engine: Engine, shipped: Shipped, packed: tuple[bytes, Parcel | None]
) -> Callable[[Request], None]:
    return lambda request: engine.call(request, shipped, *packed)


def _import_statement(name: str, fromlist: Any) -> str:
    if fromlist:
        return f"from {name} import {', '.join(fromlist)}"
    return f"import {name}"
