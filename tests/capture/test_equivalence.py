"""A cell that ran elsewhere leaves the notebook as if it had run here."""

# ruff: noqa: E501  (cells are easier to read in one piece)

from __future__ import annotations

import functools
import multiprocessing
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from jupyter_remote.client.capture import capture_cell
from jupyter_remote.client.home import Arrived, Homecoming, bring_home
from jupyter_remote.wire import JobSpec, Result
from tests.capture import there

Notebook = dict[str, Any]
Elsewhere = Callable[[str, Notebook], Homecoming]


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:

        def run(source: str, namespace: Notebook) -> Homecoming:
            cell = capture_cell(source, namespace)
            contents = cell.packed.contents if cell.packed else {}
            spec = JobSpec(
                kind="cell",
                code=source,
                inputs=cell.packed.parcel if cell.packed else None,
                outputs=cell.outputs,
                assigned=cell.assigned,
                deleted=cell.deleted,
                unwatched=cell.unwatched,
                fixed=cell.fixed,
            )
            sent = {digest: bytes(view) for digest, view in contents.items()}
            arguments = (source, msgspec.json.encode(spec), sent)
            encoded, contents = pool.submit(there.run, *arguments).result(timeout=60)
            result = msgspec.json.decode(encoded, type=Result)
            assert result.value is not None
            originals = cell.numbered.__getitem__
            value = there.opened(result.value, contents, namespace, given=originals, at_home=True)
            return bring_home(namespace, result, Arrived(*value), originals, cell.sent)

        yield run


def notebook() -> Notebook:
    return {"__name__": "__main__"}


def same(here: Any, there: Any, seen: frozenset[int] = frozenset()) -> bool:
    """Equal in content, whatever the type."""
    if id(here) in seen:
        return True
    if isinstance(here, list | dict) or type(here).__module__ == "__main__":
        seen |= {id(here)}
    if isinstance(here, types.FunctionType):
        return bool(here.__code__.co_code == there.__code__.co_code)
    if isinstance(here, type | types.ModuleType):
        return bool(here.__name__ == there.__name__)
    if type(here).__name__ != type(there).__name__:
        return False
    if isinstance(here, np.ndarray):
        return bool(np.array_equal(here, there)) and here.dtype == there.dtype
    if isinstance(here, pd.DataFrame | pd.Series):
        return bool(here.equals(there))
    if isinstance(here, list | tuple):
        return len(here) == len(there) and all(
            same(a, b, seen) for a, b in zip(here, there, strict=True)
        )
    if isinstance(here, dict):
        return list(here) == list(there) and all(same(v, there[k], seen) for k, v in here.items())
    if type(here).__module__ == "__main__" and hasattr(here, "__dict__"):
        return same(vars(here), vars(there), seen)
    if isinstance(here, functools.partial):
        return same(here.func, there.func) and here.args == there.args
    return bool(here == there)


def visible(namespace: Notebook) -> Notebook:
    return {n: v for n, v in namespace.items() if not n.startswith("__")}


def aliases(namespace: Notebook) -> set[tuple[str, str]]:
    names = sorted(visible(namespace))
    mutable = [n for n in names if not isinstance(namespace[n], int | str | float | tuple)]
    return {(a, b) for a in mutable for b in mutable if a < b and namespace[a] is namespace[b]}


NOTEBOOKS = {
    "frames": [
        "import numpy as np, pandas as pd\ndf = pd.DataFrame({'a': range(5), 'b': list('vwxyz')})",
        "raw = df\nbox = {'df': df}",
        "df['c'] = df.a * 2",
        "df.loc[df.a > 2, 'c'] = -1\nlimit = 1",
        "small = df.query('a > @limit')[['a', 'c']].reset_index(drop=True)",
        "df = df.dropna().rename(columns={'a': 'A'})",
        "by = raw.groupby('c').a.sum()\nraw.attrs['seen'] = True",
        "del small",
        "s = raw['a'].copy()\ns.iloc[0] = 100",
    ],
    "arrays": [
        "import numpy as np\na = np.arange(12.0).reshape(3, 4)\nb = a\nkept = [a]",
        "a[1] = 7",
        "b *= 2",
        "a = a + 1",
        "big = np.ones(100_000)",
        "big[5] = 2\ntotal = big.sum()",
        "objects = np.array([1, 'x', None], dtype=object)",
        "objects[0] = [1]",
        "a.sort(axis=0)\nc = np.concatenate([a, b])",
        "big = big[:10]",
    ],
    "containers": [
        "items = [1, 2]\nother = items\nbox = {'items': items}\npair = (items, items)",
        "items.append(4)",
        "items = items + [5]",
        "other.extend(items)\nn = len(other)",
        "items += [6]",
        "box['items'].append('deep')",
        "nested = {'k': [1, {'x': {1, 2}}]}\ninner = nested['k'][1]\nx = inner['x']",
        "nested['k'][1]['x'].add(3)",
        "inner['y'] = nested['k']",
        "from collections import Counter, OrderedDict, defaultdict, deque\n"
        "counts, d, q, o = Counter('abca'), defaultdict(list), deque([1], 3), OrderedDict(a=1)\n"
        "held = [counts, d, q, o]",
        "counts.update('zz')\nd['k'].append(1)\nq.extend([2, 3, 4])\no.move_to_end('a')\no['b'] = 2",
        "data = bytearray(b'ab')\nsame_data = data\nchars = {'a'}\nchars2 = chars",
        "data.extend(b'c')\nchars |= {'b'}",
        "loop = [1]\nloop.append(loop)\nloop2 = loop",
        "loop.insert(0, 'first')",
        "number = 1\nanother = number\nword = 'w'\nagain = word\nt = (1, 2)\nu = t",
        "number += 1\nword += 'x'\nt += (3,)",
        "for i, item in enumerate(items[:2]): last = item",
        "rows = [[1], [2]]\nfirst = rows[0]",
        "rows.reverse()\nrows[0].append('moved')",
        "first.append('later')",
        "clear_me = list(range(5))\nview = clear_me",
        "clear_me.clear()",
    ],
    "functions": [
        "k = 3\ncalls = 0\ncache = {}",
        "def helper(x):\n    global calls\n    calls += 1\n    return x * k",
        "def outer(x):\n    return [helper(i) for i in range(x)]",
        "ys = outer(4)",
        "k = 5\nzs = outer(2)",
        "def fib(n):\n    if n not in cache:\n        cache[n] = n if n < 2 else fib(n - 1) + fib(n - 2)\n"
        "    return cache[n]",
        "f20 = fib(20)",
        "def make_counter():\n    n = 0\n    def count():\n        nonlocal n\n        n += 1\n"
        "        return n\n    return count\ncount = make_counter()",
        "count()\ncount()\nc = count()",
        "from functools import partial, wraps\n"
        "def twice(f):\n    @wraps(f)\n    def inner(*a):\n        return f(f(*a))\n    return inner",
        "@twice\ndef add_k(x): return x + k",
        "r = add_k(1)\nadd2 = partial(lambda a, b: a + b + k, 2)",
        "r2 = add2(1)",
        "k = 100\nr3 = add2(1) + add_k(0)",
        "def gen():\n    yield from range(k)\ntotal = sum(gen())",
        "def setup():\n    global made\n    made = helper(1)\nsetup()",
        "setup_again = setup\nsetup_again()",
        "def forget():\n    global made\n    del made\nforget()",
        "async def later(x):\n    return x + k\nresult = await later(1)",
        "import asyncio\nboth = await asyncio.gather(later(1), later(2))",
        "sorted_items = sorted(range(5), key=lambda v: -v * k)",
    ],
    "classes": [
        "from dataclasses import dataclass, field\n@dataclass\nclass Point:\n    x: int\n    y: int = 0\n"
        "    tags: list = field(default_factory=list)",
        "p = Point(1)\nq = p\npoints = [p, Point(2)]",
        "p.x = 10\np.tags.append('t')",
        "points[1].y = 5\nmatch_ = points[0] is p",
        "SCALE = 2.0\nclass Base:\n    def scaled(self, v): return v * SCALE",
        "class Model(Base):\n    made = 0\n    def __init__(self):\n        self.w = None\n        self.log = []\n"
        "    def fit(self, X):\n        self.w = self.scaled(X.mean(0))\n        self.log.append(len(X))\n"
        "        return self\n    def predict(self, X):\n        return X @ self.w\n"
        "    @property\n    def fitted(self): return self.w is not None",
        "import numpy as np\nX = np.arange(6.0).reshape(3, 2)\nmodel = Model()\nzoo = {'m': model}",
        "model.fit(X)",
        "pred = model.predict(X)\nok = model.fitted and zoo['m'] is model",
        "model = Model().fit(X * 2)",
        "zoo['m'].fit(X + 1)\nlog = zoo['m'].log",
        "class Node:\n    def __init__(self, up=None):\n        self.up, self.kids = up, []\n"
        "        if up: up.kids.append(self)\nroot = Node()\nleaf = Node(root)",
        "leaf.kids.append('x')\ncount = len(root.kids[0].kids)",
        "Node(root)\nkids = len(root.kids)",
        "made_there = type('Made', (), {'z': 1})",
    ],
    "flow": [
        "e = 'kept'\nx = 1",
        "try:\n    pass\nexcept ValueError as e:\n    pass",
        "try:\n    int('a')\nexcept ValueError as e:\n    message = str(e)",
        "for i in []: never = i",
        "if False: x = 2\ny = x",
        "if x: del x",
        "with open('/dev/null') as handle:\n    text = handle.read()\ndel handle",
        "import math as m, os.path\nv = m.sqrt(16)",
        "w = m.pi\nsep = os.path.join('a', 'b')",
        "squares = {n: n * n for n in range(5) if (last := n)}",
        "a, *rest = 1, 2, 3\nrest.append(a)",
        "match rest:\n    case [first, *others]: found = first",
        "sum = lambda *a: 'mine'\nfrom operator import itemgetter as ig",
        "total = sum(1, 2)\ng = ig(1)(rest)",
        "_ = 5\nfor _ in range(3): pass",
    ],
}  # fmt: skip


@pytest.mark.parametrize("title", NOTEBOOKS)
def test_a_notebook_run_elsewhere_ends_with_the_same_variables(
    title: str, elsewhere: Elsewhere
) -> None:
    local, remote = notebook(), notebook()
    for source in NOTEBOOKS[title]:
        there.execute(source, local)
        elsewhere(source, remote)
        assert sorted(visible(remote)) == sorted(visible(local)), source
        different = [n for n in visible(local) if not same(local[n], remote[n])]
        assert not different, f"{different} after {source!r}"
        assert aliases(remote) == aliases(local), source


def both(elsewhere: Elsewhere, *cells: str) -> tuple[Notebook, Notebook]:
    """The first cells run here, the last one elsewhere; and all of them here."""
    local, remote = notebook(), notebook()
    for source in cells[:-1]:
        there.execute(source, local)
        there.execute(source, remote)
    there.execute(cells[-1], local)
    elsewhere(cells[-1], remote)
    return local, remote


@pytest.mark.parametrize(
    ("before", "cell", "seen_through"),
    [
        ("x = [1]\nbox = (x,)", "x.append(2)", "box[0]"),
        ("x = {}\nbox = (x,)", "x['a'] = 1", "box[0]"),
        ("x = {1}\nbox = (x,)", "x.add(2)", "box[0]"),
        ("import numpy as np\nbase = np.zeros((4, 4))\nx = base[1]", "x[:] = 5", "base"),
        ("import numpy as np\nx = np.zeros(3)\nview = x[:2]", "x[0] = 5", "view"),
        ("import pandas as pd\nx = pd.DataFrame({'a': [1]})\nbox = [x]", "x['b'] = 2", "box[0]"),
        ("import pandas as pd\nx = pd.Series([1, 2])\nbox = [x]", "x[0] = 9", "box[0]"),
        ("class C: pass\nx = C()\nx.v = 1\nbox = [x]", "x.v = 2", "box[0].v"),
        ("x = [1]\nbox = (x,)", "x = x + [2]", "box[0]"),
        ("x = [1]\ny = x\nbox = (x,)", "y.append(x)", "box[0][0]"),
        ("rows = [[1], [2]]\nrow = rows[0]", "rows.reverse()", "row"),
        ("rows = [[1], [2]]\nrow = rows[0]", "rows[0].append(3)", "row"),
        ("d = {'a': {'b': []}}\nb = d['a']['b']", "b.append(1)", "d"),
    ],
)
def test_a_change_in_place_is_seen_through_what_was_not_sent(
    before: str, cell: str, seen_through: str, elsewhere: Elsewhere
) -> None:
    local, remote = both(elsewhere, before, cell)
    assert same(eval(seen_through, local), eval(seen_through, remote))


SHARED = {
    "an object in a list and a dict": (
        "class Player:\n    def __init__(s,n): s.name=n; s.score=0\nplayers=[Player('x')]; by_name={p.name:p for p in players}",
        "by_name['x'].score=10",
        "players[0].score",
    ),
    "an input inside a new tuple": (
        "X=[1,2]; store={'X':X}",
        "fold=(X,0)\nX.append(3)",
        "store['X'], fold",
    ),
    "a list behind a tuple": (
        "a=[]; t=(a,); d={'k':a}",
        "t[0].append(1)",
        "d",
    ),
    "a sentinel as a default": (
        "MISSING=object()\ndef f(x=MISSING): return x is MISSING",
        "r={}.get('k',MISSING)",
        "f()",
    ),
    "a function in a list": (
        "def cb(): return 1\ncallbacks=[cb]",
        "first={'cb':cb}",
        "cb in callbacks",
    ),
    "functions that share a variable": (
        "def make():\n    n=0\n    def inc():\n        nonlocal n; n+=1\n    def get(): return n\n    return inc,get\ninc,get=make()",
        "inc(); inc(); print(get())",
        "get()",
    ),
    "a method of a list": (
        "items=[]; add=items.append",
        "add(5)",
        "items",
    ),
    "a namespace in an object": (
        "from types import SimpleNamespace\nclass Trainer:\n    def __init__(s,c): s.c=c\ncfg=SimpleNamespace(lr=1); tr=Trainer(cfg)",
        "cfg.lr=2",
        "tr.c.lr, tr.c is cfg",
    ),
    "a random generator in an object": (
        "import numpy as np\nclass Trainer:\n    def __init__(s,c): s.c=c\nrng=np.random.default_rng(0); sim=Trainer(rng)",
        "x=rng.normal()",
        "sim.c is rng, sim.c.normal(), x",
    ),
    "an object with slots": (
        "from dataclasses import dataclass\n@dataclass(slots=True)\nclass P:\n    x:int=0\nps=[P()]; p0=ps[0]",
        "p0.x=5",
        "ps",
    ),
    "parts of objects that were only read": (
        "class Model:\n    def __init__(s,l): s.layers=l\nclass Opt:\n    def __init__(s,p): s.params=p\nl=[1]\nmodel=Model([l]); opt=Opt([model.layers[0]])",
        "models=[model]",
        "model.layers[0] is opt.params[0]",
    ),
    "a bound method": (
        "class R:\n    def __init__(s): s.n=0\n    def bump(s): s.n+=1\nr=R(); cbs=[r.bump]; b=r.bump",
        "b(); b()",
        "cbs[0].__self__ is r, r.n",
    ),
    "state that a class leaves out of its pickles": (
        "class DB:\n    def __init__(s): s.conn=object(); s.log=[]\n    def __getstate__(s): return {'log':s.log,'conn':None}\ndb=DB()",
        "pool=[db]; db.log.append('x')",
        "db.conn is None, db.log",
    ),
    "a traceback of an exception": (
        "try: 1/0\nexcept Exception as e: tb_err=e",
        "e2=tb_err",
        "tb_err.__traceback__ is None, e2 is tb_err",
    ),
    "arrays that overlap": (
        "import numpy as np\na=np.zeros(5); v=a[1:3]",
        "a[1]=5; v[1]=-2",
        "a",
    ),
    "a set in a tuple": (
        "s={(1,)}; fs=frozenset(s); box=(s,)",
        "s.add(2)",
        "box, fs",
    ),
    "a list with attributes": (
        "class L(list): pass\nx=L([1]); x.tag='t'; y=(x,)",
        "x.append(2); x.tag='u'",
        "y[0], y[0].tag, y[0] is x",
    ),
    "random numbers": (
        "import random\nr=random.Random(1); h=(r,)",
        "v=r.random()",
        "h[0].random(), v",
    ),
    "a cached function": (
        "import functools\n@functools.lru_cache\ndef f(x): return [x]\ng=f",
        "z=f(1)",
        "g is f, g(1)",
    ),
    "a frame and its column": (
        "import pandas as pd\ndf=pd.DataFrame({'a':[1,2]}); s=df['a']; both=(df,s)",
        "df['b']=[3,4]; df.loc[0,'a']=9",
        "both[0], s.tolist(), both[0] is df",
    ),
    "a class that registers its subclasses": (
        "class Plugin:\n    reg={}\n    def __init_subclass__(cls,**k): super().__init_subclass__(**k); Plugin.reg[cls.__name__]=cls\nclass Csv(Plugin):\n    def load(self): return 'csv'",
        "c=Csv()",
        "Plugin.reg['Csv']().load(), len(Plugin.__subclasses__())",
    ),
    "enumerations": (
        "import enum\nclass Perm(enum.Flag): R=1; W=2; X=4\nclass Planet(enum.Enum):\n    EARTH=(5,6)\n    T=(5,6)\n    def __init__(s,m,r): s.mass=m",
        "text=str(Perm.R|Perm.W), Planet.EARTH.mass",
        "text, Perm.R|Perm.X, list(Planet.__members__)",
    ),
    "a method that is replaced": (
        "class B: pass\nb=B()",
        "B.__repr__=lambda s:'p'; B.x=1",
        "b, B.x",
    ),
    "an exception with an init of its own": (
        "class MyErr(Exception):\n    def __init__(self,a,b): super().__init__(f'{a}'); self.b=b\nhist=[]",
        "loss=.5; hist.append(loss)\ntry: raise MyErr(1,2)\nexcept MyErr as e: last=e",
        "loss,hist,last.b,last.args",
    ),
}


@pytest.mark.parametrize("case", SHARED)
def test_what_is_one_object_stays_one_object(case: str, elsewhere: Elsewhere) -> None:
    before, cell, seen = SHARED[case]
    local, remote = both(elsewhere, before, cell)
    assert repr(eval(seen, remote)) == repr(eval(seen, local))
