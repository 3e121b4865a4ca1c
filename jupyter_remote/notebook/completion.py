"""Completion after ``%remote`` and ``%%remote_run``: subcommands, options and their values, paths,
jobs, and in expressions what IPython completes there. Nothing else is offered."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from IPython.core.completer import SimpleCompletion, context_matcher, provisionalcompleter

from jupyter_remote.cards import words
from jupyter_remote.errors import JupyterRemoteError
from jupyter_remote.model import Status
from jupyter_remote.notebook import context as contexts
from jupyter_remote.notebook.commands import NAMES
from jupyter_remote.notebook.options import (
    RUN_PARSER,
    VISIBILITIES,
    HelpAsked,
    Option,
    Parser,
    is_flag,
    tokens_of,
)
from jupyter_remote.notebook.sharing import WAYS

LOOK_S = 1.0  # that a Tab waits for a session
PRIORITY = 1000  # before IPython's own, whose matches are then left out
_LINE = re.compile(r"\s*(?:[\w ,.\[\]]+=\s*)?%remote\s+(.*)", re.DOTALL)
_CELL = re.compile(r"%%remote_run\s+(.*)", re.DOTALL)

Words = Callable[[str], Iterable[str]]
"""What may stand in the place of a word that is typed in part."""


class Offer(NamedTuple):
    """Words for the place of ``fragment``, the text before the cursor that they replace."""

    fragment: str
    words: list[str]


@context_matcher(identifier="jupyter_remote", priority=PRIORITY)  # type: ignore[untyped-decorator]
def matcher(context: Any) -> dict[str, Any]:
    """Called by IPython at each Tab. A line of ours without a match is completed to itself: others
    would be asked else."""
    if there := of_session(context.full_text, context.cursor_line, context.text_until_cursor):
        return {
            "completions": [SimpleCompletion(word, type="remote") for word in there.words],
            "matched_fragment": there.fragment,
            "suppress": False,
        }
    offer = offered(context.text_until_cursor, context.cursor_line)
    if offer is None:
        return {"completions": [], "suppress": False}
    found = offer.words or [offer.fragment]
    return {
        "completions": [SimpleCompletion(word, type="magic") for word in found],
        "matched_fragment": offer.fragment,
        "suppress": True,
        "ordered": True,
    }


def of_session(text: str, line: int, before: str) -> Offer | None:
    """In a cell that runs in a session: names that are there, beside those of the notebook."""
    head, _, _ = text.partition("\n")
    if line == 0 or not (cell := _CELL.fullmatch(head)) or before.lstrip()[:1] in ("%", "!"):
        return None
    context = contexts.current()
    try:
        given, _ = RUN_PARSER.parse(cell[1])
        name = given.get("session") or context.defaults.get("session")
        if not name or (session := context.client.known_session(str(name))) is None:
            return None
        fragment, found = session.complete(before, timeout=LOOK_S)
    except (JupyterRemoteError, HelpAsked):
        return None
    return Offer(fragment, found)


def offered(before: str, line: int = 0) -> Offer | None:
    """What may follow the text before the cursor; None: it is no line of ours."""
    if line == 0 and (cell := _CELL.fullmatch(before)):
        return _arguments(RUN_PARSER, cell[1])
    if (found := _LINE.fullmatch(before)) is None:
        return None
    name, space, rest = found[1].partition(" ")
    if not space:
        return _fitting(NAMES, name)
    from jupyter_remote.notebook.commands import commands

    if (command := commands().get(name)) is None:
        return Offer("", [])
    if command.code and (code := _code_in(command.parser(), rest)) is not None:
        return _of_code(code)
    return _arguments(command.parser(), rest, _POSITIONAL.get(name))


def _arguments(parser: Parser, rest: str, positional: Words | None = None) -> Offer:
    typed = rest.split()
    fragment = "" if rest[-1:].isspace() or not typed else typed.pop()
    flag, equals, value = fragment.partition("=")
    if equals and (option := parser.by_flag.get(flag)) is not None:
        return _of_option(option, value)
    if is_flag(fragment) or fragment == "-":
        return _flags(parser, fragment)
    if (option := _open_option(parser, typed)) is not None:
        return _of_option(option, fragment)
    return _fitting(positional(fragment), fragment) if positional else _flags(parser, fragment)


def _flags(parser: Parser, fragment: str) -> Offer:
    ready = [f for option in parser.options for f in option.flags]
    return _fitting(ready, fragment)


def _open_option(parser: Parser, typed: list[str]) -> Option | None:
    """The option that takes the next word as its value."""
    for distance, word in enumerate(reversed(typed)):
        if is_flag(word):
            option = parser.by_flag.get(word)
            takes = option is not None and option.value and (distance == 0 or option.many)
            return option if takes else None
    return None


def _of_option(option: Option, fragment: str) -> Offer:
    values = _VALUES.get(option.field)
    if option.listed:
        fragment = fragment.rpartition(",")[2]
    return _fitting(values(fragment), fragment) if values else Offer(fragment, [])


def _fitting(candidates: Iterable[str], fragment: str) -> Offer:
    return Offer(fragment, [word for word in candidates if word.startswith(fragment)])


# -- expressions
def _code_in(parser: Parser, line: str) -> str | None:
    """The expression behind the options; None: the cursor is among them."""
    tokens, ends = tokens_of(line)
    at = 0
    while at < len(tokens) and is_flag(tokens[at]):
        flag, equals, _ = tokens[at].partition("=")
        option = parser.by_flag.get(flag)
        at += 2 if option is not None and option.value and not equals else 1
    if at > len(tokens) or (0 < at == len(tokens) and not line[-1:].isspace()):
        return None
    return line[ends[at - 1] if at else 0 :].lstrip()


def _of_code(code: str) -> Offer:
    """What IPython completes in a cell of this code."""
    if not code:
        return Offer("", _variables(""))
    completer = contexts.current().shell.Completer
    with provisionalcompleter():
        found = list(completer.completions(code, len(code)))
    begin = found[0].start if found else len(code)
    return Offer(code[begin:], [match.text for match in found if match.start == begin])


# -- values
def _machine_ids(fragment: str) -> list[str]:
    return [machine.id for machine in _asked(lambda: contexts.current().client.machines())]


def _gpus(fragment: str) -> list[str]:
    found = _asked(lambda: contexts.current().client.machines())
    return sorted({machine.gpu for machine in found if machine.gpu})


def _job_ids(fragment: str) -> list[str]:
    jobs = _asked(lambda: contexts.current().client.jobs(limit=50))
    return ["last", *(words.short(job.id) for job in jobs)]


def _asked(question: Callable[[], list[Any]]) -> list[Any]:
    """The answer; nothing where the backend does not answer: a Tab is no place for errors."""
    try:
        return question()
    except JupyterRemoteError:
        return []


def _variables(fragment: str) -> list[str]:
    return [name for name in contexts.current().namespace or {} if not name.startswith("_")]


def _sessions(fragment: str) -> list[str]:
    return [found.name for found in _asked(lambda: contexts.current().client.sessions())]


def _remote_names(fragment: str) -> list[str]:
    """Of the session that was used last."""
    context = contexts.current()
    name = context.session_name

    def names() -> list[str]:
        session = context.client.known_session(name) if name else None
        return [] if session is None else session.complete(fragment, timeout=LOOK_S)[1]

    return [name for name in _asked(names) if name.isidentifier()]


def _paths(fragment: str) -> list[str]:
    """Files and folders; hidden ones where a dot is typed."""
    folder, _, name = fragment.rpartition("/")
    folder = f"{folder}/" if "/" in fragment else ""
    try:
        entries = sorted(os.scandir(os.path.expanduser(folder) or "."), key=lambda e: e.name)
    except OSError:
        return []
    seen = [e for e in entries if e.name[:1] != "." or name[:1] == "."]
    return [f"{folder}{e.name}{'/' if e.is_dir() else ''}" for e in seen]


def _notebooks(fragment: str) -> list[str]:
    return [path for path in _paths(fragment) if path.endswith((".ipynb", "/"))]


def _of_module(name: str, words: str) -> Iterable[str]:
    """Words that a module of subcommands knows; imported with them, not with the extension."""
    found: Iterable[str] = vars(importlib.import_module(f"jupyter_remote.notebook.{name}"))[words]
    return found


_VALUES: dict[str, Words] = {
    "machine": _machine_ids,
    "compare": _machine_ids,
    "gpu": _gpus,
    "visibility": lambda _: VISIBILITIES,
    "share": lambda _: WAYS,
    "env": lambda _: ("auto", "none"),
    "inputs": _variables,
    "outputs": lambda _: ["none", *_variables("")],
    "status": lambda _: [str(status) for status in Status],
    "files": _paths,
    "to": _paths,
    "session": _sessions,
    "resume": _job_ids,
    "sort": lambda _: _of_module("commands_machines", "SORTS"),
}
_POSITIONAL: dict[str, Words] = {
    "notebook": _notebooks,
    "rerun": lambda fragment: [*_job_ids(fragment), *_notebooks(fragment)],
    "push": _variables,
    "cache": lambda _: _of_module("commands_cache", "ACTIONS"),
    "budget": lambda _: _of_module("commands_money", "SCOPES"),
    **dict.fromkeys(("vars", "stop"), _sessions),
    "pull": _remote_names,
    **dict.fromkeys(("show", "history", "logs", "attach", "result", "cancel"), _job_ids),
}
