"""Workers addressed together: ipyparallel's DirectView, by its names and meanings."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyter_remote import errors, remotely
from jupyter_remote.client.views import partition
from jupyter_remote.client.views.base import Function, View
from jupyter_remote.client.views.imports import SyncImports
from jupyter_remote.client.views.results import AsyncMapResult, AsyncResult
from jupyter_remote.client.views.sending import Share, begin, caller


class NoScript(errors.UsageError, FileNotFoundError):
    """A script that is not there or cannot be read."""


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
        label: str | None = None,
        name: str = "",
    ) -> Any:
        engines = self._engines(targets)
        space = self._space
        shipped = space.functions.shipped(function)
        plain, inputs = space.packed_arguments(tuple(args), dict(kwargs or {}))
        single = self._is_single(targets)
        work = [Share(engine, caller(engine, shipped, (plain, inputs))) for engine in engines]
        label = self.label if label is None else label
        result = begin(space, work, single=single, name=name or shipped.name, label=label)
        return self._finish(result, block, many=not single)

    def execute(
        self,
        code: str,
        silent: bool = True,
        targets: Any = None,
        block: bool | None = None,
        label: str | None = None,
    ) -> AsyncResult:
        """Run code as a cell: its names stay there. Gives an AsyncResult in any case.

        ``silent=False``: the value of its last expression is shown, and is in ``get()``.
        """
        single = self._is_single(targets)
        work = [
            Share(engine, functools.partial(engine.execute, code=code))
            for engine in self._engines(targets)
        ]
        result = begin(
            self._space,
            work,
            single=single,
            name="execute",
            code=code,
            silent=silent,
            label=self.label if label is None else label,
        )
        self._remember(result)
        if self.block if block is None else block:
            self._shown(result, not single).get()
        return result

    def run(
        self,
        filename: str | Path,
        targets: Any = None,
        block: bool | None = None,
        label: str | None = None,
    ) -> AsyncResult:
        """Run a script of this computer over there: its names stay there."""
        try:
            code = Path(filename).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise NoScript(f"{filename} cannot be read: {error}", hint="check the path") from None
        return self.execute(code + "\n", targets=targets, block=block, label=label)

    def map(
        self,
        f: Function,
        *sequences: Any,
        block: bool | None = None,
        track: bool | None = None,
        targets: Any = None,
        return_exceptions: bool = False,
        label: str | None = None,
    ) -> Any:
        """``f`` of each item; every worker has one share of the items.

        ``return_exceptions``: an exception stands for the share of its worker.
        """
        if not sequences:
            raise errors.UsageError("must have some sequences to map onto!", hint="map(f, items)")
        engines = self._engines(targets)
        items = list(zip(*sequences, strict=False))
        space = self._space
        shipped = space.functions.shipped(functools.partial(remotely.run_chunk, f))
        work = []
        for engine, share in zip(engines, partition.shares(len(items), len(engines)), strict=True):
            if share:
                packed = space.packed_arguments((items[share.start : share.stop],), {})
                work.append(Share(engine, caller(engine, shipped, packed), len(share)))
        result = begin(
            space,
            work,
            AsyncMapResult,
            name=getattr(f, "__name__", "map"),
            join=partition.flat,
            return_exceptions=return_exceptions,
            label=self.label if label is None else label,
        )
        return self._finish(result, block, many=True)

    def imap(self, f: Function, *sequences: Any, **flags: Any) -> Iterator[Any]:
        """Results in order, each as soon as it is there."""
        return iter(self.map_async(f, *sequences, **flags))

    def _spread(
        self, f: Function, sequences: Sequence[Any], dist: str, **options: Any
    ) -> AsyncMapResult:
        space, engines = self._space, self._engines(None)
        shipped = space.functions.shipped(f)
        work = []
        for index, engine in enumerate(engines):
            parts = tuple(partition.part_of(s, index, len(engines), dist) for s in sequences)
            if len(parts[0]):
                packed = space.packed_arguments(parts, {})
                work.append(Share(engine, caller(engine, shipped, packed), len(parts[0])))

        def join(found: list[Any]) -> Any:
            return partition.joined(found, dist)

        keep = bool(options.get("return_exceptions"))
        result = begin(
            space, work, AsyncMapResult, name=shipped.name, join=join, return_exceptions=keep
        )
        assert isinstance(result, AsyncMapResult)
        return result

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
    ) -> AsyncResult | None:
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
            work.append(Share(engine, caller(engine, shipped, packed)))
        result = begin(space, work, name="scatter")
        return result if self._finish(result, block, many=True) is result else None

    def gather(
        self, key: str, dist: str = "b", targets: Any = None, block: bool | None = None
    ) -> Any:
        """The shares of all workers in one, in the order of the workers."""
        engines = self._engines(targets)
        space = self._space
        shipped = space.functions.shipped(remotely.pull_one)
        packed = space.packed_arguments((key,), {})
        work = [Share(engine, caller(engine, shipped, packed)) for engine in engines]

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
    def sync_imports(self, local: bool = True, quiet: bool = False) -> SyncImports:
        """``import`` statements in the block are made over there, too, and the names bound there.

        ``local=False``: only there.
        """
        return SyncImports(self._import_there, local, quiet)

    def _import_there(self, statement: str) -> None:
        self._really_apply(remotely.import_module, (statement,), block=True, name="import")

    @property
    def importer(self) -> SyncImports:
        """``sync_imports()`` without parentheses."""
        return self.sync_imports()

    # -- magics
    def activate(self, suffix: str = "") -> None:
        """``%px``, ``%%px`` and ``%autopx`` work on this view; ``suffix`` is put behind them."""
        from jupyter_remote.client.views.magics import activate

        activate(self, suffix)
