"""Workers addressed by their numbers, as a user of ipyparallel does it."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

import jupyter_remote as jr
from jupyter_remote.client.views.decorated import ParallelFunction, RemoteFunction
from tests.views.here import defined


# --- calling ----------------------------------------------------------------------------------
def test_one_target_gives_a_value_and_a_list_of_one_gives_a_list(client):
    assert client[0].apply_sync(int, "5") == 5
    assert client[[0]].apply_sync(int, "5") == [5]
    assert client[:].apply_sync(int, "5") == [5, 5]


@pytest.mark.parametrize("key", [0, -1, slice(None), slice(None, None, 2), [0, 1], (1,), range(2)])
def test_workers_are_chosen_by_numbers_slices_and_lists(client, key):
    chosen = [0, 1][key] if isinstance(key, int | slice) else list(key)
    assert client[key].targets == chosen


def test_a_number_that_no_worker_has_is_an_index_error_that_lists_them(client):
    with pytest.raises(IndexError, match="there is no worker 7\nthere are: 0, 1"):
        client[7]


@pytest.mark.parametrize("key", ["a", 1.5])
def test_what_is_no_number_names_no_worker(client, key):
    with pytest.raises(TypeError, match="not"):
        client[key]


def test_apply_waits_or_not_as_block_says(view):
    assert isinstance(view.apply(int), jr.AsyncResult)
    assert view.apply_async(int).get() == [0, 0]
    view.block = True
    assert view.apply(int) == [0, 0]
    assert isinstance(view.apply_async(int), jr.AsyncResult)


def test_new_views_wait_as_the_client_says(client):
    assert client[:].block is False
    client.block = True
    try:
        assert client[0].apply(int) == 0
    finally:
        client.block = False


def test_flags_hold_for_a_block_and_are_put_back(view):
    with view.temp_flags(block=True, targets=[1]):
        assert view.apply(int) == [0]
    assert (view.block, view.targets) == (False, [0, 1])


def test_targets_can_be_set_to_one_several_or_all(view):
    found = []
    for view.targets in ([1], 0, "all"):
        found.append(view.apply_sync(int))
    assert found == [[0], 0, [0, 0]]


def test_a_wrong_flag_is_a_key_error(view):
    assert view.set_flags(block=False) is view
    with pytest.raises(KeyError, match="Invalid name"):
        view.set_flags(retries=1)


def test_closures_lambdas_classes_and_coroutine_functions_travel(one):
    class Pair:
        def __init__(self, a: int) -> None:
            self.a = a

    async def later(a: int) -> int:
        return a + 1

    n = 3
    assert one.apply_sync(lambda x: x + n, 4) == 7
    assert one.apply_sync(lambda pair: pair.a, Pair(3)) == 3
    assert one.apply_sync(later, 1) == 2
    assert one.apply_sync(math.sqrt, 4) == 2


def test_what_cannot_be_called_or_packed_is_told_before_anything_is_sent(one):
    done = one.queue_status()["completed"]
    with pytest.raises(jr.JupyterRemoteError, match="cannot be called"):
        one.apply(5)
    with pytest.raises(jr.CaptureError):
        one.apply(len, (i for i in "ab"))
    assert one.queue_status()["completed"] == done


# --- the namespace ----------------------------------------------------------------------------
def test_functions_have_the_namespace_as_their_globals(one):
    code = "def count():\n    global seen\n    seen = seen + only_there\n    return seen"
    count = defined(one.client, code)
    one.push({"seen": 1, "only_there": 10}, block=True)
    assert [one.apply_sync(count) for _ in range(2)] == [11, 21]
    assert one["seen"] == 21


def test_execute_leaves_names_and_gives_a_result_in_any_case(view):
    result = view.execute("import math as m\nz = m.floor(4.5)", block=True)
    assert isinstance(result, jr.AsyncResult)
    assert view["z"] == [4, 4]


def test_execute_gives_its_last_value_when_it_is_not_silent(one):
    assert one.execute("5", silent=False).get().data == {"text/plain": "5"}
    assert one.get_result().execute_result["data"] == {"text/plain": "5"}
    assert one.execute("5").get().data == {}


def test_run_leaves_names_imports_and_globals_of_a_script(one, tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(
        "import json as j\nlimit = 3\ndef double(x): return limit * x\nif 1:\n    k = 2"
    )
    one.run(script, block=True)
    assert one["double(k), j.dumps([])"] == (6, "[]")


def test_run_of_a_script_that_is_not_there_is_a_file_not_found_error(one, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="cannot be read"):
        one.run(tmp_path / "nowhere.py")


def test_push_and_pull_move_values_and_do_not_block(view, one):
    assert view.push({"a": 1, "b": [2]}, block=True) == [None, None]
    assert one.push({"a": 1}, block=True) is None
    assert one.push({"a": 1}).get() is None
    assert one.pull("a").get() == 1
    assert one.pull(("a", "b"), block=True) == [1, [2]]
    assert view.pull("a", block=True) == [1, 1]


def test_a_view_reads_and_writes_names_as_a_dict(view, one):
    view["a"] = 7
    assert (view["a"], one["a"], view.get("a"), one.get(["a", "a"])) == ([7, 7], 7, [7, 7], [7, 7])
    view.update({"a": 8}).get()
    assert one["a"] == 8


def test_names_are_strings_and_what_is_pushed_is_a_dict(view):
    with pytest.raises(TypeError, match="names must be strings"):
        view.pull(3)
    with pytest.raises(TypeError, match="Must be a dict"):
        view.push([1])


def test_clear_deletes_all_names(one):
    one["a"] = 1
    one.clear(block=True)
    with pytest.raises(NameError):
        one["a"]


# --- references -------------------------------------------------------------------------------
def test_a_reference_is_the_value_that_is_there(view, one):
    one.execute("import types; o = types.SimpleNamespace(k=4)", block=True)
    for number in range(2):
        view.client[number]["mine"] = number
    assert view.apply_sync(abs, jr.Reference("mine")) == [0, 1]
    assert one.apply_sync(abs, jr.Reference("o.k")) == 4
    assert one.apply_sync(sum, [jr.Reference("o.k"), jr.Reference("mine + 1")]) == 5


def test_a_missing_reference_is_a_name_error_that_names_the_worker(client):
    with pytest.raises(NameError, match="'nowhere'") as caught:
        client[1].apply_sync(abs, jr.Reference("nowhere"))
    assert caught.value.engine_info["engine_id"] == 1
    assert any("on worker 1" in note for note in caught.value.__notes__)


def test_a_reference_is_made_of_a_name():
    with pytest.raises(TypeError, match="illegal name"):
        jr.Reference(3)


# --- parts of sequences -----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ([1, 2, 3], [[1, 2], [3]]),
        ([1], [[1], []]),
        ([], [[], []]),
        ("hello", ["hel", "lo"]),
        ((1, 2), [(1,), (2,)]),
        (range(3), [range(2), range(2, 3)]),
    ],
)
def test_scatter_gives_each_worker_its_share(view, given, parts):
    assert view.scatter("x", given, block=True) is None
    assert view["x"] == parts


def test_scatter_takes_one_item_out_of_its_list_when_told_to(view):
    view.scatter("x", [1, 2], flatten=True, block=True)
    assert (view["x"], view.gather("x", block=True)) == ([1, 2], [1, 2])
    view.scatter("x", [1, 2, 3], flatten=True, block=True)
    assert view["x"] == [[1, 2], 3]


@pytest.mark.parametrize("dist", ["b", "r"])
def test_gather_joins_arrays_and_lists(view, dist):
    numbers = np.arange(10).reshape(5, 2)
    view.scatter("x", numbers, dist=dist, block=True)
    np.testing.assert_array_equal(view.gather("x", dist=dist, block=True), numbers)
    assert view.gather("x", dist=dist, block=True).dtype == numbers.dtype
    view.scatter("x", list("abcde"), dist=dist).get()
    assert view.gather("x", dist=dist).get() == list("abcde")


def test_gather_of_values_that_are_no_sequences_is_a_list_of_them(view):
    view["x"] = 3
    assert view.gather("x", block=True) == [3, 3]
    assert list(view.gather("x")) == [3, 3]


# --- maps -------------------------------------------------------------------------------------
def test_map_is_as_the_builtin_map(view):
    def pair(x, y):
        return x, y

    assert view.map_sync(pair, range(5), range(5)) == list(zip(range(5), range(5), strict=True))
    assert view.map_sync(pair, [1, 2, 3], [4]) == [(1, 4)]
    assert view.map_sync(pair, (i for i in "ab"), "cd") == [("a", "c"), ("b", "d")]
    assert view.map_sync(abs, []) == []
    assert list(view.imap(abs, [-1, 2])) == [1, 2]


def test_map_takes_no_block_where_its_name_says_it(view):
    with pytest.raises(TypeError, match="block"):
        view.map_async(abs, [1], block=True)
    with pytest.raises(jr.JupyterRemoteError, match="must have some sequences"):
        view.map(abs)


def test_map_gives_exceptions_in_place_when_told_to(view):
    value, error = view.map_sync(lambda x: 1 / x, [1, 0], return_exceptions=True)
    assert value == 1
    assert isinstance(error, ZeroDivisionError)


def test_one_worker_has_maps_and_shares_too(one):
    assert one.map_sync(abs, [-1, -2, -3]) == [1, 2, 3]
    one.scatter("x", [1, 2], block=True)
    assert one.gather("x", block=True) == [1, 2]


# --- decorators -------------------------------------------------------------------------------
def test_a_remote_function_runs_there_whenever_it_is_called(one):
    @one.remote(block=True)
    def where(factorial=5):
        """Of its own."""
        import os

        return os.getpid(), factorial

    assert isinstance(where, RemoteFunction)
    assert where(factorial=2) == (one.apply_sync(__import__("os").getpid), 2)
    assert (where.__name__, where.__doc__) == ("where", "Of its own.")


def test_a_remote_function_is_the_function_itself_over_there(one):
    @one.remote(block=True)
    def factorial(n):
        return n * factorial(n - 1) if n else 1

    assert factorial(5) == 120
    assert pickle.loads(pickle.dumps(RemoteFunction(one, abs, True, {}))) is abs


def test_a_remote_function_blocks_as_its_view_did_when_it_was_made(view):
    quiet = view.remote()(int)
    view.block = True
    assert quiet().get() == [0, 0]


def test_a_parallel_function_is_called_with_shares_and_joins_what_they_give(view):
    @view.parallel(block=True)
    def double(numbers):
        return [2 * n for n in numbers]

    assert isinstance(double, ParallelFunction)
    assert double(range(5)) == [0, 2, 4, 6, 8]
    assert double([]) == []
    assert double.map([[1], [2]]) == [[2], [4]]
    with pytest.raises(ValueError, match=r"equal length, but have \[2, 1\]"):
        double([1, 2], [3])
    assert view.parallel(block=True)(sum)(range(6)) == [3, 12]
    np.testing.assert_array_equal(view.parallel(block=True)(np.negative)(np.arange(3)), [0, -1, -2])


# --- imports ----------------------------------------------------------------------------------
def test_imports_are_made_on_both_sides(view, capsys):
    with view.sync_imports():
        import bisect as b
        import xml.dom
        from fractions import Fraction as Part
    names = "b.__name__, bisect.__name__, xml.dom.__name__, Part(1, 2).denominator"
    assert view[names] == [("bisect", "bisect", "xml.dom", 2)] * 2
    assert (b.__name__, xml.dom.__name__, Part(1, 2).denominator) == ("bisect", "xml.dom", 2)
    assert capsys.readouterr().out.splitlines() == [
        "importing bisect on engine(s)",
        "importing xml.dom on engine(s)",
        "importing Fraction from fractions on engine(s)",
    ]


def test_imports_can_be_quiet_and_only_over_there(view, capsys):
    with view.sync_imports(local=False, quiet=True):
        import wave
    assert view["wave.__name__"] == ["wave", "wave"]
    assert wave.__spec__ is None
    assert capsys.readouterr().out == ""


def test_an_import_that_fails_there_is_an_error_here(view):
    (view.apply_async(exec, "import sys; sys.modules['quopri'] = None")).get()
    with pytest.raises(jr.CompositeError) as caught, view.importer:
        import quopri  # noqa: F401
    assert "ModuleNotFoundError: import of quopri halted" in str(caught.value)
    with pytest.raises(ImportError), view.importer:
        import no_such_module  # noqa: F401


def test_what_has_run_is_counted_by_worker(view, one):
    one.apply_sync(int)
    before = one.queue_status()["completed"]
    one.apply_sync(int)
    assert one.queue_status() == {"queue": 0, "completed": before + 1, "tasks": 0}
    assert view.queue_status(verbose=True)[0]["queue"] == []
    assert view.client.queue_status()["unassigned"] == 0


def test_a_result_does_not_wait_for_the_call_behind_it(one, tmp_path):
    gate = tmp_path / "gate"

    def wait_for(path):
        import os
        import time

        while not os.path.exists(path):
            time.sleep(0.01)

    first = one.apply_async(wait_for, str(tmp_path / "first"))
    quick, last = one.apply_async(abs, -1), one.apply_async(wait_for, str(gate))
    (tmp_path / "first").touch()
    assert quick.get(30) == 1
    gate.touch()
    first.get(30)
    last.get(30)


def test_a_function_finds_the_globals_of_now_also_after_another_brought_its_own(client, one):
    first, second = (defined(client, f"def {f}(*_): return turns") for f in ("first", "second"))
    client.namespace["turns"] = 1
    assert one.apply_sync(first) == 1
    client.namespace["turns"] = 2
    assert one.apply_sync(second) == 2
    client.namespace["turns"] = 1
    assert one.apply_sync(first) == 1


def test_a_function_finds_the_globals_of_now_also_after_an_argument_brought_others(client, one):
    first, second = (defined(client, f"def {f}(*_): return turns") for f in ("first", "second"))
    for rest in ((), (np.zeros(200_000),)):
        client.namespace["turns"] = 1
        assert one.apply_sync(first) == 1
        client.namespace["turns"] = 2
        one.apply_sync(len, (second, *rest))
        client.namespace["turns"] = 1
        assert one.apply_sync(first) == 1


def test_a_helper_that_is_swapped_back_is_used(client, one):
    client.namespace["helper"] = former = defined(client, "def one(): return 1")
    first, second = (defined(client, f"def {f}(): return helper()") for f in ("first", "second"))
    assert one.apply_sync(first) == 1
    client.namespace["helper"] = defined(client, "def two(): return 2")
    assert one.apply_sync(second) == 2
    client.namespace["helper"] = former
    assert one.apply_sync(first) == 1


def test_a_function_whose_globals_stay_is_sent_once(client, one):
    client.namespace["turns"] = 1
    function = defined(client, "def first(): return turns")
    one.apply_sync(function)
    [engine] = one._engines(None)
    sent = engine.connection.given.news
    assert one.apply_sync(function) == 1
    assert engine.connection.given.news == sent


def test_a_local_module_that_was_edited_is_the_new_one_in_sessions(
    client, one, tmp_path, monkeypatch
):
    path = tmp_path / "edited_here.py"
    path.write_text("def value(): return 'first'")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("edited_here")
    try:
        client.namespace["edited"] = module
        by_name = defined(client, "def by_name(): return edited.value()")
        inside = defined(
            client, "def inside():\n    import edited_here\n    return edited_here.value()"
        )
        assert [one.apply_sync(f) for f in (by_name, inside, module.value)] == ["first"] * 3
        path.write_text("def value(): return 'other'")
        os.utime(path, ns=(1, 1))
        Path(importlib.util.cache_from_source(str(path))).unlink(missing_ok=True)
        importlib.invalidate_caches()
        importlib.reload(module)
        assert module.value() == "other"
        assert [one.apply_sync(f) for f in (by_name, inside, module.value)] == ["other"] * 3
        assert one.apply_sync(by_name) == "other"
    finally:
        del sys.modules["edited_here"], client.namespace["edited"]
