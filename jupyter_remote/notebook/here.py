"""Cells with the toggle off: run here, with the same meaning."""

from __future__ import annotations

import ast
import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


def run_cell(shell: Any, source: str) -> None:
    """Runs a cell in this kernel; raises what it raises, shown as if it had run alone."""
    shown: list[list[str]] = []
    with _Quiet(shell, shown):
        result = _run(shell, source)
    error = result.error_before_exec or result.error_in_exec
    if error is not None:
        if shown:
            lines = shown[-1]
            error._render_traceback_ = lambda: lines
        raise error if not isinstance(error, SyntaxError) else syntax_error(shell, error)


def evaluate(shell: Any, name: str, expression: ast.expr) -> Any:
    """Its value; raises what it raises, shown without the frames of the magic. ``name`` is under
    which its source is known."""
    code = compile(ast.Expression(expression), name, "eval", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    try:
        value = eval(code, shell.user_ns)
        return in_own_loop(lambda: value) if code.co_flags & inspect.CO_COROUTINE else value
    except Exception as error:
        tb = error.__traceback__
        while tb is not None and tb.tb_frame.f_code.co_filename != name:
            tb = tb.tb_next
        lines = shell.InteractiveTB.structured_traceback(type(error), error, tb, tb_offset=0)
        error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
        raise


def syntax_error(shell: Any, error: SyntaxError) -> Exception:
    """An error that IPython shows exactly as a syntax error of a cell, without a stack of ours."""
    lines = shell.SyntaxTB.structured_traceback(type(error), error, [])
    shown = type("SyntaxError", (Exception,), {"_render_traceback_": lambda self: lines})
    made: Exception = shown(str(error))
    made.__cause__ = None
    made.__suppress_context__ = True
    return made


class _Quiet:
    """The inner cell's traceback is kept, not shown: the error goes on to the outer cell."""

    def __init__(self, shell: Any, shown: list[list[str]]) -> None:
        self._shell = shell
        self._shown = shown

    def __enter__(self) -> None:
        self._shell._showtraceback = lambda kind, value, lines: self._shown.append(lines)

    def __exit__(self, *unused: object) -> None:
        del self._shell._showtraceback


def _run(shell: Any, source: str) -> Any:
    transformed = shell.transform_cell(source)
    if not shell.should_run_async(source, transformed_cell=transformed):
        return shell.run_cell(source, store_history=False)
    return in_own_loop(
        lambda: shell.run_cell_async(source, store_history=False, transformed_cell=transformed)
    )


def in_own_loop(coroutine: Callable[[], Any]) -> Any:
    """What it gives or raises. This thread's loop is busy with the cell that calls."""
    context = contextvars.copy_context()
    ended: Future[Any] = Future()

    def run() -> None:
        try:
            ended.set_result(context.run(asyncio.run, coroutine()))
        except BaseException as error:
            ended.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return ended.result()
