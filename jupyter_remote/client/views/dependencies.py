"""What has to be there before a call: modules and names, or other calls' results."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from jupyter_remote import errors
from jupyter_remote.client.views.results import AsyncResult
from jupyter_remote.remotely import Checked

if TYPE_CHECKING:
    from jupyter_remote.client.views.record import Record


# --- of a function ----------------------------------------------------------------------------
def require(*objects: str | ModuleType | Callable[..., Any], **mapping: Any) -> Callable[..., Any]:
    """Decorator: before the function is called over there these modules are imported; functions
    and values are given their names there.

    Over there UnmetDependencyError is raised where one cannot be imported.
    """
    modules: list[str] = []
    values = dict(mapping)
    for obj in objects:
        if isinstance(obj, str):
            modules.append(obj)
        elif isinstance(obj, ModuleType):
            modules.append(obj.__name__)
        elif hasattr(obj, "__name__"):
            values[obj.__name__] = obj
        else:
            raise TypeError(f"modules and functions can be required; name others: {obj!r}")
    return lambda function: Checked(function, modules, values=values)


def depend(check: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Callable[..., Checked]:
    """Decorator: the function is called over there unless ``check(*args, **kwargs)`` is False
    there; then UnmetDependencyError is raised, or another worker is tried."""
    return lambda function: Checked(function, [], [(check, args, kwargs)])


def interactive(f: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: a function of a module has the namespace that it runs in as its globals."""
    if isinstance(f, FunctionType):
        main = vars(sys.modules["__main__"])
        f = FunctionType(f.__code__, main, f.__name__, f.__defaults__, f.__closure__)
    f.__module__ = "__main__"
    return f


# --- of a call --------------------------------------------------------------------------------
class Dependency(set[str]):
    """Ids of calls that have to be done before.

    Parameters
    ----------
    dependencies: ids, results, or several of them.
    all: all of them, or any.
    success, failure: which ends count.
    """

    known: dict[str, AsyncResult]  # results that were given themselves
    all: bool
    success: bool
    failure: bool

    def __init__(
        self,
        dependencies: Any = (),
        all: bool = True,
        success: bool = True,
        failure: bool = False,
    ) -> None:
        if isinstance(dependencies, Dependency):
            given = dependencies
            all, success, failure = given.all, given.success, given.failure
        if not (success or failure):
            raise ValueError("Must depend on at least one of successes or failures!")
        super().__init__(_ids(dependencies))
        self.known = dict(_known(dependencies))
        self.all = all
        self.success = success
        self.failure = failure

    def verdict(self, done: Mapping[str, bool]) -> bool | None:
        """Is it met, by calls that are done (True: well)? None: it will be known later."""
        if not self:
            return True
        counts = [self._counts(done[id]) if id in done else None for id in self]
        one, none = (False, True) if self.all else (True, False)
        if one in counts:
            return one
        return None if None in counts else none

    def _counts(self, well: bool) -> bool:
        return self.success if well else self.failure


def _ids(given: Any) -> list[str]:
    if given is None:
        return []
    if isinstance(given, str):
        return [given]
    if isinstance(given, AsyncResult):
        return given.msg_ids
    if not isinstance(given, Iterable):
        raise TypeError(f"a dependency is a result or the id of a call, not {given!r}")
    return [id for one in given for id in _ids(one)]


def _known(given: Any) -> Iterator[tuple[str, AsyncResult]]:
    if isinstance(given, Dependency):
        yield from given.known.items()
    elif isinstance(given, AsyncResult):
        yield from ((id, given.part_of_id(id)) for id in given.msg_ids)
    elif given is not None and not isinstance(given, str):
        for one in given:
            yield from _known(one)


def checked(given: Any) -> Any:
    """A value of the flags ``after`` and ``follow``. Raises ValueError."""
    try:
        _ids(given)
    except TypeError as error:
        raise ValueError(f"Invalid dependency: {given!r}") from error
    return given


class Conditions:
    """When, and where, a call may begin.

    ``go``: called once, with the numbers of the workers that may take it (None: any) or with why
    it never can.
    """

    def __init__(
        self,
        record: Record,
        after: Dependency,
        follow: Dependency,
        timeout: float | None,
        go: Callable[[set[int] | None, Exception | None], None],
    ) -> None:
        self._after = after
        self._follow = follow
        self._go = go
        self._lock = threading.Lock()
        self._over = False
        try:
            known = after.known | follow.known
            self._calls = {
                id: known[id] if id in known else record.find(id, [])[0] for id in after | follow
            }
        except errors.UsageError as error:
            self._end(None, errors.InvalidDependency(error.message, hint=error.hint))
            return
        self._timer: threading.Timer | None = None
        if timeout:
            self._timer = threading.Timer(timeout, self._late, [timeout])
            self._timer.daemon = True
            self._timer.start()
        for call in self._calls.values():
            call.add_done_callback(self._look)
        if not self._calls:
            self._end(None, None)

    def _look(self, _: Any) -> None:
        done = {
            id: not any(part.failed for part in call.parts_from_end())
            for id, call in self._calls.items()
            if call.done()
        }
        verdicts = [self._after.verdict(done), self._follow.verdict(done)]
        if False in verdicts:
            what = "after" if verdicts[0] is False else "where"
            self._end(None, errors.ImpossibleDependency(
                f"the calls {what} which it was to run did not end as they should",
                hint="Dependency(calls, failure=True) takes failed ones, too",
            ))  # fmt: skip
        elif None not in verdicts:
            self._end(*self._where(done))

    def _where(self, done: Iterable[str]) -> tuple[set[int] | None, Exception | None]:
        if not self._follow:
            return None, None
        places = [
            {p.engine.id for p in self._calls[id].parts_from_end() if p.engine is not None}
            for id in self._follow.intersection(done)
        ]
        found = set.intersection(*places) if self._follow.all else set.union(*places)
        if found:
            return found, None
        return None, errors.ImpossibleDependency(
            "the calls that it was to follow ran on different workers",
            hint="Dependency(calls, all=False) takes any of these workers",
        )

    def _late(self, timeout: float) -> None:
        self._end(None, errors.DependencyTimeout(
            f"what it depends on was not done within {timeout:g} s", hint="allow more: timeout="
        ))  # fmt: skip

    def _end(self, engines: set[int] | None, error: Exception | None) -> None:
        with self._lock:
            if self._over:
                return
            self._over = True
        timer = getattr(self, "_timer", None)
        if timer is not None:
            timer.cancel()
        self._go(engines, error)
