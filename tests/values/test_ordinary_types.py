"""What notebooks ordinarily define goes to another process and comes home as what it was."""

from __future__ import annotations

import types

from jupyter_remote.values import fingerprint, why_not
from tests.values.trips import notebook, run_far

SOURCE = """
import abc, array, collections, contextlib, dataclasses, datetime, decimal
import enum, functools, itertools, logging, operator, pathlib, random
import re, string, threading, types, typing, uuid, zoneinfo
import numpy as np, pandas as pd

K = 3


class CP:
    @functools.cached_property
    def v(self):
        return K

    @functools.singledispatchmethod
    def sd(self, a):
        return "o"

    @sd.register
    def _(self, a: int):
        return K


cp = CP()
cp2 = CP()
cp2.v


class TD(typing.TypedDict):
    a: int


class Pr(typing.Protocol):
    def go(self) -> int: ...


T = typing.TypeVar("T")


class G(typing.Generic[T]):
    def __init__(self, x: T):
        self.x = x


g = G[int](3)
P = typing.ParamSpec("P")


def deco(f: typing.Callable[P, T]) -> typing.Callable[P, T]:
    return f


@deco
def dd():
    return K


@contextlib.contextmanager
def cm():
    yield K


class Fl(enum.Flag):
    A = 1
    B = 2


class IE(enum.IntEnum):
    A = 1


class SE(enum.StrEnum):
    A = "x"


fl = Fl.A | Fl.B


class Meta(type):
    def __new__(m, n, b, d, **k):
        return super().__new__(m, n, b, d)

    def __call__(c, *a):
        return super().__call__(*a)


class WithMeta(metaclass=Meta, opt=1):
    def f(self):
        return K


class Slots:
    __slots__ = ("a", "__dict__")

    def __init__(self):
        self.a = K


class SlotsW:
    __slots__ = ("a", "__weakref__")


class Desc:
    def __set_name__(self, o, n):
        self.n = n

    def __get__(self, i, o):
        return K


class UsesDesc:
    d = Desc()


class ISub:
    subs = []

    def __init_subclass__(cls, **k):
        ISub.subs.append(cls.__name__)


class ISub2(ISub):
    pass


class L(list):
    def top(self):
        return K


class DD(dict):
    pass


class Arr(np.ndarray):
    pass


class Err(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a}{b}")
        self.a = a


err_ok = ValueError("x")
eg = ExceptionGroup("g", [ValueError(1)])
defd = collections.defaultdict(lambda: K)


@dataclasses.dataclass(order=True, kw_only=True)
class DC:
    x: int = 1
    y: list[int] = dataclasses.field(default_factory=list)
    z: dataclasses.InitVar[int] = 3


@dataclasses.dataclass
class DCC(DC):
    w: "str" = "a"


NT = typing.NamedTuple("NT", [("a", int)])


class NT2(typing.NamedTuple):
    a: int
    b: str = "x"

    def m(self):
        return K


df = pd.DataFrame({"a": [1, 2, 1], "b": [1.0, 2, 3]})
gb = df.groupby("a")


class Outer:
    class Inner:
        def f(self):
            return K


oi = Outer.Inner()


def gen():
    yield K


async def co():
    return K


fv = np.vectorize(lambda a: a + K)


def kwonly(a, /, b, *, c=K, **d):
    return a, b, c, d


def with_type(x: "np.ndarray" = None) -> pd.DataFrame:
    return K


class Op:
    def __eq__(self, o):
        return True

    __hash__ = None


class Sing:
    _inst = None

    def __new__(cls):
        if cls._inst is None:
            cls._inst = super().__new__(cls)
        return cls._inst


sing = Sing()


class Lk:
    def __init__(self):
        self.lock = threading.Lock()

    def __getstate__(self):
        return {}

    def __setstate__(self, s):
        self.lock = threading.Lock()


lk = Lk()
rx = re.compile("a+")
dt = datetime.datetime.now(zoneinfo.ZoneInfo("UTC"))
rnd = random.Random(1)
lg = logging.getLogger("x")
dec = decimal.Decimal("1.1")
u = uuid.uuid4()
ig = operator.itemgetter(1)
ns = types.SimpleNamespace(a=1)
ar = array.array("d", [1.0])
ch = itertools.chain([1], [2])
cnt = itertools.count(3)
p = pathlib.Path("x")
rng = np.random.default_rng(1)
chain_map = collections.ChainMap({1: 2})
dq = collections.deque([1], 3)
gen_alias = list[int]
opt = typing.Optional[int]
ann = typing.Annotated[int, "x"]
sl = slice(1, 2)
ellipsis_ = ...
ni = NotImplemented
keys = {1: 2}.keys()
prop = property(lambda s: 1)
bm = [].append
ufunc = np.sin
dtype = np.dtype("f8")
timed = pd.Timedelta("1s")
ts = pd.Timestamp("2026")
na = pd.NA
fp = np.float32(1)
ma = np.ma.masked
tmpl = string.Template("$x")
thr_evt_type = threading.Event
mapping = types.MappingProxyType({1: 2})
union = int | None
it = iter([1, 2, 3])
zp = zip([1], [2])
mp = map(str, [1])
en = enumerate([1])
"""
NAMESPACE = notebook(SOURCE)
NAMES = [
    name
    for name, value in NAMESPACE.items()
    if not name.startswith("__") and not isinstance(value, types.ModuleType)
]


def test_ordinary_definitions_can_travel() -> None:
    reasons = {name: why_not(NAMESPACE[name], NAMESPACE) for name in NAMES}
    assert {name: why for name, why in reasons.items() if why} == {}


def test_their_fingerprints_are_stable() -> None:
    first, second = (
        {name: fingerprint(NAMESPACE[name], NAMESPACE) for name in NAMES} for _ in range(2)
    )
    assert {name for name in NAMES if first[name] != second[name]} == set()


def test_ordinary_definitions_come_home_as_what_they_were() -> None:
    used = """
assert cp.v == 3 and vars(cp2) == {"v": 3} and cp.sd(1) == 3 and cp.sd("") == "o"
assert fl == Fl(3) and oi.f() == 3 and fv(1) == 4 and lk.lock and Sing() is sing
assert DC(x=1) < DC(x=2) and DCC(w="b") == DCC(w="b") and NT2(1).m() == 3
assert WithMeta().f() == 3 and Slots().a == 3 and dd() == 3 and defd[0] == 3
with cm() as k:
    assert k == 3
"""
    back = run_far(NAMESPACE, " ".join(NAMES), used, " ".join(NAMES))
    for name in NAMES:
        sent = NAMESPACE[name]
        assert type(back[name]) is type(sent), name
        assert not isinstance(sent, type) or back[name] is sent, name
