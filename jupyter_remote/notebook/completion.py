"""Completion of subcommands, options, machine types and job ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from jupyter_remote.errors import JupyterRemoteError
from jupyter_remote.model import Status
from jupyter_remote.notebook import context as contexts
from jupyter_remote.notebook import words
from jupyter_remote.notebook.commands import NAMES
from jupyter_remote.notebook.options import RUN_PARSER, VISIBILITIES, Parser

OF_JOBS = ("show", "history", "logs", "attach", "result", "cancel")
Words = Callable[[], Iterable[str]]


def complete_line(ipython: Any, event: Any) -> list[str]:
    """Called by IPython for a line that begins with ``%remote``."""
    before = event.text_until_cursor.lstrip()
    typed = before.split()[1:]
    if not before[-1:].isspace():
        typed = typed[:-1]
    if not typed:
        return _fitting(NAMES, event.symbol)
    name = typed[0]
    if name in OF_JOBS and not event.symbol.startswith("-"):
        return _fitting(["last", *_job_ids()], event.symbol)
    parser = _parser_of(name)
    return [] if parser is None else _of_parser(parser, typed[1:], event.symbol)


def complete_cell(ipython: Any, event: Any) -> list[str]:
    """Called by IPython for a line that begins with ``%%remote_run``."""
    before = event.text_until_cursor.lstrip()
    typed = before.split()[1:]
    if not before[-1:].isspace():
        typed = typed[:-1]
    return _of_parser(RUN_PARSER, typed, event.symbol)


def _parser_of(name: str) -> Parser | None:
    from jupyter_remote.notebook.commands import commands

    command = commands().get(name)
    return None if command is None else command.parser()


def _of_parser(parser: Parser, typed: list[str], symbol: str) -> list[str]:
    option = parser.by_flag.get(typed[-1]) if typed else None
    if option is not None and option.value:
        values = _VALUES.get(option.field)
        return [] if values is None else _fitting(values(), symbol)
    return _fitting(parser.by_flag, symbol)


def _fitting(candidates: Iterable[str], symbol: str) -> list[str]:
    return [word for word in candidates if word.startswith(symbol)]


def _machine_ids() -> list[str]:
    return [machine.id for machine in _asked(lambda: contexts.current().client.machines())]


def _gpus() -> list[str]:
    found = _asked(lambda: contexts.current().client.machines())
    return sorted({machine.gpu for machine in found if machine.gpu})


def _job_ids() -> list[str]:
    jobs = _asked(lambda: contexts.current().client.jobs(limit=50))
    return [words.short(job.id) for job in jobs]


def _asked(question: Callable[[], list[Any]]) -> list[Any]:
    """The answer; nothing where the backend does not answer: a Tab is no place for errors."""
    try:
        return question()
    except JupyterRemoteError:
        return []


def _variables() -> list[str]:
    return [name for name in contexts.current().namespace or {} if not name.startswith("_")]


_VALUES: dict[str, Words] = {
    "machine": _machine_ids,
    "gpu": _gpus,
    "visibility": lambda: VISIBILITIES,
    "env": lambda: ("auto", "none"),
    "inputs": _variables,
    "outputs": lambda: ["none", *_variables()],
    "status": lambda: [str(status) for status in Status],
}
