"""``%remote SUBCOMMAND``: the table of subcommands, and how one is found and run."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from jupyter_remote.errors import UsageError
from jupyter_remote.notebook.options import HelpAsked, Option, Parser, no_such

if TYPE_CHECKING:
    from jupyter_remote.notebook.context import Context

Given = dict[str, Any]
Run = Callable[["Context", Given, list[str]], Any]


class Command(msgspec.Struct, frozen=True):
    """One subcommand. ``run`` gets the options that were given, and the words."""

    name: str
    run: Run
    summary: str
    words: str = ""  # how its words are called in the help
    options: tuple[Option, ...] = ()
    code: bool = False  # what follows the options is code: one word, nothing expanded in it

    def parser(self) -> Parser:
        return Parser(f"%remote {self.name}", self.summary, self.options, self.words)


MODULES = (
    "commands_backend",
    "commands_money",
    "commands_machines",
    "commands_jobs",
    "commands_code",
    "commands_sessions",
    "commands_cache",
    "commands_receipts",
    "commands_sync",
)
NAMES = [
    "connect",
    "status",
    "page",
    "doctor",
    "on",
    "off",
    "use",
    "machines",
    "balance",
    "ledger",
    "budget",
    "plan",
    "cost",
    "run",
    "notebook",
    "jobs",
    "show",
    "history",
    "logs",
    "attach",
    "result",
    "cancel",
    "rerun",
    "push",
    "pull",
    "vars",
    "sessions",
    "stop",
    "cache",
    "debug",
    "sync",
]


def commands() -> dict[str, Command]:
    """All subcommands; imported when the first is run."""
    found: dict[str, Command] = {}
    for name in MODULES:
        module = importlib.import_module(f"jupyter_remote.notebook.{name}")
        found |= {command.name: command for command in module.COMMANDS}
    return found


def run(context: Context, line: str) -> Any:
    """Runs ``SUBCOMMAND …``; what it returns is the magic's value."""
    name, _, rest = line.strip().partition(" ")
    if name in ("", "-h", "--help", "help"):
        raise HelpAsked(overview())
    command = commands().get(name)
    if command is None:
        raise no_such("subcommand", name, NAMES)
    parser = command.parser()
    if command.code:
        given, code = parser.parse_leading(rest)
        return command.run(context, given, [code])
    if context.shell is not None:
        rest = context.shell.var_expand(rest, depth=4)
    given, words = parser.parse(rest)
    return command.run(context, given, words)


def overview() -> str:
    """What ``%remote -h`` prints."""
    listed = commands()
    lines = [f"  {name:<10} {listed[name].summary}" for name in NAMES if name in listed]
    return "\n".join(["%remote SUBCOMMAND …", "", *lines, "", "%remote SUBCOMMAND -h says more"])


def one_word(words: list[str], what: str) -> str:
    """The only word of a line. Raises UsageError."""
    if len(words) != 1:
        raise UsageError(f"say one {what}" if not words else f"say only one {what}")
    return words[0]
