"""Functions and classes of the notebook travel with the job's namespace as their globals."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from typing import Any

import pytest

from jupyter_remote.values import pack
from tests.values.trips import notebook, open_up, run_far, trip

FUNCTIONS = {
    "plain": ("def f(): return x", 5),
    "lambda": ("f = lambda: x", 5),
    "nested": ("def f():\n  def inner(): return x\n  return inner()", 5),
    "calls another": ("def g(): return x\ndef f(): return g()", 5),
    "closure": ("def make(n):\n  def inner(): return x + n\n  return inner\nf = make(2)", 7),
    "counter": (
        "def make():\n  n = 0\n  def inner():\n    nonlocal n\n    n += x\n    return n\n"
        "  return inner\nf = make()",
        5,
    ),
    "recursive": ("def fact(n): return 1 if n == 0 else n * fact(n - 1)\nf = lambda: fact(x)", 120),
    "mutually recursive": (
        "def even(n): return n == 0 or odd(n - 1)\n"
        "def odd(n): return n != 0 and even(n - 1)\ndef f(): return odd(x)",
        True,
    ),
    "decorated": (
        "import functools\ndef twice(g):\n  @functools.wraps(g)\n"
        "  def inner(*a): return 2 * g(*a)\n  return inner\n@twice\ndef f(): return x",
        10,
    ),
    "cached": (
        "import functools\n@functools.lru_cache(maxsize=7)\n"
        "def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)\n"
        "def f(): return fib(10), fib.cache_parameters()['maxsize'], fib.__name__",
        (55, 7, "fib"),
    ),
    "cached in a function": (
        "import functools\ndef make():\n  @functools.cache\n"
        "  def inner(): return x\n  return inner\nf = make()",
        5,
    ),
    "single dispatch": (
        "import functools\n@functools.singledispatch\ndef s(a): return 'object'\n"
        "@s.register\ndef _(a: int): return x\ndef f(): return s('') , s(1)",
        ("object", 5),
    ),
    "partial": ("import functools\nf = functools.partial(lambda a: a + x, 1)", 6),
    "defaults": ("def f(a=1, *, b=[x]): return a + b[0]", 6),
    "new type": (
        "import typing\nUser = typing.NewType('User', int)\n"
        "def f(u: User = 3) -> User: return User(u)",
        3,
    ),
    "class body in a function": ("def f():\n  class A:\n    y = x\n  return A.y", 5),
    "comprehension": ("def f(): return [x for _ in range(2)]", [5, 5]),
    "submodule": (
        "import xml\nimport xml.dom.minidom\ndef f(): return xml.dom.minidom.Node.TEXT_NODE",
        3,
    ),
    "exception class": (
        "class Bad(ValueError): pass\ndef f():\n  try: raise Bad(x)\n"
        "  except ValueError as e: return e.args",
        (5,),
    ),
    "named tuple": (
        "import collections\nP = collections.namedtuple('P', 'a b')\ndef f(): return P(x, 1).a",
        5,
    ),
}


@pytest.mark.parametrize("case", FUNCTIONS)
def test_a_function_works_in_the_namespace_it_arrives_in(case: str) -> None:
    source, expected = FUNCTIONS[case]
    home = notebook(f"x = 5\n{source}")
    f, far = trip(home["f"], home)
    assert f() == expected
    inner = getattr(f, "func", f)
    assert getattr(inner, "__wrapped__", inner).__globals__ is far


def test_only_the_globals_that_are_used_travel() -> None:
    home = notebook("x, y, secret = 1, 2, 3\ndef g(): return y\ndef f(): return x + g()")
    _, far = trip(home["f"], home)
    assert {n for n in far if not n.startswith("__")} == {"x", "y", "g"}


def test_global_statements_write_into_the_jobs_namespace() -> None:
    home = notebook("n = 0\ndef up():\n  global n\n  n += 1")
    up, far = trip(home["up"], home)
    up()
    assert (far["n"], home["n"]) == (1, 0)


def test_generators_and_coroutines_travel_as_functions() -> None:
    home = notebook(
        "x = 2\ndef gen():\n  yield x\n  yield x + 1\nasync def co(): return x\n"
        "async def agen():\n  yield x\nasync def use(): return [v async for v in agen()]"
    )
    far = trip({n: home[n] for n in ("gen", "co", "use")}, home)[0]
    assert list(far["gen"]()) == [2, 3]
    assert asyncio.run(far["co"]()) == 2
    assert asyncio.run(far["use"]()) == [2]
    assert inspect.iscoroutinefunction(far["co"])


def test_values_that_are_there_are_not_overwritten_at_home() -> None:
    home = notebook("rate = 1\ndef f(): return rate")
    packed = pack(home["f"], namespace=home)
    home["rate"] = 2
    f = open_up(packed, home)
    assert f.__globals__ is home
    assert f() == 2


def test_names_that_the_receiver_has_do_not_travel() -> None:
    home = notebook("big, small = 'b' * 100_000, 1\ndef f(): return big, small")
    packed = pack(home["f"], namespace=home, known={"big"})
    assert packed.parcel.size_bytes < 10_000
    far = notebook("big = 'there'")
    assert open_up(packed, far)() == ("there", 1)


def test_what_belongs_to_the_shell_stays_and_the_receivers_own_is_used() -> None:
    home = notebook("def f(): return get_ipython(), open")
    shell = notebook("import io, functools\n@functools.wraps(io.open)\ndef open(*a): ...")
    home.update(get_ipython=iter([]).__next__, open=shell["open"])
    f, far = trip(home["f"], home)
    assert "open" not in far
    far["get_ipython"] = lambda: "theirs"
    assert f() == ("theirs", open)


def test_an_open_of_the_users_own_replaces_that_of_the_shell() -> None:
    home = notebook("def open(): return 'mine'\ndef f(): return open()")
    far = notebook("import io, functools\n@functools.wraps(io.open)\ndef open(*a): ...")
    assert open_up(pack(home["f"], namespace=home), far)() == "mine"


def test_two_names_for_one_object_stay_one_object_also_as_a_global() -> None:
    home = notebook("data = [1]\nalias = data\ndef add(): data.append(2)")
    names, far = trip({n: home[n] for n in ("data", "alias", "add")}, home)
    assert names["data"] is names["alias"] is far["data"]
    names["add"]()
    assert names["alias"] == [1, 2]


def test_functions_of_modules_travel_by_reference() -> None:
    home = notebook("import json\nf = json.dumps")
    assert trip(home["f"], home)[0] is home["f"]


def test_without_a_namespace_functions_get_one_of_their_own() -> None:
    home = notebook("x = 4\ndef f(): return x")
    f, far = trip(home["f"])
    assert f() == 4
    assert "x" not in far


# --- classes -----------------------------------------------------------------------------------
CLASSES = """
import abc, dataclasses, enum
limit = 10
class Base:
    lr = 0.1
    registry = {}
    def __init__(self, n=1): self.n = n
    def capped(self): return min(self.n, limit)
    @property
    def double(self): return 2 * self.n
    @classmethod
    def make(cls): return cls(7)
    @staticmethod
    def top(): return limit
class Child(Base):
    def capped(self): return super().capped() + 1
@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    a: int
    b: list = dataclasses.field(default_factory=list)
class Color(enum.Enum):
    RED = 1
    BLUE = 2
    def next(self): return Color.BLUE
class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...
class Square(Shape):
    def area(self): return limit
Shape.register(int)
child, point, color, square = Child(50), Point(1), Color.RED, Square()
"""


def test_classes_work_in_another_process() -> None:
    home = notebook(CLASSES)
    source = """
assert child.capped() == 11 and child.double == 100 and Child.make().n == 7 and Child.top() == 10
assert point == type(point)(1, []) and color.next() is type(color).BLUE and square.area() == 10
assert isinstance(3, type(square).__mro__[1]) and child.capped.__globals__ is globals()
limit = 3
result = child.capped(), square.area()
child.n = 2
"""
    names = "child Child point color square"
    back = run_far(home, names, source, "child point color square result")
    assert back["result"] == (4, 3)
    assert type(back["child"]) is home["Child"]
    assert (back["child"].n, back["point"]) == (2, home["point"])
    assert back["color"] is home["Color"].RED
    assert isinstance(back["square"], home["Shape"])


def test_a_class_that_comes_home_keeps_its_methods_and_its_newer_attributes() -> None:
    home = notebook(CLASSES)
    method, property_ = home["Child"].capped, vars(home["Base"])["double"]
    packed = run_far(home, "child", "", "child")
    assert type(packed["child"]) is home["Child"]
    home["Base"].lr = 0.5
    run_far_with_old = run_far(home, "child", "type(child).note = 'added'", "child")
    assert type(run_far_with_old["child"]) is home["Child"]
    assert home["Child"].capped is method
    assert vars(home["Base"])["double"] is property_
    assert home["Base"].lr == 0.5
    assert home["Child"].note == "added"


def test_class_attributes_that_were_changed_over_there_come_home() -> None:
    home = notebook("class Config:\n  lr = 0.1\n  seen = {}\n  old = 1\n  layers = [1]")
    config = home["Config"]
    source = "Config.lr = 0.2\nConfig.seen['a'] = 1\ndel Config.old\nConfig.new = Config()"
    layers = config.layers
    assert run_far(home, "Config", source, "Config")["Config"] is config
    assert (config.lr, config.seen, hasattr(config, "old")) == (0.2, {"a": 1}, False)
    assert type(config.new) is config
    assert config.layers is layers


def test_methods_that_were_replaced_over_there_come_home() -> None:
    home = notebook(CLASSES)
    kept = home["Base"].make.__func__
    source = """
for n in range(5):
    Base.capped = eval(f"lambda self: {n}")
Base.double = property(lambda self: 'twice')
Base.top = staticmethod(lambda: 'top')
"""
    run_far(home, "Base", source, "Base")
    base = home["Base"]
    assert (base().capped(), base().double, base.top()) == (4, "twice", "top")
    assert base.make.__func__ is kept


def test_a_class_defined_over_there_comes_home_and_goes_out_again() -> None:
    home = notebook("k = 2")
    source = "class New:\n  def get(self): return k\nnew = New()"
    home.update(run_far(home, "k", source, "new New"))
    assert home["new"].get() == 2
    assert home["New"].get.__globals__ is home
    assert type(run_far(home, "new", "new.x = 1", "new")["new"]) is home["New"]


def test_a_process_that_is_reused_takes_the_notebooks_newer_definition() -> None:
    """As consecutive calls in one worker: each job has a namespace of its own."""
    source = """
import pickle
from jupyter_remote.values import pack, unpack
first = {"__name__": "__main__"}
parcels = pickle.loads(data)
one = unpack(parcels[0], None, namespace=first)
second = {"__name__": "__main__"}
two = unpack(parcels[1], None, namespace=second)
assert type(one) is type(two)
result = two.lr, two.get(), type(two).get.__globals__ is second
"""
    home = notebook("limit = 1\nclass C:\n  lr = 1\n  def get(self): return limit\nc = C()")
    parcels = [pack(home["c"], namespace=home).parcel]
    home["C"].lr = home["limit"] = 2
    parcels.append(pack(home["c"], namespace=home).parcel)
    there = notebook()
    there["data"] = pickle.dumps(parcels)
    assert run_far(there, "data", source, "result")["result"] == (2, 2, True)


def test_methods_bound_to_instances_travel_with_them() -> None:
    home = notebook(CLASSES)
    method: Any = trip(home["child"].capped, home)[0]
    assert method() == 11


SLOTTED = {
    "plain": "class A:\n  __slots__ = ('x',)\na = A()",
    "one name": "class A:\n  __slots__ = 'x'\na = A()",
    "private": (
        "class A:\n  __slots__ = ('__x',)\n  x = property(lambda self: self.__x,"
        " lambda self, x: setattr(self, '_A__x', x))\na = A()"
    ),
    "derived": (
        "class B:\n  __slots__ = ('y',)\nclass A(B):\n  __slots__ = ('x',)\na = A()\na.y = 1"
    ),
    "derived with a dict": "class B:\n  __slots__ = ('y',)\nclass A(B): pass\na = A()\na.y = 1",
    "with a dict": "class A:\n  __slots__ = ('y', '__dict__')\na = A()",
    "with weak references": "class A:\n  __slots__ = ('x', '__weakref__')\na = A()",
    "documented": "class A:\n  __slots__ = {'x': 'what it is'}\na = A()",
    "dataclass": (
        "from dataclasses import dataclass\n@dataclass(slots=True)\nclass A:\n  x: int = 0\n"
        "  y: list = None\na = A()"
    ),
    "frozen dataclass": (
        "from dataclasses import dataclass\n@dataclass(slots=True, frozen=True)\nclass A:\n"
        "  x: int = 0\na = A()"
    ),
    "named tuple": (
        "from typing import NamedTuple\nclass A(NamedTuple):\n  x: int = 0\n  y: int = 0\na = A()"
    ),
    "generic": (
        "from typing import Generic, TypeVar\nT = TypeVar('T')\nclass A(Generic[T]):\n"
        "  __slots__ = ('x',)\na = A()"
    ),
}


@pytest.mark.parametrize("case", SLOTTED)
def test_a_class_with_slots_goes_there_and_back_again(case: str) -> None:
    home = notebook(SLOTTED[case])
    cls = home["A"]
    sets = case not in ("frozen dataclass", "named tuple")
    for x in (5, 6):
        change = f"a.x = {x}" if sets else f"a = type(a)(x={x})"
        home.update(
            run_far(home, "A a", f"{change}\nb = A()\nhas = hasattr(b, '__dict__')", "a has")
        )
        assert type(home["a"]) is cls
        assert home["a"].x == x
        assert home["has"] == hasattr(home["a"], "__dict__")
    if "derived" in case:
        assert home["a"].y == 1


def test_a_tuple_without_a_dict_stays_without_one() -> None:
    home = notebook("class A(tuple): __slots__ = ()\na = A([1, 2])")
    home.update(run_far(home, "A a", "a = A([*a, hasattr(a, '__dict__')])", "a"))
    assert isinstance(home["a"], home["A"])
    assert home["a"] == (1, 2, False)
