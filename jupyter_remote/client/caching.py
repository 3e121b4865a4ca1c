"""The key under which a result is kept: everything that it depends on, each part by its content.

Code counts by what it says, values by what they hold; packages and Python by their versions. Names
of files, places in them, comments and white space do not count, nor on which machine it runs. The
state of a random generator counts for a cell that draws from it as it finds it.
"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import inspect
import io
import platform
import sys
import tokenize
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from blake3 import blake3

from jupyter_remote import values
from jupyter_remote.client import repeatable, requirements
from jupyter_remote.client.capture import CapturedCall, CapturedCell, labels_of
from jupyter_remote.client.digests import Digests, Undigestible, extents_of, text_of
from jupyter_remote.client.environment import version_of
from jupyter_remote.client.files import CapturedFile
from jupyter_remote.client.normalised import key_of_cell, tree_of_code
from jupyter_remote.client.origin import Question, code_key_of
from jupyter_remote.contents.parts import has_identity
from jupyter_remote.reach import is_importable
from jupyter_remote.wire import CacheAsk, CachePart, JobSpec, Parcel, Segment

if TYPE_CHECKING:
    from jupyter_remote.values import Packed

AUTO = "auto"  # what a client's option says by default
UNCOUNTED = frozenset({"jupyter_remote", "__main__", "builtins"})
# State beside variables that decides on what comes out. Levels of logging, filters of warnings and
# limits do not: they would differ after any import.
STATES = ("numpy.random", "random", "torch.random")
OPTIONS: dict[str, Any] = {
    "numpy": (
        {
            "edgeitems": 3, "threshold": 1000, "floatmode": "maxprec", "precision": 8,
            "suppress": False, "linewidth": 75, "nanstr": "nan", "infstr": "inf", "sign": "-",
            "formatter": None, "legacy": False, "override_repr": None,
        },
        {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"},
    ),
    "pandas": {},
    "sklearn": {
        "assume_finite": False, "working_memory": 1024, "display": "diagram",
        "transform_output": "default", "enable_metadata_routing": False,
    },
    "matplotlib": {},
    "shell": ("last_expr", 0),
    "inline": (["png"], {"bbox_inches": "tight"}, True),
}  # fmt: skip
"""As they are where nobody set any: a part of the key only if they are otherwise."""

_told: set[tuple[str, str]] = set()  # what was said of which code


# --- what a job depends on -------------------------------------------------------------------
def for_cell(
    captured: CapturedCell,
    spec: JobSpec,
    python: str,
    name: str,
    namespace: dict[str, Any],
    environment: str = AUTO,
) -> Question:
    """Of a cell. ``python``: the code as IPython made it; ``name``: how people know it."""
    code_key = key_of_cell(python)
    shown = spec.outputs, spec.value_as, spec.quiet_progress, _is_quiet(python)
    parts = [
        CachePart("code", code_key),
        CachePart("options of the run", _digest(shown)),
        *_chosen(environment),
    ]
    walk = Digests(namespace, _extents([captured.packed]))
    things = [
        (_called(n, captured.sent[n], "input" if n in captured.direct else "global"), v)
        for n, v in ((n, captured.sent[n]) for n in names_of(captured))
    ]
    looked = functools.partial(_look, _tree(python), walk, namespace, captured.files)
    return _asked(
        name, code_key, [*_environment(captured.used, captured.files), *parts], things, walk,
        captured.files, looked, lambda draws: _states(spec.ambient, draws),
    )  # fmt: skip


def for_call(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    captured: CapturedCall,
    spec: JobSpec,
    namespace: dict[str, Any],
    environment: str = AUTO,
) -> Question:
    """Of a call."""
    code_key = code_key_of(function)
    parts = [
        CachePart("code", code_key),
        CachePart("options of the run", _digest(("call", spec.quiet_progress))),
        *_chosen(environment),
    ]
    walk = Digests(namespace, _extents([captured.function, captured.inputs]))
    things = [
        *_of_function(function, spec.name, walk, namespace),
        *((_called(n, v, "global"), v) for n, v in sorted(captured.globals.items())),
        *((f"input {n}", v) for n, v in _arguments(function, args, kwargs)),
    ]
    looked = functools.partial(_look, None, walk, namespace, captured.files)
    return _asked(
        spec.name, code_key, [*_environment(captured.used, captured.files), *parts], things, walk,
        captured.files, looked, lambda draws: [],
    )  # fmt: skip


def for_notebook(
    spec: JobSpec, data: bytes, files: Sequence[CapturedFile], environment: str = AUTO
) -> Question:
    """Of a whole notebook: what it holds but for the outputs of an earlier run."""
    notebook = msgspec.json.decode(data)
    trees = []
    for cell in notebook.get("cells", ()):
        for noise in ("outputs", "execution_count", "id"):
            cell.pop(noise, None)
        cell.get("metadata", {}).pop("execution", None)
        source = cell.get("source", "")
        text = source if isinstance(source, str) else "".join(source)
        if cell.get("cell_type") == "code" and (tree := _tree(_transformed(text))) is not None:
            trees.append(tree)
    digest = blake3(msgspec.json.encode(notebook, order="deterministic")).hexdigest()
    parts = [*_environment(repeatable.imports_of(trees), files), CachePart("notebook", digest)]
    looked = repeatable.look(None, trees, {}, [f.ref.path for f in files])
    parts += [*_of_files(files), *_chosen(environment)]
    notices = _once(digest, "notebook", looked.found)
    return Question(CacheAsk(key=_key(parts), name=spec.name, parts=parts), notices)


def _transformed(source: str) -> str:
    from jupyter_remote.client.names import plain_transform

    return plain_transform()(source)


Things = Sequence[tuple[str, Any]]


def _asked(
    name: str,
    code_key: str,
    parts: list[CachePart],
    things: Things,
    walk: Digests,
    files: Sequence[CapturedFile],
    look: Callable[[], repeatable.Look],
    states: Callable[[frozenset[str]], Iterable[CachePart]],
) -> Question:
    for label, value in things:
        try:
            parts.append(CachePart(label, walk.of(label, value), text_of(value)))
        except Undigestible as error:
            _, _, which = label.partition(" ")
            why = f"not cached: it cannot be told by its content what `{which}` is ({error})"
            return Question(None, _new(code_key, why))
    looked = look()
    parts = [*parts, *_of_files(files), *states(looked.draws)]
    ask = CacheAsk(key=_key(parts), name=name, parts=parts)
    return Question(ask, _once(code_key, "code", looked.found))


def names_of(captured: CapturedCell) -> list[str]:
    """Names whose values count. Another name for an object that counts anyway does not, unless it
    is bound to what only holds one, such as a tuple."""
    sent = captured.sent
    return sorted(n for n in sent if n not in captured.aliases or not has_identity(sent[n]))


def _called(name: str, value: object, kind: str) -> str:
    if isinstance(value, types.FunctionType | type) and not is_importable(value):
        kind = "class" if isinstance(value, type) else "function"
    return f"{kind} {name}"


def _of_function(
    function: Callable[..., Any], name: str, walk: Digests, namespace: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    """What a function is beside its code; of one that is more than that, all."""
    is_plain = isinstance(function, types.FunctionType) and not is_importable(function)
    if not is_plain or vars(function) or function.__globals__ is not namespace:
        yield f"function {name}", function
        return
    assert isinstance(function, types.FunctionType)
    walk.codes.append(function.__code__)
    variables = function.__code__.co_freevars
    for variable, cell in zip(variables, function.__closure__ or (), strict=True):
        yield f"variable {variable}", _content(cell)
    yield "defaults of the function", (function.__defaults__, function.__kwdefaults__)


def _arguments(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[tuple[str, Any]]:
    """By their parameters, also those that were left out: it is the same call."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return labels_of(function, args, kwargs)
    bound.apply_defaults()
    return list(bound.arguments.items())


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return ()


def _extents(packed: Iterable[Packed | None]) -> dict[tuple[int, int], str]:
    """Memory that was hashed when the values were packed: it is not read once more."""
    return extents_of(item for p in packed if p is not None for item in p.contents.items())


# --- environment, files, state ---------------------------------------------------------------
def _environment(used: Iterable[str], files: Iterable[CapturedFile]) -> list[CachePart]:
    version = platform.python_version()
    own = {_module_of(f.ref.path).partition(".")[0] for f in files if f.ref.module}
    roots = {name.partition(".")[0] for name in used} - own - UNCOUNTED - sys.stdlib_module_names
    versions = {name: _version(name) for name in sorted(roots)}
    packages = [CachePart(f"package {n}", v, v) for n, v in versions.items() if v]
    return [CachePart("Python", version, version), *packages]


def _chosen(environment: str) -> Iterator[CachePart]:
    """What a file names in place of the packages here."""
    if environment not in (AUTO, "none"):
        lines = requirements.read(environment, ".").lines
        yield CachePart(f"packages of {environment}", _digest(sorted(lines)), ", ".join(lines))


def _version(name: str) -> str:
    if version := version_of(name):
        return version
    if name in sys.builtin_module_names:
        return ""
    return ", ".join(f"{d} {importlib.metadata.version(d)}" for d in _distributions().get(name, ()))


@functools.lru_cache(1)
def _distributions() -> Mapping[str, list[str]]:
    """Those that a module comes from, where its name is another: takes a while."""
    return importlib.metadata.packages_distributions()


def _of_files(files: Iterable[CapturedFile]) -> Iterator[CachePart]:
    for file in files:
        path, digest = file.ref.path, file.ref.content.digest
        if not file.ref.module:
            yield CachePart(f"file {path}", digest)
        elif not path.endswith(".py"):
            yield CachePart(f"module {path}", digest)
        else:
            yield CachePart(f"module {_module_of(path)}", _module_key(digest, file.content))


def _module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


_module_keys: dict[str, str] = {}  # by the digest of the file


def _module_key(digest: str, content: Any) -> str:
    if (key := _module_keys.get(digest)) is None:
        key = _module_keys[digest] = key_of_cell(bytes(content).decode("utf-8", "replace"))
    return key


def _states(state: Mapping[str, Parcel], draws: frozenset[str]) -> Iterator[CachePart]:
    """Random state that the cell takes up, and options that were set."""
    for name, parcel in state.items():
        if name in STATES and name in draws:
            yield CachePart(f"state of {name}", _digest(_opened(parcel)))
        elif name in OPTIONS and (given := _unusual(_opened(parcel), OPTIONS[name])):
            yield CachePart(f"options of {name}", _digest(given))


def _opened(parcel: Parcel) -> Any:
    return values.unpack(parcel, _not_inline)


def _not_inline(segment: Segment) -> bytes:
    raise KeyError(segment.digest)


def _unusual(value: Any, usual: Any) -> Any:
    """What differs; nothing false counts."""
    if isinstance(usual, dict):
        return {k: v for k, v in value.items() if k not in usual or usual[k] != v} or None
    if isinstance(usual, tuple) and all(isinstance(u, dict) for u in usual):
        both = [_unusual(v, u) for v, u in zip(value, usual, strict=True)]
        return both if any(both) else None
    return None if value == usual else value


def _digest(value: Any) -> str:
    return Digests({}).of("", value)


def _key(parts: Iterable[CachePart]) -> str:
    every = sorted((part.name, part.digest) for part in parts)
    return blake3(msgspec.json.encode(every)).hexdigest()


# --- what is plainly not repeatable ----------------------------------------------------------
def _look(
    tree: ast.AST | None, walk: Digests, namespace: dict[str, Any], files: Iterable[CapturedFile]
) -> repeatable.Look:
    trees = [t for code in walk.codes if (t := tree_of_code(code)) is not None]
    return repeatable.look(tree, trees, namespace, [f.ref.path for f in files])


def _tree(python: str) -> ast.Module | None:
    try:
        return ast.parse(python)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _once(code_key: str, what: str, found: Sequence[str]) -> list[str]:
    if not found:
        return []
    told = " and ".join(found[:3]) + (f", and {len(found) - 3} more" if len(found) > 3 else "")
    return _new(code_key, f"the {what} {told}: a result from the cache is that of its run")


def _new(code_key: str, text: str) -> list[str]:
    """Said once of one code."""
    if (code_key, text) in _told:
        return []
    _told.add((code_key, text))
    return [text]


def once(text: str) -> list[str]:
    """Said once in this process."""
    return _new("", text)


def _is_quiet(python: str) -> bool:
    """Does it end in a semicolon, which keeps its value from being shown?"""
    last = ""
    try:
        for token in tokenize.generate_tokens(io.StringIO(python).readline):
            if token.string.strip() and token.type != tokenize.COMMENT:
                last = token.string
    except (tokenize.TokenError, SyntaxError):
        return False
    return last == ";"
