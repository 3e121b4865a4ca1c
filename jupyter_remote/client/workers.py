"""Workers of a client by their numbers: ipyparallel's Client, by its names and meanings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from jupyter_remote import errors

if TYPE_CHECKING:
    from jupyter_remote.client.views.balanced import LoadBalancedView
    from jupyter_remote.client.views.record import Record
    from jupyter_remote.client.views.results import AsyncResult
    from jupyter_remote.client.views.view import DirectView
    from jupyter_remote.client.views.views import Views


class Workers:
    """``client[:]``, ``client.ids`` and the like. The workers, one for each core, start at first
    use, and end with the client.

    Attributes
    ----------
    block: of views that are made from now on.
    """

    block = False

    @property
    def _views(self) -> Views:
        raise NotImplementedError

    @property
    def _record(self) -> Record:
        return self._views.record

    @property
    def ids(self) -> list[int]:
        """Numbers of those that live."""
        return self._views.default(self).ids

    def __len__(self) -> int:
        return len(self.ids)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[DirectView]:
        return (self[id] for id in self.ids)

    def __getitem__(self, key: int | slice | list[int]) -> DirectView:
        """Workers by their numbers: ``client[:]``, ``client[0]``, ``client[::2]``.

        Raises NoSuchEngine, which is an IndexError.
        """
        if not isinstance(key, int | slice | list | tuple | range):
            raise TypeError(f"a number, a slice or several numbers name workers, not {key!r}")
        return self.direct_view(key)

    def direct_view(self, targets: Any = "all", **flags: Any) -> DirectView:
        """The same as a method. ``flags``: such as ``block=True``."""
        group = self._views.default(self)
        if targets != "all":
            chosen = [engine.id for engine in group.choose(targets)]
            targets = chosen[0] if isinstance(targets, int) else chosen
        return self._views.direct(group, targets, **flags)

    def load_balanced_view(self, targets: Any = None, **flags: Any) -> LoadBalancedView:
        """Each call goes to whichever of these workers is free."""
        group = self._views.default(self)
        if targets is not None:
            targets = None if targets == "all" else [e.id for e in group.choose(targets)]
        return self._views.balanced(group, targets, **flags)

    def wait_for_engines(self, n: int | None = None, **_: Any) -> None:
        """Until ``n`` workers are there, which are started now if there are none yet."""
        found = len(self._views.default(self, n).ids)
        if n is not None and found < n:
            raise errors.UsageError(
                f"this client has {found} workers, not {n}", hint="client.view(n) starts others"
            )

    def activate(self, targets: Any = "all", suffix: str = "") -> DirectView:
        """``%px``, ``%%px`` and ``%autopx`` work on these workers."""
        view = self.direct_view(targets, block=True)
        view.activate(suffix)
        return view

    # -- calls of all views
    @property
    def history(self) -> list[str]:
        """Ids of all calls of this client, in their order."""
        return self._record.history

    @property
    def outstanding(self) -> set[str]:
        """Ids of calls that are not done."""
        return self._record.outstanding()

    @property
    def results(self) -> Mapping[str, AsyncResult]:
        """By the ids of calls: those that are not done, and the latest."""
        return self._record.results

    def wait(self, jobs: Any = None, timeout: float | None = -1) -> bool:
        """Until these calls (results, ids, or all) are done; False: timeout."""
        return self._record.wait(self._record.find(jobs, self.history), timeout)

    def wait_interactive(
        self, jobs: Any = None, interval: float = 1.0, timeout: float = -1
    ) -> None:
        """:meth:`wait` with a bar."""
        self._record.wait_interactive(self._record.find(jobs, self.history), interval, timeout)

    def get_result(
        self, indices_or_msg_ids: Any = None, block: bool | None = None, owner: bool = True
    ) -> AsyncResult:
        """The AsyncResult of calls by their ids or places in ``history``; without one the last.

        Raises KeyError where there is none any more.
        """
        waits = self.block if block is None else block
        return self._record.get(indices_or_msg_ids, self.history, waits=waits)

    def abort(self, jobs: Any = None, targets: Any = None, block: bool | None = None) -> None:
        """Drop calls that have not begun: these, or all."""
        self._record.abort(self._record.find(jobs, self.history))

    def purge_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """Forget results: these, or "all"."""
        self._record.forget(None if jobs == "all" else self._record.find(jobs, self.history))

    def queue_status(self, targets: Any = "all", verbose: bool = False) -> dict[Any, Any]:
        """See :meth:`View.queue_status`."""
        return self.direct_view().queue_status(targets, verbose)

    def clear(self, targets: Any = None, block: bool | None = None) -> Any:
        """Delete all names over there."""
        return self.direct_view().clear(targets, block)

    def spin(self) -> None:
        """Results come by themselves."""

    def shutdown(
        self,
        targets: Any = "all",
        restart: bool = False,
        hub: bool = False,
        block: bool | None = None,
    ) -> None:
        """Stop workers. Their variables are lost."""
        self.direct_view().shutdown(targets, restart)
