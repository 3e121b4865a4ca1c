"""One digest for one content, in whatever process and however it came about."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime
import enum
import functools
import random
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from jupyter_remote import values
from jupyter_remote.client.digests import Digests, Undigestible, aligned, extents_of, text_of


def of(value: Any, namespace: dict[str, Any] | None = None) -> str:
    return Digests({} if namespace is None else namespace).of("x", value)


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None


class Plain:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def _frame() -> pd.DataFrame:
    index = pd.date_range("2024-01-01", periods=4, tz="UTC")
    made = pd.DataFrame({"a": [1.0, None, 3, 4], "b": list("wxyz")}, index=index)
    made["c"] = pd.Categorical(["u", "v", "u", "u"])
    made["d"] = pd.array([1, None, 3, 4], dtype="Int64")
    made["e"] = index
    return made


X = np.arange(12.0).reshape(6, 2)
VALUES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "number": (lambda: 1, lambda v: 2),
    "its type": (lambda: 1, lambda v: 1.0),
    "text": (lambda: "ab" * 3, lambda v: v + "c"),
    "list": (lambda: [1, [2, "x"]], lambda v: v[1].append(3)),
    "tuple": (lambda: (1, [2]), lambda v: v[1].append(3)),
    "dict": (lambda: {"a": 1, "b": [2]}, lambda v: v.update(a=2)),
    "order of a dict": (lambda: {"a": 1, "b": 2}, lambda v: v.update(a=v.pop("a"))),
    "set": (lambda: {"a", "b", "c"}, lambda v: v.add("d")),
    "set of tuples": (lambda: {("a", 1), ("b", 2)}, lambda v: v.add(("c", 3))),
    "set of objects": (lambda: {datetime.date(2024, 1, d) for d in (1, 2)}, lambda v: v.pop()),
    "deque": (lambda: collections.deque([1], 3), lambda v: v.append(2)),
    "defaultdict": (lambda: collections.defaultdict(list, a=[1]), lambda v: v["a"].append(2)),
    "counter": (lambda: collections.Counter("aab"), lambda v: v.update("c")),
    "bytearray": (lambda: bytearray(b"ab"), lambda v: v.append(1)),
    "dataclass": (lambda: Point(1, [2]), lambda v: v.y.append(3)),
    "instance": (lambda: Plain(a=1, b=[2]), lambda v: setattr(v, "a", 3)),
    "time": (lambda: datetime.datetime(2024, 1, 1), lambda v: v.replace(year=2025)),
    "generator": (lambda: random.Random(3), lambda v: v.random() and None),
    "numpy generator": (lambda: np.random.default_rng(3), lambda v: v.random() and None),
    "array": (lambda: X.copy(), lambda v: v.__setitem__((5, 1), 0)),
    "shape": (lambda: X.copy(), lambda v: v.reshape(2, 6)),
    "type of an array": (lambda: X.copy(), lambda v: v.astype("f4")),
    "array with gaps": (lambda: X.copy()[::2], lambda v: v.__setitem__((0, 0), 9)),
    "array in columns": (lambda: np.asfortranarray(X), lambda v: v.__setitem__((0, 0), 9)),
    "array of objects": (lambda: np.array([[1], "a"], object), lambda v: v[0].append(2)),
    "times": (lambda: np.array(["2024-01-01"], "M8[s]"), lambda v: v + 1),
    "records": (
        lambda: np.zeros(2, [("a", "i1"), ("b", "f8")]),
        lambda v: v["b"].__setitem__(0, 1),
    ),
    "no elements": (lambda: np.zeros((0, 3)), lambda v: np.zeros((3, 0))),
    "one number": (lambda: np.float64(2), lambda v: np.float64(3)),
    "frame": (_frame, lambda v: v.__setitem__("a", v["a"] + 1)),
    "text in a frame": (_frame, lambda v: v.iloc.__setitem__((0, 1), "new")),
    "category": (_frame, lambda v: v.assign(c=v["c"].cat.rename_categories({"u": "w"}))),
    "nullable": (_frame, lambda v: v.iloc.__setitem__((0, 3), 7)),
    "name of a column": (_frame, lambda v: v.rename(columns={"a": "z"})),
    "index": (_frame, lambda v: v.reset_index()),
    "series": (lambda: pd.Series([1, 2], name="s"), lambda v: v.rename("t")),
    "two levels": (
        lambda: pd.Series([1, 2], pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])),
        lambda v: v.swaplevel(),
    ),
    "model": (LinearRegression, lambda v: v.fit(X, X[:, 0]) and None),
    "partial": (lambda: functools.partial(max, 1), lambda v: functools.partial(max, 2)),
    "module": (lambda: np, lambda v: pd),
    "function of a module": (lambda: np.mean, lambda v: np.median),
}


@pytest.mark.parametrize("name", VALUES)
def test_equal_content_has_one_digest_and_other_content_another(name: str) -> None:
    make, change = VALUES[name]
    value = make()
    before = of(value)
    assert of(make()) == before
    assert of(value) == before
    if not name.endswith("module"):
        assert of(copy.deepcopy(value)) == before
    other = change(value)
    assert of(value if other is None else other) != before


def test_what_a_frame_is_made_of_does_not_count() -> None:
    whole = pd.DataFrame({"a": [1.0, 2], "b": [3.0, 4]})
    parts = pd.DataFrame({"a": [1.0, 2]})
    parts["b"] = [3.0, 4]
    assert of(whole) == of(parts)
    under_missing = pd.arrays.IntegerArray(np.array([1, 9]), np.array([False, True]))
    assert of(pd.Series(under_missing)) == of(pd.Series([1, None], dtype="Int64"))


def test_which_strings_are_one_object_does_not_count() -> None:
    one = "a b" * 2
    other = "".join(["a b", "a b"])
    assert one is not other
    assert of([one, one]) == of([one, other])
    assert of({"k": [one], "l": [one]}) == of({"k": [one], "l": [other]})


def test_which_lists_are_one_object_counts() -> None:
    shared: list[int] = [1]
    assert of([shared, shared]) != of([[1], [1]])
    walk, apart = Digests({}), Digests({})
    walk.of("a", shared)
    apart.of("a", [1])
    assert walk.of("b", shared) != apart.of("b", [1])


def test_cycles_end() -> None:
    def loop(last: int) -> list[Any]:
        made: list[Any] = [1, {"me": None}]
        made[1]["me"] = made
        made.append(last)
        return made

    assert of(loop(2)) == of(loop(2)) != of(loop(3))


def test_an_id_that_is_used_again_is_no_other_object() -> None:
    class Fresh:
        def __reduce__(self) -> Any:
            return (list, ([object.__new__(Plain)],))

    assert len({of([Fresh(), Fresh()]) for _ in range(20)}) == 1


@pytest.mark.parametrize("value", [threading.Lock(), (i for i in ()), {Plain(), Plain()}])
def test_what_has_no_content_that_can_be_told_is_refused(value: Any) -> None:
    with pytest.raises(Undigestible, match=f"^{type(value).__name__}: ."):
        of([value])


def test_what_is_nested_too_deeply_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep, object()]
    with pytest.raises(Undigestible, match="deep"):
        of(deep)
    while deep:  # freed a level at a time
        deep = deep[0]


# --- functions and classes -------------------------------------------------------------------
def defined(code: str) -> dict[str, Any]:
    """As in a notebook: the source of its functions is to be had."""
    import linecache

    namespace: dict[str, Any] = {"__name__": "__main__"}
    text = textwrap.dedent(code)
    filename = f"<cell {hash(text)}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    exec(compile(text, filename, "exec"), namespace)
    return namespace


def of_name(code: str, name: str = "f") -> str:
    namespace = defined(code)
    return of(namespace[name], namespace)


F = "def f(a, b=2):\n    return a + b * scale\nscale = 1"


def test_comments_and_places_of_a_function_do_not_count() -> None:
    other = """
    # here
    def f(a, b = 2):
        'Adds.'
        # what else
        return a + b*scale
    scale = 1"""
    assert of_name(F) == of_name(other)
    assert of_name(F) == of_name(F.replace("scale = 1", "scale = 5"))  # it has a name of its own


@pytest.mark.parametrize(
    "other",
    [
        F.replace("a + b", "a - b"),
        F.replace("b=2", "b=3"),
        F.replace("b=2", "b=[]"),
        F + "\nf.unit = 'm'",
        "import functools\n@functools.cache\n" + F,
    ],
)
def test_what_a_function_is_counts(other: str) -> None:
    assert of_name(F) != of_name(other)


def test_the_variables_of_a_closure_count() -> None:
    code = "def make(n):\n    def f(x):\n        return x * n\n    return f\nf = make({})"
    assert of_name(code.format(2)) == of_name(code.format(2))
    assert of_name(code.format(2)) != of_name(code.format(3))


def test_lambdas_count_by_what_they_do() -> None:
    assert of_name("f = lambda x: x + 1") == of_name("g = 1; f = (lambda x:   x + 1)")
    assert of_name("f = lambda x: x + 1") != of_name("f = lambda x: x + 2")


C = "class C(Base):\n    size = 3\n    def area(self):\n        return self.size\n"


@pytest.mark.parametrize(
    ("code", "same"),
    [
        (C.replace("return", "# how\n        return"), True),
        (C.replace("= 3", "= 4"), False),
        (C.replace("self.size", "-self.size"), False),
        (C + "    @property\n    def double(self):\n        return 2\n", False),
    ],
)
def test_classes_count_by_their_members(code: str, same: bool) -> None:
    base = "class Base:\n    pass\n"
    assert (of_name(base + C, "C") == of_name(base + code, "C")) is same
    made = [of_name(base + c + "x = C()", "x") for c in (C, code)]
    assert (made[0] == made[1]) is same


EVERYWHERE = """
import dataclasses, enum, re
import numpy as np, pandas as pd
from collections import defaultdict

@dataclasses.dataclass
class P:
    x: int = 1
    tags: set = dataclasses.field(default_factory=lambda: {"a", "b", "c"})

class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"

class Base:
    __slots__ = ("a",)
    def __init__(self):
        self.a = {"k", "l", "m"}

def f(x, y={"q", "r", "s"}):
    return x in {"one", "two", "three"}

g = lambda x: x in {"one", "two", "three"}
every = [P(), Colour.RED, Colour, Base(), f, g, re.compile("a.c"), {P: 1}, np.arange(5),
         pd.DataFrame({"a": list("xyz")}), defaultdict(list), frozenset({("a", 1), ("b", 2)})]
"""


def test_other_processes_have_the_same_digests() -> None:
    script = (
        "import sys, linecache\n"
        "from tests.client.test_digests import EVERYWHERE, defined, of\n"
        "names = defined(EVERYWHERE)\n"
        "print(*(of(v, names) for v in names['every']))\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**__import__("os").environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1
    assert len(found.pop().split()) == 12


def test_memory_that_was_hashed_already_is_not_hashed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    array = np.arange(1_000_000.0)
    packed = values.pack({"x": array}, chunked=False)
    plain = of(array)
    monkeypatch.setattr("jupyter_remote.mapping.digest_of", lambda view: pytest.fail("hashed"))
    assert Digests({}, extents_of(packed.contents.items())).of("x", array) == plain


def test_objects_of_two_notebooks_are_paired_by_their_place() -> None:
    def made() -> dict[str, Any]:
        inner = Plain(items=[1])
        return {"a": [inner, {"k": inner.items}], "b": {"x": inner, "s": {inner}}}

    mine, theirs = made(), copy.deepcopy(made())
    pairs = aligned("ab", (mine, {}), (theirs, {}))
    assert pairs[id(theirs["a"])] is mine["a"]
    assert pairs[id(theirs["b"]["x"])] is mine["a"][0]
    assert pairs[id(theirs["a"][1]["k"])] is mine["a"][0].items


def test_only_numbers_are_shown() -> None:
    shown = [text_of(v) for v in (2, True, None, 0.5, np.float64(1.5), np.int64(3))]
    assert shown == ["2", "True", "None", "0.5", "1.5", "3"]
    assert {text_of(v) for v in ("secret", b"x", 10**40, [1], np.zeros(1), np)} == {""}


class Kind(enum.Enum):
    A = 1


def test_members_of_an_enum_count_by_their_value() -> None:
    assert of(Kind.A) == of(copy.copy(Kind.A))
