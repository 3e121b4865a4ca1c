"""What cannot travel is named, with the part that is to blame."""

from __future__ import annotations

import asyncio
import concurrent.futures
import io
import select
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jupyter_remote.values import why_not
from tests.values.trips import notebook


class Trainer:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


class Slotted:
    __slots__ = ("lock",)


def generator() -> Iterator[int]:
    yield 1


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    yield connection
    connection.close()


def test_a_lock() -> None:
    assert why_not(threading.Lock()) == "a lock"
    assert why_not(threading.RLock()) == "a lock"
    assert why_not(threading.Condition()) == "a lock"


def test_a_lock_in_an_object() -> None:
    assert why_not(Trainer(lock=threading.Lock())) == "attribute .lock of Trainer: a lock"
    slotted = Slotted()
    slotted.lock = threading.Lock()
    assert why_not(slotted) == "attribute .lock of Slotted: a lock"


def test_a_deep_culprit() -> None:
    value = {"models": [1, Trainer(state={"guard": threading.Lock()})]}
    assert why_not(value) == "item ['models'][1].state['guard'] of dict: a lock"


def test_the_outer_culprit_is_named_not_its_insides() -> None:
    assert why_not([threading.Thread()]) == "item [0] of list: a thread"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        assert why_not(Trainer(pool=pool)) == (
            "attribute .pool of Trainer: a pool of threads or processes"
        )


def test_generators_and_coroutines() -> None:
    coroutine = asyncio.sleep(0)
    assert str(why_not(generator())).startswith("a generator")
    assert str(why_not(coroutine)).startswith("a coroutine")
    coroutine.close()


def test_open_files_sockets_processes(tmp_path: Path) -> None:
    path = tmp_path / "data.txt"
    with path.open("w") as written, path.open() as read, path.open("rb") as binary:
        assert why_not(written) == why_not(read) == why_not(binary) == f"an open file ({path})"
    with tempfile.NamedTemporaryFile() as temporary:
        assert str(why_not([temporary])).startswith("item [0] of list: an open file")
    with socket.socket() as sock:
        assert why_not(sock) == "an open socket"
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        assert why_not(process) == "a running process"


def test_a_database_connection_that_a_function_uses(database: sqlite3.Connection) -> None:
    home = notebook("def helper(): return conn.execute('')\ndef f(): return helper()")
    home["conn"] = database
    assert why_not(home["f"], home) == (
        "global helper.global conn of function f: a database connection"
    )
    assert why_not(database.cursor()) == "a database connection"


def test_closures_defaults_methods_and_partials(database: sqlite3.Connection) -> None:
    home = notebook(
        "def make(db):\n  def inner(): return db\n  return inner\n"
        "def default(): ...\nclass C:\n  def m(self): ..."
    )
    inner = home["make"](database)
    assert why_not(inner, home) == "variable db of function inner: a database connection"
    exec("def default(a, b=1, c=None, *, d=None): ...", home)
    home["default"].__defaults__ = (1, database)
    assert why_not(home["default"], home) == (
        "default of c of function default: a database connection"
    )
    instance = home["C"]()
    instance.db = database
    assert str(why_not(instance.m, home)).endswith(".db of function m: a database connection")


def test_frames_tracebacks_and_weak_references() -> None:
    target = Trainer()
    with pytest.raises(ValueError, match="x") as caught:
        raise ValueError("x")
    assert why_not(caught.tb) == "a traceback"
    assert why_not(sys._getframe()) == "a stack frame"
    assert why_not(weakref.ref(target)) == "a weak reference"


def test_widgets() -> None:
    import ipywidgets

    assert why_not(ipywidgets.IntSlider()) == "a widget of this notebook"
    box = {"controls": ipywidgets.VBox([])}
    assert why_not(box) == "item ['controls'] of dict: a widget of this notebook"


def test_a_tensor_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tensor:
        device = SimpleNamespace(type="cuda")

    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(Tensor=Tensor))
    assert "`.cpu()`" in str(why_not({"weights": Tensor()}))


def test_keys_that_cannot_be_shown() -> None:
    class Key:
        def __repr__(self) -> str:
            raise RuntimeError

    assert why_not({Key(): threading.Lock()}) == "item [Key] of dict: a lock"


def test_too_deep() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    assert why_not(value) == "it is nested too deeply"


def test_a_types_own_refusal_is_quoted() -> None:
    class Stubborn:
        def __getstate__(self) -> Any:
            raise RuntimeError("not now\nwith a long story")

    assert why_not([Stubborn()]) == "RuntimeError: not now"


def test_an_unknown_type_is_named() -> None:
    poll = Trainer(poll=select.poll())
    assert why_not({"a": poll}) == "item ['a'].poll of dict: a poll object"


CAN_TRAVEL: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "module": lambda: io,
    "module function": lambda: io.open,
    "buffer": lambda: io.BytesIO(b"x"),
    "text buffer": lambda: io.StringIO("x"),
    "path": lambda: Path("x"),
    "exception": lambda: ValueError("x"),
    "class": lambda: Trainer,
    "range": lambda: range(3),
    "memory view": lambda: memoryview(b"x"),
}


@pytest.mark.parametrize("case", CAN_TRAVEL)
def test_ordinary_values_can_travel(case: str) -> None:
    assert why_not(CAN_TRAVEL[case](), {}) is None
