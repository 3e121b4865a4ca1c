"""``@remote``: a function whose calls run as jobs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from jupyter_remote.notebook import context as contexts
from jupyter_remote.notebook.context import inside_a_job

if TYPE_CHECKING:
    from jupyter_remote.client.api import Client
    from jupyter_remote.client.jobs import Batch, Job
    from jupyter_remote.client.plan import Plan

P = ParamSpec("P")
R = TypeVar("R")


class RemoteFunction(Generic[P, R]):
    """A function with the options of its jobs. It travels as the function itself.

    With ``%remote off``, and inside a job, a call is a plain call. With ``%remote off`` ``submit``
    and ``map`` run it here as well, before they return.
    """

    __wrapped__: Callable[P, R]

    def __init__(self, function: Callable[P, R], options: dict[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self.__wrapped__ = function
        self.options = options

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs remotely, shows its output, gives its value, raises what it raised.

        That of a coroutine function is awaited, as its own call would be.
        """
        __tracebackhide__ = True  # for IPython: whoever calls sees the function called
        context = contexts.current()
        if not context.enabled or inside_a_job():
            return self.__wrapped__(*args, **kwargs)
        from jupyter_remote.notebook import calls

        run: Any = calls.call_awaited if iscoroutinefunction(self.__wrapped__) else calls.call
        value: R = run(context, self._client, self.__wrapped__, args, kwargs)
        return value

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Job:
        """Starts it and returns its handle; what it prints is in ``job.stdout``."""
        if not contexts.current().enabled:
            from jupyter_remote.notebook import here_job

            return here_job.call(self._client, self.__wrapped__, *args, **kwargs)
        return self._client.submit(self.__wrapped__, *args, **kwargs)

    def map(self, *iterables: Any) -> Batch:
        """One job for each tuple of arguments."""
        if not contexts.current().enabled:
            from jupyter_remote.notebook import here_job

            return here_job.map(self._client, self.__wrapped__, *iterables)
        return self._client.map(self.__wrapped__, *iterables)

    def plan(self, *args: P.args, **kwargs: P.kwargs) -> Plan:
        """What a call would ship, where it would run and what it would cost; runs nothing."""
        return self._client.plan(self.__wrapped__, *args, **kwargs)

    def local(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """A plain call, here."""
        __tracebackhide__ = True
        return self.__wrapped__(*args, **kwargs)

    @property
    def _client(self) -> Client:
        context = contexts.current()
        options = {"cache": True, **self.options} if context.defaults.get("cache") else self.options
        return context.client.with_options(**options) if options else context.client

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """As a method it is bound as functions are."""
        if instance is None:
            return self
        return RemoteFunction(self.__wrapped__.__get__(instance, owner), self.options)

    def __repr__(self) -> str:
        return f"<remote {self.__wrapped__!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteFunction, (self.__wrapped__, self.options)


@overload
def remote(function: Callable[P, R], /) -> RemoteFunction[P, R]: ...


@overload
def remote(
    function: None = None, /, **options: Any
) -> Callable[[Callable[P, R]], RemoteFunction[P, R]]: ...


def remote(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Marks a function as remote: ``@remote`` or ``@remote(machine="g5.xlarge", max_cost=2)``.

    Options are those of ``Client.with_options``. Raises UsageError for one that does not exist,
    when the function is first used.
    """
    if function is None:
        return lambda f: RemoteFunction(f, options)
    if not callable(function):
        raise TypeError(f"remote takes a function, not {function!r}")
    return RemoteFunction(function, options)
