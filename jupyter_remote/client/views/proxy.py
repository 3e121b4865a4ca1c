"""Stand-ins for values that stay where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from jupyter_remote import remotely

if TYPE_CHECKING:
    from jupyter_remote.client.views.session import Session


class Proxy:
    """See :meth:`Session.ref`. Passed to a call in its session it is the value itself."""

    def __init__(self, session: Session, path: str, limit: int) -> None:
        self._session = session
        self._path = path
        self._limit = limit

    def get(self, limit: int | None = None) -> Any:
        """The whole value. ``limit``: raise TooLarge above so many bytes; None: none."""
        if limit is None:
            return self._session.pull(self._path, block=True)
        return self._session.apply_sync(remotely.whole_of, self._path, limit)

    def __repr__(self) -> str:
        text, _ = self._session.apply_sync(remotely.represent, self._path, False)
        return f"{text}\n<{self._path} in session {self._session.name!r}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        text, html = self._session.apply_sync(remotely.represent, self._path, True)
        bundle = {"text/plain": f"{text}\n<{self._path} in session {self._session.name!r}>"}
        return {**bundle, "text/html": html} if html else bundle

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return remotely.dereference, (self._path,)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        kind = self._session.apply_sync(remotely.kind_of, self._path, name)
        if kind == "method":
            return self._method(name)
        return self._session.apply_sync(remotely.attribute_of, self._path, name, self._limit)

    def _method(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return self._session.apply_sync(remotely.call_method, self._path, name, args, kwargs)

        call.__name__ = name
        return call

    def __getitem__(self, key: Any) -> Any:
        return self._session.apply_sync(remotely.item_of, self._path, key, self._limit)

    def __len__(self) -> int:
        length: int = self._session.apply_sync(remotely.length_of, self._path)
        return length

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> NoReturn:
        raise TypeError("whether it is true is not asked over there; use get()")

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        import numpy

        return numpy.asarray(self.get(self._limit), dtype=dtype)
