"""``%remote`` plan, cost, run, notebook."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_remote.errors import UsageError
from jupyter_remote.notebook import here, quantities, run
from jupyter_remote.notebook import words as say
from jupyter_remote.notebook.commands import Command, Given, one_word
from jupyter_remote.notebook.decorator import RemoteFunction
from jupyter_remote.notebook.options import RUN_OPTIONS, Option, RunOptions, run_options
from jupyter_remote.notebook.show import Shown, raise_end

if TYPE_CHECKING:
    from jupyter_remote.client.plan import Plan
    from jupyter_remote.notebook.context import Context

_OPTIONS = tuple(
    option
    for option in RUN_OPTIONS
    if option.field not in ("inputs", "outputs", "name", "bg", "plan")
)


def plan(context: Context, given: Given, words: list[str]) -> Plan:
    options, prepared = _prepared(context, given, words[0])
    return run.plan(context, options, prepared)


def cost(context: Context, given: Given, words: list[str]) -> None:
    options, prepared = _prepared(context, given, words[0])
    made = run.plan(context, options, prepared)
    if not made.reply.rate_ucredits_per_h:
        print(f"{made.machine.id}: free")
        return
    an_hour = f"{100 * made.usd_per_h:,.4g} credits (${made.usd_per_h:,.4g}) an hour"
    longest = say.duration(made.reply.max_run_s)
    at_most = f"at most {made.credits:,.4g} credits (${made.price:,.4g}) for {longest}"
    print(
        f"{made.machine.id}{' (simulated)' if made.machine.simulated else ''}: {an_hour}, {at_most}"
    )


def run_line(context: Context, given: Given, words: list[str]) -> Any:
    """One expression or statement as a job; the value of an expression."""
    source = _source(context, words[0])
    if not context.enabled:
        here.run_cell(context.shell, source)
    else:
        options, prepared = _prepared(context, given, words[0])
        run.run_prepared(context, options, prepared)
    return context.shell.user_ns.pop(run.VALUE, None)


def _prepared(context: Context, given: Given, code: str) -> tuple[RunOptions, run.Prepared]:
    own = _options_of_the_called(context, code)
    options = run_options({"description": code, **own, **given}, context.defaults)
    prepared = run.prepare(context, options, _source(context, code))
    if prepared is None:
        raise UsageError("there is no code to run", hint="write %remote run train(3)")
    return options, prepared


def _options_of_the_called(context: Context, code: str) -> dict[str, Any]:
    """A call of a remote function runs, and costs, as the function says."""
    try:
        tree = ast.parse(code.strip(), mode="eval")
    except SyntaxError:
        return {}
    if not isinstance(tree.body, ast.Call) or not isinstance(tree.body.func, ast.Name):
        return {}
    called = context.shell.user_ns.get(tree.body.func.id)
    if not isinstance(called, RemoteFunction):
        return {}
    read = {"gpu": quantities.gpu, "memory": quantities.memory_bytes, "timeout": quantities.seconds}
    fields = RunOptions.__struct_fields__
    return {
        name: read[name](value) if name in read and isinstance(value, str) else value
        for name, value in called.options.items()
        if name in fields
    }


def _source(context: Context, code: str) -> str:
    """The code as a cell: the value of an expression gets a name, so that it comes home."""
    try:
        tree = ast.parse(context.shell.transform_cell(code))
    except SyntaxError as error:
        raise here.syntax_error(context.shell, error) from None
    if not tree.body:
        raise UsageError("there is no expression", hint="write %remote run train(3)")
    as_typed = code.lstrip()[:1] not in ("!", "%")  # these are IPython's only at a line's start
    if as_typed and len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr):
        return f"{run.VALUE} = (\n{code}\n)"
    return code


def notebook(context: Context, given: Given, words: list[str]) -> None:
    """Runs a notebook file; the executed one is written beside it, also when a cell failed."""
    path = Path(one_word(words, "notebook file"))
    target = Path(given.pop("to", None) or path.with_suffix(".executed.ipynb"))
    if not path.exists():
        raise UsageError(f"there is no file {path}", hint="say the path of an .ipynb file")
    options = run_options(given, context.defaults)
    named = {"description": options.description} if options.description else {}
    job = run.configured(context, options).run_notebook(path, files=options.files, **named)
    done = Shown(context, job, blocking=True).wait()
    executed = job.value_now()
    if executed is not None:
        import nbformat

        nbformat.write(executed, target)  # type: ignore[no-untyped-call]
        print(f"executed notebook: {target}")
    raise_end(context, done)


_TO = Option(("--to",), "where to write the executed notebook", "PATH")
_EXPRESSION = "EXPRESSION"
COMMANDS = (
    Command("plan", plan, "what an expression would ship and cost", _EXPRESSION, _OPTIONS, True),
    Command("cost", cost, "its price alone", _EXPRESSION, _OPTIONS, True),
    Command("run", run_line, "run an expression as a job", _EXPRESSION, _OPTIONS, True),
    Command("notebook", notebook, "run a notebook as a job", "PATH", (*_OPTIONS, _TO)),
)
