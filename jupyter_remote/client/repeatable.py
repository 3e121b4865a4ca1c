"""What in code plainly differs from run to run: clocks, random numbers without a seed, the network,
files that do not travel. A look at its AST; nothing runs."""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from jupyter_remote.client.scopes import imported_modules

Resolve = Mapping[str, Any]  # names of the notebook

CLOCKS = frozenset({
    "time.time", "time.time_ns", "time.perf_counter", "time.perf_counter_ns", "time.monotonic",
    "time.monotonic_ns", "time.process_time", "time.localtime", "time.gmtime", "time.ctime",
    "time.strftime", "datetime.datetime.now", "datetime.datetime.utcnow",
    "datetime.datetime.today", "datetime.date.today", "pandas.Timestamp.now",
    "pandas.Timestamp.today", "pandas.Timestamp.utcnow",
})  # fmt: skip
IDS = frozenset({"uuid.uuid1", "uuid.uuid4", "os.urandom", "os.getpid", "getpass.getpass", "input"})
NETWORK = frozenset({"requests", "urllib3", "httpx", "aiohttp", "socket", "http", "ftplib",
                     "smtplib", "boto3", "websockets", "paramiko"})  # fmt: skip
READERS = frozenset({
    "open", "io.open", "numpy.load", "numpy.loadtxt", "numpy.genfromtxt", "numpy.fromfile",
    "numpy.memmap", "torch.load", "joblib.load", "PIL.Image.open", "cv2.imread", "imageio.imread",
    "xarray.open_dataset", "os.listdir", "os.scandir", "os.walk", "glob.glob",
})  # fmt: skip
READING_METHODS = frozenset({"read_text", "read_bytes"})  # of a path
SHELL = frozenset({"system", "getoutput"})  # methods of IPython's shell, for ``!command``
MAGICS = {
    **dict.fromkeys(("bash", "sh", "script", "system", "sx", "pip", "conda"), "a shell command"),
    "run": "a file with %run",
}

SEEDS = {
    "random.seed": "random",
    "random.setstate": "random",
    "numpy.random.seed": "numpy.random",
    "numpy.random.set_state": "numpy.random",
    "torch.manual_seed": "torch.random",
    "torch.set_rng_state": "torch.random",
}
NO_DRAWS = frozenset({
    "random.getstate", "random.Random", "numpy.random.get_state", "numpy.random.Generator",
    "numpy.random.SeedSequence", "numpy.random.PCG64", "numpy.random.MT19937",
    "numpy.random.Philox", "numpy.random.SFC64", "torch.random.manual_seed",
})  # fmt: skip
OWN_GENERATORS = frozenset({"random.Random", "random.SystemRandom", "numpy.random.default_rng",
                            "numpy.random.RandomState", "numpy.random.SeedSequence"})  # fmt: skip
TORCH_DRAWS = frozenset({"rand", "randn", "randint", "randperm", "normal", "bernoulli",
                         "multinomial", "rand_like", "randn_like", "randint_like"})  # fmt: skip


class Look(NamedTuple):
    """What was seen."""

    found: list[str]  # "calls time.time()", "reads 'data.csv'": each once
    draws: frozenset[str]  # generators whose state it takes up as it finds it


def look(
    cell: ast.AST | None,
    functions: Iterable[ast.AST],
    names: Resolve,
    files: Iterable[str] = (),
) -> Look:
    """At a cell (None: a call) and the functions that it uses.

    Parameters
    ----------
    names: what names of the notebook mean.
    files: paths that travel along.
    """
    looker = _Looker(names, frozenset(files))
    if cell is not None:
        looker.visit(cell)
    seeded = frozenset(looker.seeded)  # by the time that functions run, as far as one can see
    for function in functions:
        looker.seeded = set(seeded)
        looker.visit(function)
    return Look(list(looker.found), frozenset(looker.draws))


class _Looker(ast.NodeVisitor):
    def __init__(self, names: Resolve, files: frozenset[str]) -> None:
        self.found: dict[str, None] = {}
        self.draws: set[str] = set()
        self.seeded: set[str] = set()
        self._names = names
        self._files = files
        self._imported: dict[str, str] = {}

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            self._imported[name] = alias.name if alias.asname else name

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self._imported[alias.asname or alias.name] = f"{node.module or ''}.{alias.name}"

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)  # arguments first, as they run
        name = self._dotted(node.func)
        if name:
            self._called(name, node)
        if isinstance(node.func, ast.Attribute):
            self._method(node.func, node)

    def _called(self, name: str, node: ast.Call) -> None:
        root, _, _ = name.partition(".")
        if name in SEEDS and (node.args or node.keywords):
            self.seeded.add(SEEDS[name])
        elif name in CLOCKS or name in IDS or root == "secrets":
            self._tell(f"calls {name}()")
        elif root in NETWORK or name.startswith("urllib.request"):
            self._tell(f"uses the network: {name}()")
        elif root == "subprocess" or name in ("os.system", "os.popen"):
            self._tell(f"runs a command: {name}()")
        elif name in OWN_GENERATORS and not (node.args or node.keywords):
            self._tell(f"draws random numbers without a seed: {name}()")
        elif (kind := _drawn(name)) is not None and kind not in self.seeded:
            self.draws.add(kind)
            self._tell(f"draws random numbers without a seed: {name}()")
        elif name in READERS or name.startswith("pandas.read_"):
            self._reads(name, node)

    def _method(self, function: ast.Attribute, node: ast.Call) -> None:
        if function.attr in READING_METHODS and not node.args:
            inner = function.value
            given = inner.args[:1] if isinstance(inner, ast.Call) else []
            self._read(given[0] if given else None)
        elif _is_shell(function.value):
            magic = node.args[0].value if _has_text(node) else ""  # type: ignore[attr-defined]
            if what := "a shell command" if function.attr in SHELL else MAGICS.get(magic):
                self._tell(f"runs {what}")

    def _reads(self, name: str, node: ast.Call) -> None:
        if name in ("open", "io.open"):
            modes = [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "mode")]
            mode = modes[0].value if modes and isinstance(modes[0], ast.Constant) else "r"
            if not str(mode).startswith("r"):
                return
        given = [*node.args[:1], *(k.value for k in node.keywords)][:1]
        self._read(given[0] if given else None)

    def _read(self, path: ast.expr | None) -> None:
        if not isinstance(path, ast.Constant) or not isinstance(path.value, str):
            if not self._files and path is not None:
                self._tell("reads files that are not named with --files")
            return
        given = path.value.removeprefix("./")
        if "://" in given:
            self._tell(f"uses the network: {given.partition('?')[0]}")
        elif given not in self._files and not any(f.startswith(f"{given}/") for f in self._files):
            self._tell(f"reads {path.value!r}, which is not named with --files")

    def _tell(self, text: str) -> None:
        self.found.setdefault(text)

    def _dotted(self, node: ast.expr) -> str:
        """``np.random.rand`` is "numpy.random.rand"; empty for what is no name of a module."""
        if isinstance(node, ast.Attribute):
            inner = self._dotted(node.value)
            return f"{inner}.{node.attr}" if inner else ""
        if not isinstance(node, ast.Name):
            return ""
        if node.id in self._imported:
            return self._imported[node.id]
        if node.id in self._names:
            return _name_of(self._names[node.id])
        return node.id if node.id in ("open", "input") else ""


_NAMED = (types.ModuleType, type, types.FunctionType, types.BuiltinFunctionType, types.MethodType)


def _name_of(value: Any) -> str:
    """Of a module, or of what a module has."""
    if not isinstance(value, _NAMED):
        return ""
    if isinstance(value, types.ModuleType):
        return value.__name__
    name = getattr(value, "__name__", "")
    owner = getattr(value, "__self__", None)
    if owner is not None and owner is getattr(sys.modules.get("random"), "_inst", None):
        return f"random.{name}"
    mtrand = getattr(getattr(sys.modules.get("numpy"), "random", None), "mtrand", None)
    if owner is not None and owner is getattr(mtrand, "_rand", None):
        return f"numpy.random.{name}"
    module = getattr(value, "__module__", None)
    if isinstance(value, type):
        return f"{module}.{value.__qualname__}"
    if name == "open" and getattr(value, "__wrapped__", None) is not None:
        return "open"  # IPython's
    known = isinstance(value, types.FunctionType | types.BuiltinFunctionType)
    return f"{module}.{name}" if known and module not in (None, "__main__") else ""


def _drawn(name: str) -> str | None:
    """The generator from which a function draws."""
    if name in NO_DRAWS or name in OWN_GENERATORS or name in SEEDS:
        return None
    module, _, function = name.rpartition(".")
    if module in ("random", "numpy.random"):
        return module
    return "torch.random" if module == "torch" and function in TORCH_DRAWS else None


def _has_text(call: ast.Call) -> bool:
    first = call.args[0] if call.args else None
    return isinstance(first, ast.Constant) and isinstance(first.value, str)


def _is_shell(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "get_ipython"


def imports_of(trees: Iterable[ast.AST]) -> Iterator[str]:
    """Modules that they import anywhere."""
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield from imported_modules(node)
