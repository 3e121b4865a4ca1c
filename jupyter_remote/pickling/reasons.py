"""Why a value cannot be pickled, in words, and which part of it is to blame."""

from __future__ import annotations

import collections
import functools
import io
import itertools
import pickle
import re
import sys
import types
from collections.abc import Hashable, Iterator
from typing import Any, cast

from jupyter_remote.pickling import tensors
from jupyter_remote.reach import globals_of

HINT = "Make it in the remote code, or leave it out with `--in`."
SEARCHED_OBJECTS = 20_000  # how far the search for the culprit goes

_LOCK = "a lock"
_FILE = "an open file"
_DATABASE = "a database connection"
_TASK = "an asyncio task"
_KINDS: dict[tuple[str, str], str] = {
    ("builtins", "generator"): "a generator (a list of it can travel)",
    ("builtins", "async_generator"): "an async generator",
    ("builtins", "coroutine"): "a coroutine (await it first)",
    ("builtins", "frame"): "a stack frame",
    ("builtins", "traceback"): "a traceback",
    ("weakref", "ReferenceType"): "a weak reference",
    ("_thread", "lock"): _LOCK,
    ("_thread", "RLock"): _LOCK,
    ("threading", "Condition"): _LOCK,
    ("threading", "Event"): _LOCK,
    ("threading", "Semaphore"): _LOCK,
    ("multiprocessing.synchronize", "SemLock"): _LOCK,
    ("threading", "Thread"): "a thread",
    ("_thread", "_local"): "thread-local data",
    ("concurrent.futures._base", "Executor"): "a pool of threads or processes",
    ("multiprocessing.pool", "Pool"): "a pool of threads or processes",
    ("concurrent.futures._base", "Future"): "a future",
    ("multiprocessing.process", "BaseProcess"): "a process",
    ("subprocess", "Popen"): "a running process",
    ("_socket", "socket"): "an open socket",
    ("ssl", "SSLContext"): "an SSL context",
    ("_io", "TextIOWrapper"): _FILE,
    ("_io", "BufferedReader"): _FILE,
    ("_io", "BufferedWriter"): _FILE,
    ("_io", "BufferedRandom"): _FILE,
    ("_io", "FileIO"): _FILE,
    ("tempfile", "_TemporaryFileWrapper"): _FILE,
    ("mmap", "mmap"): "a memory map",
    ("sqlite3", "Connection"): _DATABASE,
    ("sqlite3", "Cursor"): _DATABASE,
    ("sqlalchemy.engine.base", "Engine"): _DATABASE,
    ("sqlalchemy.engine.base", "Connection"): _DATABASE,
    ("sqlalchemy.orm.session", "Session"): _DATABASE,
    ("psycopg", "Connection"): _DATABASE,
    ("psycopg2.extensions", "connection"): _DATABASE,
    ("duckdb", "DuckDBPyConnection"): _DATABASE,
    ("asyncio.events", "AbstractEventLoop"): "an event loop",
    ("_asyncio", "Future"): _TASK,
    ("_asyncio", "Task"): _TASK,
    ("ipywidgets.widgets.widget", "Widget"): "a widget of this notebook",
    ("comm.base_comm", "BaseComm"): "a connection to the front end",
    ("IPython.core.interactiveshell", "InteractiveShell"): "the running IPython itself",
    ("zmq.sugar.socket", "Socket"): "an open socket",
}
_OF_THE_SHELL = {"get_ipython", "In", "Out", "_ih", "_oh", "_dh", "exit", "quit"}


@functools.lru_cache(4096)
def _kind(cls: Hashable) -> str:
    for base in cast(type, cls).__mro__:
        module = "sqlite3" if base.__module__ == "_sqlite3" else base.__module__
        if words := _KINDS.get((module, base.__qualname__)):
            return words
    return ""


def _words(obj: object) -> str:
    """What is wrong with this one object, ``""`` if nothing is known to be."""
    if words := _kind(cast(Hashable, type(obj))):
        name = getattr(obj, "name", "")
        return f"{words} ({name})" if words is _FILE and isinstance(name, str) and name else words
    return tensors.why_not(obj) if tensors.is_tensor(obj) else ""


def is_array(obj: object) -> bool:
    """Whether it is one of numpy: each needs a look of its own, as a tensor does."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(obj, numpy.ndarray)


def refuse(obj: object) -> None:
    """Raises PicklingError for what must not travel, also where pickle could write something."""
    if words := _words(obj):
        raise pickle.PicklingError(words)


def of_the_shell(name: str, value: object) -> bool:
    """Whether this global belongs to IPython: every shell has its own."""
    return name in _OF_THE_SHELL or (
        name == "open" and getattr(value, "__wrapped__", None) is io.open
    )


# --- finding the culprit ---------------------------------------------------------------------
def of(value: object, error: Exception, namespace: dict[str, Any] | None) -> str:
    """Why pickling ``value`` ended with ``error``, naming the inner part where it can be found."""
    if isinstance(error, RecursionError) or isinstance(error.__cause__, RecursionError):
        return "it is nested too deeply"
    text = str(error).strip().partition("\n")[0][:300]
    named = re.search(r"cannot pickle '([\w.]+)' object", text)
    wanted = named[1].rpartition(".")[2] if named else ""
    for obj, path in _walk(value, namespace):
        if words := _words(obj) or (wanted == type(obj).__name__ and _article(wanted)):
            return _sentence(value, path, words)
    if isinstance(error, pickle.PicklingError) and text.partition(" (")[0] in _KINDS.values():
        return f"it contains {text}"
    return f"it contains {_article(wanted)}" if wanted else f"{type(error).__name__}: {text}"


def _article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name} object"


def _sentence(root: object, path: tuple[str, ...], words: str) -> str:
    if not path:
        return words
    steps = "".join(path)
    if isinstance(root, types.FunctionType | types.MethodType):
        return f"{steps.removeprefix('.')} of function {root.__name__}: {words}"
    name = f"class {root.__name__}" if isinstance(root, type) else type(root).__name__
    kind = "attribute" if steps.startswith(".") else "item"
    return f"{kind} {steps} of {name}: {words}"


def _walk(
    root: object, namespace: dict[str, Any] | None
) -> Iterator[tuple[object, tuple[str, ...]]]:
    """Breadth first: an outer culprit (a thread) is named before what is in it (its lock)."""
    queue: collections.deque[tuple[object, tuple[str, ...]]] = collections.deque([(root, ())])
    seen: dict[int, object] = {}  # keeps what it has seen alive, so that ids stay theirs
    while queue and len(seen) < SEARCHED_OBJECTS:
        obj, path = queue.popleft()
        if id(obj) in seen or isinstance(obj, str | int | float | bytes | types.ModuleType):
            continue
        seen[id(obj)] = obj
        yield obj, path
        children = itertools.islice(_children(obj, namespace), SEARCHED_OBJECTS)
        queue.extend((child, (*path, step)) for step, child in children)


def _children(obj: Any, namespace: dict[str, Any] | None) -> Iterator[tuple[str, Any]]:
    match obj:
        case dict():
            yield from ((f"[{_short(k)}]", v) for k, v in list(obj.items()))
        case list() | tuple() | collections.deque() | set() | frozenset():
            yield from ((f"[{i}]", v) for i, v in enumerate(list(obj)))
        case types.FunctionType():
            yield from _of_function(obj, namespace)
        case types.MethodType():
            yield from ((".__self__", obj.__self__), (f".{obj.__name__}", obj.__func__))
        case functools.partial():
            yield from ((".func", obj.func), (".args", obj.args), (".keywords", obj.keywords))
        case type():
            if obj.__module__ == "__main__":
                yield from ((f".{n}", v) for n, v in list(vars(obj).items()))
        case staticmethod() | classmethod():
            yield ".__func__", obj.__func__
        case _:
            yield from _of_instance(obj, namespace)


def _of_function(
    func: types.FunctionType, namespace: dict[str, Any] | None
) -> Iterator[tuple[str, Any]]:
    cells = zip(func.__code__.co_freevars, func.__closure__ or (), strict=True)
    yield from ((f".variable {n}", c.cell_contents) for n, c in cells if is_filled(c))
    defaults = {**dict(_defaults(func)), **(func.__kwdefaults__ or {})}
    yield from ((f".default of {n}", v) for n, v in defaults.items())
    yield from ((f".{n}", v) for n, v in vars(func).items())
    if func.__globals__ is namespace or func.__module__ == "__main__":
        for name in globals_of(func.__code__).names:
            if name in func.__globals__ and not of_the_shell(name, func.__globals__[name]):
                yield f".global {name}", func.__globals__[name]


def _defaults(func: types.FunctionType) -> Iterator[tuple[str, Any]]:
    defaults, count = func.__defaults__ or (), func.__code__.co_argcount
    return zip(func.__code__.co_varnames[count - len(defaults) : count], defaults, strict=True)


def is_filled(cell: types.CellType) -> bool:
    """Whether a closure's variable has a value yet."""
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _of_instance(obj: Any, namespace: dict[str, Any] | None) -> Iterator[tuple[str, Any]]:
    if isinstance(state := _state(obj), tuple) and len(state) == 2:
        state = {**(state[0] or {}), **(state[1] or {})}
    if isinstance(state, dict):
        yield from ((f".{name}", value) for name, value in list(state.items()))
    if type(obj).__module__ == "__main__":
        yield f".{type(obj).__name__}", type(obj)


def _state(obj: Any) -> Any:
    """The state that pickle would take; nothing when the type's own way of it fails."""
    try:
        return obj.__getstate__()
    except Exception:  # a type may raise anything here, and that is what is being explained
        return None


def _short(key: object) -> str:
    """A key of a dictionary; only of types whose ``repr`` is known to do no harm."""
    text = repr(key) if isinstance(key, str | int | float | bytes) else type(key).__name__
    return text if len(text) <= 40 else f"{text[:39]}…"
