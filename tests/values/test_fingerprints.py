"""What was changed is seen, what was only read is not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeClassifier

from jupyter_remote.contents.watch import Watch
from jupyter_remote.mapping import digest_of, map_blob
from jupyter_remote.reach import inside
from jupyter_remote.values import fingerprint, pack
from tests.values.trips import Namespace, notebook, run_far, trip


def watching(values: list[Any], namespace: Namespace) -> Watch:
    """As in a worker: what the pickle has, of what the values consist of."""
    there, numbered = inside(values, namespace), pack(values, namespace=namespace, numbered=True)
    objects = {n: o for n, o in numbered.numbered.items() if id(o) in there}
    return Watch(objects, namespace)


def changed(value: Any, act: Callable[[Any], object]) -> bool:
    """Whether ``act`` changes the value, seen as a worker sees it: after it arrived."""
    value, namespace = trip(value)
    watch = watching([value], namespace)
    act(value)
    return bool(watch.changed())


class Model:
    def __init__(self) -> None:
        self.steps, self.weights = [1], np.zeros(100_000)


FRAME = pd.DataFrame({"g": ["a", "b"] * 5000, "x": np.arange(10_000.0), "y": range(10_000)})
X, Y = np.arange(200.0).reshape(100, 2), np.arange(100) % 2

CHANGES: dict[str, tuple[Any, Callable[[Any], object]]] = {
    "list": ([1], lambda v: v.append(2)),
    "nested list": ([{"a": [(0, [1])]}], lambda v: v[0]["a"][0][1].append(2)),
    "dict order": ({"a": 1, "b": 2}, lambda v: v.update(a=v.pop("a"))),
    "set": ({1, 2}, lambda v: v.add(3)),
    "small array": (np.zeros(3), lambda v: v.__setitem__(1, 5)),
    "large array": (np.zeros(100_000), lambda v: v.__setitem__(99_999, 5)),
    "array shape": (np.zeros(100_000), lambda v: setattr(v, "shape", (100, 1000))),
    "object array": (np.array([[1], None], dtype=object), lambda v: v[0].append(1)),
    "frame cell": (FRAME, lambda v: v.__setitem__("x", v["x"].where(v["x"] != 7, -1))),
    "frame column": (FRAME, lambda v: v.insert(0, "new", 1)),
    "frame in place": (FRAME, lambda v: v.loc.__setitem__((5, "x"), -1)),
    "frame index": (FRAME, lambda v: setattr(v, "index", v.index + 1)),
    "frame attributes": (FRAME, lambda v: v.attrs.update(unit="m")),
    "model": (LinearRegression(), lambda v: v.fit(X, Y)),
    "refitted tree": (DecisionTreeClassifier().fit(X, Y), lambda v: v.fit(X, 1 - Y)),
    "attribute": (Model(), lambda v: setattr(v, "new", 1)),
    "array in an object": (Model(), lambda v: v.weights.__setitem__(5, 1)),
    "random state": (np.random.default_rng(0), lambda v: v.random()),
    "bytearray": (bytearray(100_000), lambda v: v.__setitem__(5, 1)),
}
READS: dict[str, tuple[Any, Callable[[Any], object]]] = {
    "frame": (
        FRAME,
        lambda v: (v.describe(), v.groupby("g").x.mean(), v.values, v.x.sum(), v.loc[5], v[::2]),
    ),
    "frame lookups": (FRAME, lambda v: (v.index.is_unique, v.set_index("y").loc[7], repr(v))),
    "array": (np.zeros(100_000), lambda v: (v.sum(), v[::2].T, v.copy(), repr(v))),
    "array overwritten with itself": (np.ones(100_000), lambda v: v.__imul__(1)),
    "tree": (DecisionTreeClassifier().fit(X, Y), lambda v: (v.predict(X), repr(v))),
    "object": (Model(), lambda v: (v.weights.sum(), sorted(v.steps))),
    "list of texts": (["a", "a", "b" * 100], lambda v: ["".join(x) for x in v]),
    "set": ({"a", "b", "c"}, lambda v: (sorted(v), v | {"d"})),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_is_seen(case: str) -> None:
    assert changed(*CHANGES[case])


@pytest.mark.parametrize("case", READS)
def test_reading_is_no_change(case: str) -> None:
    assert not changed(*READS[case])


def test_a_fingerprint_is_the_same_again() -> None:
    for value in (FRAME, {"x": [1, {2}]}, Model(), Model, len, np):
        assert fingerprint(value, {}) == fingerprint(value, {}) != b""


def test_what_cannot_be_pickled_is_unknown() -> None:
    assert fingerprint([threading.Lock()]) == fingerprint(i for i in []) == b""
    assert fingerprint(1)


def test_other_objects_count_by_their_number() -> None:
    inner = [1]
    outer = (inner, 2)
    before = fingerprint(outer, numbers={id(inner): 7})
    inner.append(5)
    assert fingerprint(outer, numbers={id(inner): 7}) == before
    assert fingerprint(outer, numbers={id(inner): 8}) != before
    assert fingerprint(inner, numbers={id(inner): 7}) != fingerprint([1], numbers={})


def names_changed(source: str, act: str) -> set[str]:
    namespace: Namespace = notebook(source)
    values = {n: v for n, v in namespace.items() if not n.startswith("__")}
    watch = watching(list(values.values()), namespace)
    exec(act, namespace)
    differ = {id(watch.objects[n]) for n in watch.changed()}
    return {n for n, v in values.items() if inside([v], namespace).keys() & differ}


def test_each_name_of_a_shared_object_changes() -> None:
    source = "import numpy\na = [1]\nb = [a]\nc = numpy.zeros(99999)\nd = {'c': c}\ne = [2]"
    assert names_changed(source, "a.append(1)") == {"a", "b"}
    assert names_changed(source, "c[5] = 1") == {"c", "d"}


def test_a_function_does_not_change_with_its_globals() -> None:
    source = "n = [0]\ndef up(): n.append(1)\nclass C:\n  def m(self): return n"
    assert names_changed(source, "up(); C().m()") == {"n"}
    assert names_changed(source, "import sklearn.svm") == set()


def test_a_function_changes_with_what_it_keeps() -> None:
    source = (
        "def make():\n  kept = []\n  def add(): kept.append(1)\n  return add\n"
        "add = make()\ndef default(a=[]): a.append(1)\ndef still(): pass"
    )
    assert names_changed(source, "add(); default()") == {"add", "default"}
    assert names_changed(source, "still.calls = 1") == {"still"}


def test_a_class_changes_with_its_attributes() -> None:
    source = "class C:\n  n = 0\n  me = None\n  def m(self): return self.n\nC.me = C()"
    assert names_changed(source, "C().m()") == set()
    assert names_changed(source, "C.n = 1") == {"C"}


def test_instances_that_a_class_collects_over_there_come_home() -> None:
    home = notebook("class C:\n  all = []\n  def __init__(self): C.all.append(self)\nfirst = C()")
    run_far(home, "C first", "", "C first")
    assert home["C"].all == [home["first"]]
    run_far(home, "first C", "second = C()", "C")
    assert len(home["C"].all) == 2


def test_an_untouched_mapping_is_not_read(tmp_path: Path, monkeypatch: Any) -> None:
    data = np.random.default_rng(0).random(100_000)
    digest = digest_of(data)
    (tmp_path / "blob").write_bytes(data.tobytes())
    array = np.frombuffer(map_blob(tmp_path / "blob", digest, data.nbytes))
    copied = fingerprint(data)
    monkeypatch.setattr("jupyter_remote.values.digest_of", None)
    assert fingerprint(array) == copied


def test_memory_that_names_share_is_read_once(monkeypatch: Any) -> None:
    hashed: list[int] = []

    def counting(view: memoryview) -> str:
        hashed.append(view.nbytes)
        return digest_of(view)

    monkeypatch.setattr("jupyter_remote.values.digest_of", counting)
    array = np.ones(100_000)
    Watch(dict(enumerate([array, [array], {"x": array}])), {})
    assert hashed == [array.nbytes]


def test_what_a_frame_is_made_of_belongs_to_it() -> None:
    watch = watching([FRAME, [FRAME]], {})
    assert {type(o) for o in watch.objects.values()} == {pd.DataFrame, list}
