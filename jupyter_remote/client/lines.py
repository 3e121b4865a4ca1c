"""What calls imply that the AST alone does not show: magics, shell lines and code in strings.

IPython turns ``%time f(x)`` into ``get_ipython().run_line_magic('time', 'f(x)')``; the names are
in its string. So are those of ``eval("a + b")`` and ``df.query("price > @limit")``.
"""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass

# ``$name`` and ``$name.attribute`` as IPython expands them; ``$$name`` is left to the shell
DOLLAR = re.compile(r"\$(\$?[\w.]+)")
AT_NAME = re.compile(r"@([^\W\d]\w*)")
SQL_TABLE = re.compile(r"\b(?:from|join|into|table)\s+([^\W\d]\w*)", re.IGNORECASE)
EXPRESSIONS = {"pd", "pandas", "ne", "numexpr"}  # their eval() takes names of variables


@dataclass(frozen=True, slots=True)
class Code:
    """Python inside a string. ``apart``: it runs in a scope of its own, as ``%timeit`` does."""

    text: str
    apart: bool = False
    perhaps: bool = False  # it may not be Python at all


@dataclass(frozen=True, slots=True)
class Implied:
    """What a call reads and assigns beside its arguments."""

    reads: tuple[str, ...] = ()  # perhaps: no error if they are not there
    code: tuple[Code, ...] = ()
    assigns: tuple[str, ...] = ()
    deletes: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    notice: str = ""
    dynamic: bool = False  # which names it reads or assigns cannot be told


def implied_by(call: ast.Call) -> Implied | None:
    """None for an ordinary call."""
    texts = [a.value if isinstance(a, ast.Constant) else None for a in call.args]
    if isinstance(call.func, ast.Name):
        return _function(call.func.id, call, texts)
    if not isinstance(call.func, ast.Attribute):
        return None
    if _is_shell(call.func.value):
        return _shell_call(call.func.attr, texts)
    return _method(call.func, texts)


def _is_shell(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "get_ipython"
    )


def _function(name: str, call: ast.Call, texts: Sequence[object]) -> Implied | None:
    text = texts[0] if texts else None
    match name:
        case "eval" | "exec" if isinstance(text, str):
            return Implied(code=(Code(text),))
        case "eval" | "exec" if texts:
            return _unknown(f"{name}() of computed text may use any name")
        case "globals" | "locals" | "vars" | "dir" if not call.args:
            return _unknown(f"{name}() sees only the names that are sent")
        case "__import__" if isinstance(text, str):
            return Implied(imports=(text,))
        case _:
            return None


def _unknown(what: str) -> Implied:
    return Implied(
        notice=f"{what}: name what must be there with --in, and what must come back with --out.",
        dynamic=True,
    )


def _method(method: ast.Attribute, texts: Sequence[object]) -> Implied | None:
    text = next((t for t in texts if isinstance(t, str)), None)
    if text is None:
        return None
    of = method.value.id if isinstance(method.value, ast.Name) else ""
    match method.attr:
        case "eval" | "evaluate" if of in EXPRESSIONS:
            return Implied(reads=tuple(_names(text.replace("@", ""))))
        case "query" | "eval":
            return Implied(reads=tuple(AT_NAME.findall(text) + SQL_TABLE.findall(text)))
        case "sql" | "execute":
            return Implied(reads=tuple(SQL_TABLE.findall(text)))
        case "import_module":
            return Implied(imports=(text,))
        case _:
            return None


# --- IPython ---------------------------------------------------------------------------------
def _shell_call(method: str, texts: Sequence[object]) -> Implied | None:
    strings = [t for t in texts if isinstance(t, str)]
    match method, strings:
        case "system" | "getoutput", [command, *_]:
            return Implied(reads=interpolated(command))
        case "run_line_magic", [name, line, *_]:
            return line_magic(name, line)
        case "run_cell_magic", [name, line, body, *_]:
            return cell_magic(name, line, body)
        case _:
            return None


def interpolated(line: str) -> tuple[str, ...]:
    """Names in ``{expression}`` and ``$name`` of a shell line or magic."""
    try:
        parsed = list(string.Formatter().parse(line))
    except ValueError:  # braces that are the shell's own: IPython leaves the line as it is
        return ()
    names: list[str] = []
    for literal, expression, spec, _ in parsed:
        names += (m.split(".")[0] for m in DOLLAR.findall(literal) if not m.startswith("$"))
        names += _names(expression or "")
        names += interpolated(spec or "")
    return tuple(names)


def _names(expression: str) -> list[str]:
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError):
        return []
    return [n.id for n in ast.walk(tree) if isinstance(n, ast.Name)]


# options that take a value, of magics whose rest is Python
PYTHON_LINES = {"time": "", "timeit": "nrp", "prun": "DlsT", "memit": "rti", "mprun": "fT"}
NAME_LINES = {"pinfo", "pinfo2", "psource", "pdoc", "pdef", "pfile", "store", "pdb"}
OPAQUE_LINES = {"run", "who", "whos", "who_ls", "load", "macro", "recall", "rerun", "pylab"}
NOT_PYTHON = {
    "html", "HTML", "javascript", "js", "latex", "markdown", "svg", "SVG", "bash", "sh", "script",
    "cmd", "perl", "ruby", "pypy", "python", "python2", "python3", "system", "sx", "!", "writefile",
    "file", "cython", "R", "julia", "octave", "sql", "mermaid", "writetemplate",
}  # fmt: skip
OUTPUT_OPTION = re.compile(r"--(?:out|err|proc)[ =]+([^\W\d]\w*)")


def line_magic(name: str, line: str) -> Implied | None:
    if name in PYTHON_LINES:
        return Implied(code=(Code(without_options(name, line), apart=name == "timeit"),))
    if name in NAME_LINES:
        return Implied(reads=tuple(re.findall(r"[^\W\d]\w*", line)))
    if name == "xdel":
        return Implied(reads=tuple(line.split()), deletes=tuple(line.split()[-1:]))
    if name in OPAQUE_LINES:
        script = " The script goes along with --files." if name == "run" else ""
        return Implied(
            reads=interpolated(line),
            notice=f"%{name}: which names it uses cannot be told beforehand; see --in and --out."
            + script,
            dynamic=True,
        )
    return Implied(reads=interpolated(line))


def cell_magic(name: str, line: str, body: str) -> Implied | None:
    if name == "timeit":
        setup = without_options(name, line)
        return Implied(code=(Code(f"{setup}\n{body}", apart=True),))
    if name in PYTHON_LINES:
        return Implied(code=(Code(body),))
    if name == "capture":
        target = tuple(word for word in line.split() if not word.startswith("-"))
        return Implied(code=(Code(body),), assigns=target)
    reads = interpolated(line)
    if name in NOT_PYTHON:
        return Implied(reads=reads, assigns=tuple(OUTPUT_OPTION.findall(line)))
    return Implied(reads=reads, code=(Code(body, perhaps=True),))


def without_options(name: str, line: str) -> str:
    """``-n 10 -r3 f(x)`` is ``f(x)``."""
    pattern = r"\s*(?:-[a-zA-Z]\b|--[\w-]+)(?:\s+|$)"
    if with_value := PYTHON_LINES[name]:
        pattern = rf"\s*-[{with_value}]\s*\S+(?:\s+|$)|{pattern}"
    option = re.compile(pattern)
    while match := option.match(line):
        line = line[match.end() :]
    return line.strip()


def tree_of(code: Code, parse: Callable[[str], ast.Module]) -> ast.Module | None:
    """The AST of code in a string; None where it is not Python: its own run will tell."""
    try:
        return parse(code.text)
    except (SyntaxError, ValueError):
        return None
