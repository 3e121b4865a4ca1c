"""``%remote`` plan, cost, run, notebook."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from jupyter_remote.cards import words as say
from jupyter_remote.client.origin import code_key_of
from jupyter_remote.client.plan_words import money, times
from jupyter_remote.errors import UsageError
from jupyter_remote.money.meter import amount_text, credits_text
from jupyter_remote.notebook import again, here, prepare, quantities, run, whole
from jupyter_remote.notebook.commands import Command, Given
from jupyter_remote.notebook.decorator import RemoteFunction
from jupyter_remote.notebook.options import RUN_OPTIONS, Option, RunOptions, run_options

if TYPE_CHECKING:
    from jupyter_remote.client.plan import Plan
    from jupyter_remote.notebook.context import Context

_NOT_OF_EXPRESSIONS = ("inputs", "outputs", "name", "bg", "plan")
_OPTIONS = tuple(option for option in RUN_OPTIONS if option.field not in _NOT_OF_EXPRESSIONS)
_PLANNED = tuple(option for option in _OPTIONS if option.field != "compare")
_OF_NOTEBOOKS = tuple(
    option for option in _PLANNED if option.field not in ("session", "revive", "idle_timeout")
)


def plan(context: Context, given: Given, words: list[str]) -> Plan:
    return _plan(context, given, words[0])


def cost(context: Context, given: Given, words: list[str]) -> None:
    for line in price_of(_plan(context, given, words[0])):
        print(line)


def _plan(context: Context, given: Given, code: str) -> Plan:
    """Of a call of a remote function by that function's earlier runs."""
    options, source = _options(context, given, code), _source(code)
    prepared = prepare.prepare(context, options, source, planned=True)
    if prepared is None:
        raise _nothing("plan")
    if (called := _called(context, code)) is not None:
        prepared = prepared._replace(code_key=code_key_of(called.__wrapped__))
    return prepare.plan(context, options, prepared)


def _options(context: Context, given: Given, code: str) -> RunOptions:
    own = _options_of_the_called(context, code)
    return run_options({"description": code, **own, **given}, context.defaults)


def _source(code: str) -> str:
    """A semicolon keeps the notebook from showing the value, not the value from coming."""
    return code.rstrip("; \t")


def _nothing(command: str) -> UsageError:
    return UsageError("there is no expression", hint=f"write %remote {command} train(3)")


def price_of(made: Plan) -> list[str]:
    """The price alone: an hour, what is expected and by what, and the most."""
    machine = f"{made.machine.id}{' (simulated)' if made.machine.simulated else ''}"
    run_s, prices = made.estimate.run_s, made.estimate.ucredits
    by = f", by {made.estimate.basis}" if run_s is not None else ""
    if not made.reply.rate_ucredits_per_h:
        return [f"{machine}: free{f'; takes {times(run_s)}{by}' if run_s is not None else ''}"]
    rate = made.reply.rate_ucredits_per_h
    an_hour = f"{credits_text(rate)} ({say.price(rate).removesuffix('/h')}) an hour"
    most = amount_text(made.reply.hold_ucredits)
    lines = [f"{machine}: {an_hour}, at most {most} for {say.duration(made.reply.max_run_s)}"]
    if run_s is not None and prices is not None:
        lines.append(f"expected: {money(prices)} for {times(run_s)}{by}")
    return lines


def run_line(context: Context, given: Given, words: list[str]) -> Any:
    """One expression or statement as a job; the value of an expression. With ``--resume`` alone the
    job of that id, from its checkpoint."""
    if given.get("resume") and not words[0].strip():
        return again.resume(context, given)
    if not context.enabled:
        return _run_here(context.shell, _source(words[0]))
    options = _options(context, given, words[0])
    if not run.run_code(context, options, _source(words[0]), value=True):
        raise _nothing("run")
    return context.shell.user_ns.pop(prepare.VALUE, None)


def _run_here(shell: Any, code: str) -> Any:
    name, tree = prepare.compiled(shell, code)
    if len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr):
        return here.evaluate(shell, name, tree.body[0].value)
    return here.run_cell(shell, code)


def _options_of_the_called(context: Context, code: str) -> dict[str, Any]:
    """A call of a remote function runs, and costs, as the function says."""
    if (called := _called(context, code)) is None:
        return {}
    read = {"gpu": quantities.gpu, "memory": quantities.memory_bytes, "timeout": quantities.seconds}
    fields = RunOptions.__struct_fields__
    named = {"env" if n == "environment" else n: value for n, value in called.options.items()}
    return {
        name: read[name](value) if name in read and isinstance(value, str) else value
        for name, value in named.items()
        if name in fields
    }


def _called(context: Context, code: str) -> RemoteFunction[..., Any] | None:
    """The remote function that an expression calls by its name, and no more."""
    try:
        tree = ast.parse(code.strip(), mode="eval")
    except SyntaxError:
        return None
    if not isinstance(tree.body, ast.Call) or not isinstance(tree.body.func, ast.Name):
        return None
    called = context.shell.user_ns.get(tree.body.func.id)
    return called if isinstance(called, RemoteFunction) else None


_TO = Option(("--to",), "where to write the executed notebook", "PATH")
_EXPRESSION = "EXPRESSION"
COMMANDS = (
    Command("plan", plan, "what an expression would ship and cost", _EXPRESSION, _PLANNED, True),
    Command("cost", cost, "its price alone", _EXPRESSION, _PLANNED, True),
    Command(
        "run",
        run_line,
        "run an expression as a job; with --resume alone go on with one",
        _EXPRESSION,
        _OPTIONS,
        True,
    ),
    Command("notebook", whole.run, "run a notebook as a job", "PATH", (*_OF_NOTEBOOKS, _TO)),
)
