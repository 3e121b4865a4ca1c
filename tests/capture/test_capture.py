"""What a cell or a call takes along, and what it refuses to."""

from __future__ import annotations

import functools
import linecache
import threading
import time
from typing import Any

import numpy as np
import pytest
from IPython.core import interactiveshell

from jupyter_remote import values
from jupyter_remote.client.capture import capture_call, capture_cell
from jupyter_remote.errors import CaptureError, UsageError
from jupyter_remote.sizes import size_of
from jupyter_remote.values import Packed


def notebook(source: str = "", **more: Any) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "__main__", **more}
    exec(source, namespace)
    return namespace


def opened(packed: Packed | None, namespace: dict[str, Any] | None = None) -> Any:
    assert packed is not None
    contents = packed.contents
    return values.unpack(
        packed.parcel, lambda s: bytearray(contents[s.digest]), namespace=namespace
    )


def test_what_a_cell_reads_is_sent_and_nothing_else() -> None:
    cell = capture_cell("print(x)\ny = 1\nprint(y, absent)", notebook("x = [1]\ny = 2\nz = 3"))
    assert opened(cell.packed) == {"x": [1]}
    assert cell.assigned == ["y"]
    assert [(n.name, n.type) for n in cell.names] == [("x", "list")]


def test_a_cell_that_needs_nothing_sends_nothing() -> None:
    cell = capture_cell("import math\nx = math.pi", notebook("x = 1"))
    assert cell.packed is None
    assert cell.sent == {}
    assert cell.assigned == ["math", "x"]


def test_functions_take_the_globals_that_they_and_their_helpers_use() -> None:
    namespace = notebook(
        "import functools\nk = 1\nunused = 2\ndeep = 3\nlog = []\n"
        "def low(): return deep\n"
        "class C:\n    rate = 2\n    def m(self): return [low() for _ in range(k)]\n"
        "    @property\n    def p(self): return log\n"
        "def f(c=C()): return lambda: c.m()\n"
        "g = {'fs': [functools.partial(f)]}\n"
    )
    cell = capture_cell("g['fs'][0]()()", namespace)
    assert set(cell.sent) == {"g", "k", "deep", "low", "log", "f"} - {"f"}


def test_a_global_that_a_function_assigns_is_assigned_by_the_cell() -> None:
    namespace = notebook("n = 0\ndef bump():\n    global n, fresh\n    n += 1\n    fresh = n")
    cell = capture_cell("bump()", namespace)
    assert set(cell.sent) == {"bump", "n"}
    assert set(cell.assigned) == {"n", "fresh"}


def test_other_names_for_what_is_sent_or_for_parts_of_it_go_along() -> None:
    namespace = notebook("x = [[1], 2]\ny = x\ninner = x[0]\nother = [1]\nnumber = 2")
    cell = capture_cell("x.append(3)", namespace)
    there = opened(cell.packed)
    assert set(there) == {"x", "y", "inner"}
    assert there["x"] is there["y"]
    assert there["x"][0] is there["inner"]


def test_names_of_ipython_stay_unless_they_are_values() -> None:
    namespace = notebook("_ = 41\nOut = {3: 'x'}\nget_ipython = exit = quit = print")
    cell = capture_cell("get_ipython()\nexit\n_ + 1\nOut[3]\n__name__", namespace)
    assert opened(cell.packed) == {"_": 41, "Out": {3: "x"}}


def test_a_builtin_that_the_notebook_redefined_is_sent() -> None:
    assert set(capture_cell("sum([1])\nlen([])", notebook("sum = max")).sent) == {"sum"}


def test_names_of_attributes_are_not_taken_for_globals() -> None:
    source = "def f():\n    class C:\n        lock = tool.lock\n    return C.lock"
    namespace = notebook(source, lock=threading.Lock(), tool="a tool")
    assert opened(capture_cell("f()", namespace).packed)["f"]
    assert set(capture_cell("f()", namespace).sent) >= {"f", "tool"}


def test_modules_that_a_function_imports_are_found() -> None:
    namespace = notebook("def f():\n    import statistics\n    return [statistics for _ in '1']")
    assert "statistics" in capture_cell("f()", namespace).used


def test_every_name_that_cannot_travel_is_listed_at_once() -> None:
    namespace = notebook("gen = (i for i in 'ab')\nok = 1", lock=threading.Lock())
    with pytest.raises(CaptureError) as caught:
        capture_cell("ok, gen, lock", namespace)
    lines = str(caught.value).splitlines()
    assert any("gen: generator" in line and "generator" in line for line in lines)
    assert any("lock: lock" in line for line in lines)
    assert not any("ok" in line.split(":")[0] for line in lines)
    assert "--in" in caught.value.hint


def test_what_the_cell_may_do_without_stays_here_with_a_notice() -> None:
    namespace = notebook("x = 1", lock=threading.Lock())
    cell = capture_cell("if x:\n    lock = 1\nprint(lock)", namespace)
    assert set(cell.sent) == {"x"}
    assert any(notice.startswith("lock stays here") for notice in cell.notices)


def test_given_inputs_overrule_the_source() -> None:
    namespace = notebook("k = 2\ndef f(): return k\nx = 1\ny = x")
    assert set(capture_cell("x", namespace, inputs=["f"]).sent) == {"f", "k"}
    assert capture_cell("x", namespace, inputs=[]).packed is None


def test_given_inputs_leave_modules_to_the_source() -> None:
    namespace = notebook("import math, json\nx = 1\ny = 2")
    assert set(capture_cell("math.sqrt(x + y)", namespace, inputs=["x"]).sent) == {"x", "math"}


def test_an_unknown_input_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"(?s)'opn'.*Name a variable"):
        capture_cell("1", notebook(open=interactiveshell._modified_open), inputs=["opn"])
    with pytest.raises(UsageError, match=r"(?s)'itms'.*Did you mean items"):
        capture_cell("1", notebook("items = 1"), inputs=["itms"])


def test_an_output_that_the_cell_does_not_make_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"(?s)'reslt'.*Did you mean result"):
        capture_cell("result = 1", notebook(), outputs=["reslt"])
    assert capture_cell("result = 1", notebook(), outputs=["result"]).outputs == ["result"]
    assert capture_cell("exec(code)", notebook("code = ''"), outputs=["x"]).outputs == ["x"]


def test_a_deleted_name_is_sent_so_that_it_can_be_deleted() -> None:
    cell = capture_cell("del x\nt = 1\ndel t", notebook("x = 1\nt = 2"))
    assert set(cell.sent) == {"x"}
    assert cell.deleted == ["x", "t"]


def test_an_exception_name_that_had_to_stay_is_not_reported_deleted() -> None:
    source = "try:\n    pass\nexcept E as e:\n    pass"
    cell = capture_cell(source, notebook(e=threading.Lock()))
    assert cell.deleted == []


def test_a_gigabyte_is_packed_without_a_copy() -> None:
    import tracemalloc

    namespace = notebook(big=np.ones(25_000_000))
    tracemalloc.start()
    try:
        cell = capture_cell("big.sum()", namespace)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000
    assert any("big is 190.7 MB" in notice for notice in cell.notices)


def test_a_large_global_of_a_function_is_told() -> None:
    namespace = notebook("def f(): return table.sum()", table=np.zeros(13_000_000))
    (notice,) = capture_cell("f()", namespace).notices
    assert "table" in notice
    assert "global" in notice


def test_arrays_that_share_memory_are_told() -> None:
    namespace = notebook("import numpy as np\na = np.zeros(9)\nv = a[:3]")
    (notice,) = capture_cell("a[0] = 1\nprint(v)", namespace).notices
    assert "a and v share memory" in notice


def test_long_lists_of_records_are_looked_through_quickly() -> None:
    namespace = notebook("rows = [{'a': i, 'b': 'x', 'c': 0.5} for i in range(100_000)]")
    start = time.thread_time()
    capture_cell("len(rows)", namespace)
    assert time.thread_time() - start < 5


def test_the_text_of_the_cells_that_defined_functions_goes_along() -> None:
    source = "def f(): return 1\n"
    filename = "<ipython-input-1-abc>"
    linecache.cache[filename] = (len(source), None, [source], filename)
    namespace = notebook()
    exec(compile(source, filename, "exec"), namespace)
    assert capture_cell("f()", namespace).sources == {filename: source}
    assert capture_call(namespace["f"], (), {}, namespace=namespace).sources == {filename: source}


# --- calls -----------------------------------------------------------------------------------
DEFINITIONS = """
import functools
k = 3
def plain(x): return x * k
def outer(n):
    def inner(x): return x * n
    return inner
class Scaler:
    def __init__(self, by): self.by = by
    def scale(self, x): return x * self.by
    def __call__(self, x): return plain(x) * self.by
closure = outer(3)
times = lambda x: x * k
part = functools.partial(plain, 5)
method = Scaler(3).scale
thing = Scaler(1)
@functools.wraps(plain)
def wrapped(*a): return plain(*a)
@functools.lru_cache
def cached(x): return plain(x)
async def later(x): return x * k
def gen(x): yield x * k
"""


@pytest.mark.parametrize("name", ["plain", "closure", "times", "method", "thing", "wrapped",
                                  "cached"])  # fmt: skip
def test_any_function_travels_with_what_it_needs(name: str) -> None:
    namespace = notebook(DEFINITIONS)
    call = capture_call(namespace[name], (5,), {}, namespace=namespace)
    there: dict[str, Any] = {"__name__": "__main__"}
    function = opened(call.function, there)
    args, kwargs = opened(call.inputs, there)
    assert function(*args, **kwargs) == 15


def test_partials_classes_builtins_and_coroutine_functions_travel() -> None:
    namespace = notebook(DEFINITIONS)
    there: dict[str, Any] = {"__name__": "__main__"}
    for function, args in [
        (namespace["part"], ()),
        (len, ("abc",)),
        (functools.reduce, (max, [3])),
    ]:
        call = capture_call(function, args, {}, namespace=namespace)
        args, kwargs = opened(call.inputs, there)
        assert opened(call.function, there)(*args, **kwargs) in (15, 3)
    scaler = opened(
        capture_call(namespace["Scaler"], (2,), {}, namespace=namespace).function, there
    )
    assert scaler(2).scale(2) == 4
    capture_call(namespace["later"], (1,), {}, namespace=namespace)


def test_globals_of_a_function_are_named() -> None:
    namespace = notebook(DEFINITIONS)
    call = capture_call(namespace["wrapped"], (1,), {}, namespace=namespace)
    assert {info.name for info in call.names} >= {"k", "plain"}


def test_arguments_that_cannot_travel_are_listed_by_name() -> None:
    namespace = notebook("def f(a, b, c=None): ...\ng = (i for i in 'a')")
    arguments = (1, namespace["g"])
    with pytest.raises(CaptureError) as caught:
        capture_call(namespace["f"], arguments, {"c": threading.Lock()}, namespace=namespace)
    assert "b: generator" in str(caught.value)
    assert "c: lock" in str(caught.value)
    assert "a:" not in str(caught.value)


def test_a_function_over_something_that_cannot_travel_is_named() -> None:
    namespace = notebook("def f(): return lock", lock=threading.Lock())
    with pytest.raises(CaptureError, match="f cannot travel"):
        capture_call(namespace["f"], (), {}, namespace=namespace)


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be called"):
        capture_call(3, (), {})  # type: ignore[arg-type]


# --- sizes -----------------------------------------------------------------------------------
def test_sizes_are_near_and_cheap() -> None:
    assert size_of(np.zeros(1000)) == 8000
    assert size_of("x" * 100) == 100
    assert 20_000_000 < size_of(list(range(1_000_000))) < 60_000_000
    assert 7_000 < size_of({"a": np.zeros(1000)}) < 10_000
    assert size_of([[]] * 10) < 2000


def test_a_size_never_runs_into_a_cycle_or_a_hostile_object() -> None:
    class Hostile:
        def __len__(self) -> int:
            raise RuntimeError

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError

    loop: list[Any] = []
    loop.append(loop)
    assert size_of(loop) > 0
    assert size_of(Hostile()) > 0
