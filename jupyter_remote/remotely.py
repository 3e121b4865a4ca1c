"""What runs in a session on behalf of a view: push, pull, chunks, names. Light to import.

These functions are called over there, where ``__main__`` is the session's namespace.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jupyter_remote.errors import UnmetDependencyError

THREADS = "OMP_NUM_THREADS"
_NOTHING = object()


RESTORED: list[str] = []
"""Of a session whose machine was taken away: what is there again, in words."""


def restored() -> str:
    """Empty: nothing had to be."""
    return "".join(RESTORED)


def namespace() -> dict[str, Any]:
    """Of the session."""
    return vars(sys.modules["__main__"])


class Reference:
    """Stands for the value that a name, or an expression, has over there.

    Passed as an argument, alone or inside of containers, it is that value when the function is
    called. Raises NameError over there when there is no such name.
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"illegal name: {name!r}")
        self.name = name

    def __repr__(self) -> str:
        return f"<Reference: {self.name!r}>"

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return dereference, (self.name,)


def dereference(name: str) -> Any:
    """What a :class:`Reference` becomes."""
    here = namespace()
    value = here.get(name, _NOTHING)
    return eval(name, here) if value is _NOTHING else value


def push(names: Mapping[str, Any]) -> None:
    namespace().update(names)


def pull(names: Sequence[str]) -> list[Any]:
    return [dereference(name) for name in names]


def pull_one(name: str) -> Any:
    return dereference(name)


def forget(names: Sequence[str]) -> None:
    """``del`` of names. Raises NameError for one that is not there, before any is deleted."""
    here = namespace()
    if missing := [name for name in names if name not in here]:
        raise NameError(f"name {missing[0]!r} is not defined")
    for name in names:
        del here[name]


def clear() -> None:
    """All names of the user's."""
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    shell.reset(new_session=False)


def itself(value: Any) -> Any:
    """What a stand-in for a value becomes, whose value travels along."""
    return value


def names_there(names: Iterable[str]) -> list[str]:
    """Which of these have a value."""
    here = namespace()
    return [name for name in names if name in here]


def run_chunk(function: Callable[..., Any], items: Sequence[tuple[Any, ...]]) -> list[Any]:
    """``function`` of each item."""
    return [function(*item) for item in items]


def limit_threads(variables: Mapping[str, str]) -> None:
    """Of libraries that compute with several: those that read these environment variables, and
    those that are loaded already."""
    os.environ.update(variables)
    if importlib.util.find_spec("threadpoolctl") is not None:
        importlib.import_module("threadpoolctl").threadpool_limits(int(variables[THREADS]))


def import_module(statement: str) -> None:
    """One ``import`` statement of a ``with view.sync_imports()`` block."""
    exec(statement, namespace())


class Checked:
    """A function with what it needs; see ``require``."""

    def __init__(
        self,
        function: Callable[..., Any],
        modules: Sequence[str],
        checks: Sequence[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = (),
        values: Mapping[str, Any] | None = None,
    ) -> None:
        self.function = function
        self.modules = list(modules)
        self.checks = list(checks)
        self.values = dict(values or {})
        self.__name__ = getattr(function, "__name__", "function")
        self.__doc__ = getattr(function, "__doc__", None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        here = namespace()
        here.update(self.values)
        for name in self.modules:
            try:
                importlib.import_module(name)
            except ImportError as error:
                raise UnmetDependencyError(
                    f"{name} cannot be imported: {error}", hint="install it where the code runs"
                ) from None
            here.setdefault(name.partition(".")[0], sys.modules[name.partition(".")[0]])
        for check, arguments, named in self.checks:
            if check(*arguments, **named) is False:
                raise UnmetDependencyError(f"what {self.__name__} needs is not fulfilled")
        return self.function(*args, **kwargs)


# --- looking at values without fetching them --------------------------------------------------
def described() -> list[dict[str, Any]]:
    """What the user has there: name, type, shape, dtype, device, bytes."""
    from jupyter_remote.sizes import size_of

    return [
        {
            "name": name,
            "type": type(value).__name__,
            "shape": _shape(value),
            "dtype": _text(value, "dtype"),
            "device": _text(value, "device"),
            "bytes": size_of(value),
        }
        for name, value in sorted(namespace().items())
        if is_users(name, value)
    ]


def is_users(name: str, value: Any) -> bool:
    """Not a module, and nothing that IPython has for itself."""
    if name.startswith("_") or isinstance(value, type(sys)):
        return False
    shell = _shell()
    hidden = getattr(shell, "user_ns_hidden", {})
    return hidden.get(name, _NOTHING) is not value


def _shell() -> Any:
    module = sys.modules.get("IPython")
    return None if module is None else module.get_ipython()


def _shape(value: Any) -> list[int] | None:
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and all(isinstance(n, int) for n in shape):
        return [int(n) for n in shape]
    if isinstance(value, str | bytes | list | tuple | dict | set | frozenset):
        return [len(value)]
    return None


def _text(value: Any, attribute: str) -> str:
    found = getattr(value, attribute, None)
    return "" if found is None or callable(found) else str(found)


def represent(path: str, html: bool) -> tuple[str, str]:
    """``repr`` and, if asked for and there is one, HTML of a value."""
    value = dereference(path)
    text = repr(value)
    make = getattr(value, "_repr_html_", None) if html else None
    return text, (make() or "") if make is not None else ""


def attribute_of(path: str, name: str, limit: int) -> Any:
    """An attribute, if it is not larger than ``limit`` bytes."""
    return _within(getattr(dereference(path), name), limit, f"{path}.{name}")


def item_of(path: str, key: Any, limit: int) -> Any:
    """An item or a slice."""
    return _within(dereference(path)[key], limit, f"a part of {path}")


def length_of(path: str) -> int:
    return len(dereference(path))


def whole_of(path: str, limit: int) -> Any:
    return _within(dereference(path), limit, path)


def call_method(path: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return getattr(dereference(path), name)(*args, **kwargs)


def _within(value: Any, limit: int, what: str) -> Any:
    from jupyter_remote.errors import TooLarge
    from jupyter_remote.sizes import size_of

    size = size_of(value)
    if size > limit:
        raise TooLarge(
            f"{what} is {size:,} bytes, more than the {limit:,} that are fetched unasked",
            hint="take a part of it, or fetch it with get(limit=None)",
        )
    return value


def complete(line: str) -> tuple[str, list[str]]:
    """The end of a line that completions replace, and these."""
    shell = _shell()
    if shell is None:
        return "", []
    from IPython.core.completer import provisionalcompleter

    with provisionalcompleter():
        found = list(shell.Completer.completions(line, len(line)))
    begin = found[0].start if found else len(line)
    return line[begin:], [match.text for match in found if match.start == begin]


def kind_of(path: str, name: str) -> str:
    """Is an attribute a method, or a value? Raises AttributeError."""
    return "method" if callable(getattr(dereference(path), name)) else "value"
