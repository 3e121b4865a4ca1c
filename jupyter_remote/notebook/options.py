"""The options of ``%%remote_run``, ``%remote use`` and of the subcommands. Pure: text in, records
out; every mistake is a :class:`~jupyter_remote.errors.UsageError` that names what is valid."""

from __future__ import annotations

import difflib
import io
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from jupyter_remote.errors import UsageError
from jupyter_remote.notebook import quantities

VISIBILITIES = ("private", "unlisted", "public")


class HelpAsked(Exception):
    """``-h``: the message is the help to print."""


class Option(msgspec.Struct, frozen=True):
    """One option as it is typed."""

    flags: tuple[str, ...]
    help: str
    value: str = ""  # how its value is called in the help; empty: it takes none
    read: Callable[[str], Any] = str
    key: str = ""  # field that it sets; the long flag's name by default
    constant: Any = True  # what a flag without value sets
    many: bool = False  # takes all words up to the next option
    listed: bool = False  # takes further words after a comma: ``a, b``

    @property
    def field(self) -> str:
        return self.key or self.flags[-1].lstrip("-").replace("-", "_")

    @property
    def usage(self) -> str:
        shown = ", ".join(self.flags)
        return f"{shown} {self.value}{'…' if self.many else ''}" if self.value else shown


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a cell or an expression is to run. ``None``: not said."""

    machine: str | None = None
    gpu: tuple[str, int] | None = None
    cpus: float | None = None
    memory: int | None = None  # bytes
    inputs: list[str] | None = None
    outputs: list[str] | None = None  # []: bring nothing home
    session: str | None = None
    revive: bool = False
    idle_timeout: float | None = None  # seconds
    name: str | None = None
    bg: bool = False
    plan: bool = False
    max_cost: float | None = None  # USD
    timeout: float | None = None  # seconds
    gpu_idle: float | None = None  # seconds
    retries: int = 0
    max_attempts: int | None = None
    description: str | None = None
    visibility: str = "private"
    env: str | None = None  # auto, none, or a file
    files: list[str] = []
    quiet: bool = False
    no_progress: bool = False
    yes: bool = False
    cache: bool | None = None
    resume: str | None = None  # id of a job
    compare: list[str] | None = None  # machine types


def _outputs(text: str) -> list[str]:
    return [] if text == "none" else quantities.names(text)


def _visibility(text: str) -> str:
    if text not in VISIBILITIES:
        raise no_such("visibility", text, VISIBILITIES)
    return text


def _attempts(text: str) -> int:
    if (count := quantities.count(text)) < 1:
        raise UsageError("a job is started once at least", hint="write 1: never again by itself")
    return count


def _variable(text: str) -> str:
    if not text.isidentifier():
        raise UsageError(f"{text!r} is not the name of a variable", hint="write one name")
    return text


RUN_OPTIONS = (
    Option(("-m", "--machine"), "machine type (%remote machines); without it local", "ID"),
    Option(("--gpu",), "or say what is needed: a GPU", "NAME[:COUNT]", quantities.gpu),
    Option(("--cpus",), "cores", "N", quantities.number),
    Option(("--memory",), "memory, also the limit of the job", "16GB", quantities.memory_bytes),
    Option(("-i", "--in"), "names to ship", "a,b", quantities.names, "inputs", listed=True),
    Option(
        ("-o", "--out"),
        "names to bring back; none: nothing",
        "c,d",
        _outputs,
        "outputs",
        listed=True,
    ),
    Option(("-s", "--session"), "run in that namespace, which lasts", "NAME", quantities.word),
    Option(("--revive",), "start the session anew if it died, empty"),
    Option(("--idle-timeout",), "of a new session: ends when idle", "1h", quantities.seconds),
    Option(("-n", "--name"), "bind the job handle to VAR", "VAR", _variable),
    Option(("--bg",), "do not wait; output still lands below the cell"),
    Option(("--plan",), "show the plan, run nothing"),
    Option(("--max-cost",), "stop the job at this cost", "USD", quantities.usd),
    Option(("--timeout",), "stop the job after this time", "2h", quantities.seconds),
    Option(("--gpu-idle",), "stop it when no GPU was used for so long", "10m", quantities.seconds),
    Option(("--retries",), "runs again when the code raises", "N", quantities.count),
    Option(("--max-attempts",), "runs where workers are lost, 3 by default", "N", _attempts),
    Option(("--cache",), "take the result from the cache if it is there"),
    Option(("--no-cache",), "always run", key="cache", constant=False),
    Option(("-d", "--description"), "how the job is called in lists", "TEXT"),
    Option(("--visibility",), f"who may see it: {', '.join(VISIBILITIES)}", "WHO", _visibility),
    Option(
        ("--env",),
        "packages: those of the code, of the worker, of a file",
        "auto|none|FILE",
    ),
    Option(("--files",), "files to ship; s3://… is read over there", "PATH", many=True),
    Option(
        ("--compare",),
        "run on each of these machines and compare",
        "A,B,C",
        quantities.words,
        listed=True,
    ),
    Option(("--resume",), "start from the checkpoint of that job", "ID"),
    Option(("-q", "--quiet"), "show only what the code itself shows"),
    Option(("--no-progress",), "leave progress bars to the code, as text"),
    Option(("-y", "--yes"), "do not ask before an expensive job"),
)


class Parser:
    """Options and positional words of one magic or subcommand."""

    def __init__(
        self, usage: str, summary: str, options: Iterable[Option] = (), words: str = ""
    ) -> None:
        self.usage = usage
        self.summary = summary
        self.options = tuple(options)
        self.words = words  # how its positional words are called; empty: it takes none
        self.by_flag = {flag: option for option in self.options for flag in option.flags}

    def help(self) -> str:
        """What ``-h`` prints."""
        words = f" {self.words}" if self.words else ""
        lines = [f"{self.usage}{' [options]' if self.options else ''}{words}", "", self.summary]
        if self.options:
            width = max(len(option.usage) for option in self.options)
            lines += ["", *(f"  {o.usage:<{width}}  {o.help}" for o in self.options)]
        return "\n".join(lines)

    def parse(self, line: str) -> tuple[dict[str, Any], list[str]]:
        """The fields that were given, and the positional words."""
        given, words, _ = self._read(_words_of(line), stop_at_word=False)
        if words and not self.words:
            raise UsageError(f"{self.usage} takes no {words[0]!r}", hint=f"see {self.usage} -h")
        return given, words

    def parse_leading(self, line: str) -> tuple[dict[str, Any], str]:
        """The options before the first word, and the rest of the line untouched (code)."""
        tokens, ends = tokens_of(line)
        given, _, used = self._read(tokens, stop_at_word=True)
        return given, line[ends[used - 1] if used else 0 :].strip()

    def _read(
        self, tokens: list[str], *, stop_at_word: bool
    ) -> tuple[dict[str, Any], list[str], int]:
        given: dict[str, Any] = {}
        words: list[str] = []
        at = 0
        while at < len(tokens):
            token = tokens[at]
            if token == "--":
                words += tokens[at + 1 :]
                return given, words, at + 1
            if not is_flag(token):
                if stop_at_word:
                    break
                words.append(token)
                at += 1
                continue
            at = self._read_option(tokens, at, given)
        return given, words, at

    def _read_option(self, tokens: list[str], at: int, given: dict[str, Any]) -> int:
        """Reads the option at ``at`` into ``given``; where the next token is."""
        flag, equals, attached = tokens[at].partition("=")
        if flag in ("-h", "--help", "-?"):
            raise HelpAsked(self.help())
        option = self.by_flag.get(flag)
        if option is None:
            raise no_such("option", flag, [*self.by_flag, "-h"])
        if not option.value:
            if equals:
                raise UsageError(f"{flag} takes no value")
            given[option.field] = option.constant
            return at + 1
        values, at = self._values(option, tokens, at + 1, [attached] if equals else [])
        read = [_checked(option, flag, value) for value in values]
        value = read if option.many else read[0]
        if option.field in given and (option.many or option.listed):
            value = given[option.field] + value
        given[option.field] = value
        return at

    def _values(
        self, option: Option, tokens: list[str], at: int, values: list[str]
    ) -> tuple[list[str], int]:
        while at < len(tokens) and (option.many or not values):
            if is_flag(tokens[at]):
                break
            values.append(tokens[at])
            at += 1
        while option.listed and at < len(tokens) and "," in (values[-1][-1:], tokens[at][0]):
            values[-1] += tokens[at]
            at += 1
        if not values:
            raise UsageError(f"{option.flags[-1]} needs a value", hint=f"{option.usage}")
        return values, at


RUN_PARSER = Parser(
    "%%remote_run",
    "Run the cell as a job; what it prints, draws and displays appears below, live.",
    RUN_OPTIONS,
)


def run_options(given: Mapping[str, Any], defaults: Mapping[str, Any] = {}) -> RunOptions:
    """Given options over the notebook's defaults."""
    return RunOptions(**over(defaults, given))


def over(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A machine given by name drops the defaults of ``--gpu`` and its like and of ``--compare``,
    and the other way round: the later word on where to run wins whole."""
    needs = ("machine", "gpu", "cpus", "compare")
    said_where = any(key in given for key in needs)
    return {k: v for k, v in defaults.items() if not (said_where and k in needs)} | dict(given)


def _words_of(line: str) -> list[str]:
    tokens, ends = tokens_of(line)
    if ends and ends[-1] < 0:
        raise UsageError(f"a quotation mark is not closed: {tokens[-1]}")
    return tokens


def tokens_of(line: str) -> tuple[list[str], list[int]]:
    """Words of a magic's line, quoted as in a shell, and where each ends.

    Text with an open quotation mark is one last word that ends at -1: it may be code.
    """
    text = io.StringIO(line)
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    lexer.escape = ""  # paths on Windows
    tokens: list[str] = []
    ends: list[int] = []
    try:
        while (token := lexer.get_token()) is not None:
            tokens.append(token)
            ends.append(text.tell())
    except ValueError:
        tokens.append(line[ends[-1] if ends else 0 :].strip())
        ends.append(-1)
    return tokens, ends


def no_such(what: str, word: str, valid: Iterable[str]) -> UsageError:
    """The error for an unknown word: the nearest match and all that are valid."""
    known = list(valid)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    nearest = f"did you mean {close[0]}? " if close else ""
    return UsageError(f"there is no {what} {word!r}", hint=f"{nearest}valid: {', '.join(known)}")


def is_flag(token: str) -> bool:
    """``-3`` and a lone ``-`` are words."""
    return len(token) > 1 and token[0] == "-" and not token[1].isdigit() and token[1] != "."


def _checked(option: Option, flag: str, value: str) -> Any:
    try:
        return option.read(value)
    except UsageError as error:
        raise UsageError(f"{flag}: {error.message}", hint=error.hint) from None
