"""``%remote`` push, pull, vars, sessions, stop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from jupyter_remote.cards import words as say
from jupyter_remote.cards.render import machine_of
from jupyter_remote.cards.state import CardState, cost_now, elapsed_s, state_of
from jupyter_remote.errors import UsageError
from jupyter_remote.model import Status
from jupyter_remote.money.waiting import split
from jupyter_remote.notebook import quantities
from jupyter_remote.notebook.commands import Command, Given
from jupyter_remote.notebook.ids import find
from jupyter_remote.notebook.in_session import started
from jupyter_remote.notebook.options import Option
from jupyter_remote.notebook.run import run_cell
from jupyter_remote.notebook.tables import Table

if TYPE_CHECKING:
    from jupyter_remote.client.views.session import Session
    from jupyter_remote.client.views.variables import Variables
    from jupyter_remote.notebook.context import Context
    from jupyter_remote.wire import JobView

DEFAULT = "default"


def push(context: Context, given: Given, words: list[str]) -> None:
    names = _names(words)
    namespace = context.shell.user_ns
    if missing := [name for name in names if name not in namespace]:
        raise UsageError(f"there is no variable {missing[0]!r} here", hint="push sends variables")
    session = _session(context, given.get("session"), start=True)
    session.push({name: namespace[name] for name in names}, block=True)


def pull(context: Context, given: Given, words: list[str]) -> None:
    names = _names(words)
    found = _session(context, given.get("session")).pull(names, block=True)
    context.shell.user_ns.update(zip(names, found, strict=True))


def variables(context: Context, given: Given, words: list[str]) -> Variables:
    if len(words) > 1:
        raise UsageError("say one session")
    return _session(context, words[0] if words else given.get("session")).vars()


def sessions(context: Context, given: Given, words: list[str]) -> Table:
    now = time.time()
    rows = []
    for found in context.client.sessions():
        state = state_of(found.job)
        rows.append(
            [
                found.name,
                state.status if found.listening else f"{state.status}: {state.stage or 'starting'}",
                machine_of(state),
                say.duration(elapsed_s(state, now)) if state.started_at is not None else "",
                say.money(cost_now(state, now)),
                _waiting(found.job, state, now),
                say.short(state.id),
            ]
        )
    return Table(
        ["session", "status", "machine", "for", "cost", "of it waiting", "job"],
        rows,
        empty="no sessions: %%remote_run -s NAME starts one, and client.view(n) starts n",
        numbers=(3, 4, 5),
        whole=(0, 6),
    )


def _waiting(view: JobView, state: CardState, now: float) -> str:
    """How long, and for what, it waited for the next call."""
    if view.metrics is None or view.metrics.busy_s is None:
        return ""
    parts = split(cost_now(state, now), elapsed_s(state, now), view.metrics.busy_s)
    waiting = say.duration(parts.waiting_s)
    return f"{waiting}, {say.money(parts.waiting_ucredits)}" if parts.waiting_ucredits else waiting


def stop(context: Context, given: Given, words: list[str]) -> None:
    if given.get("all"):
        names = [found.name for found in context.client.sessions()]
    else:
        names = words or [_chosen(context, None)]
    for name in names:
        _session(context, name).stop()
        print(f"session {name} is stopped")
    if context.session_name in names:
        context.session_name = ""


def debug(context: Context, given: Given, words: list[str]) -> None:
    """IPython's debugger on the frames of what failed last in a session."""
    running = {s.name for s in context.client.sessions()}
    if len(words) == 1 and words[0] in running:  # of a call, which is no job
        run_cell(context, f"-s {words[0]} -d 'debug {words[0]}'", "%debug")
        return
    job = find(context, words)
    view = job.view
    if view.kind != "cell" or not view.session:
        raise UsageError(
            f"job {say.short(job.id)} did not run in a session: its process is gone",
            hint="run it with -s NAME to look into its frames afterwards",
        )
    if view.status != Status.FAILED:
        raise UsageError(f"job {say.short(job.id)} did not fail: it is {view.status}")
    name = next((s.name for s in context.client.sessions() if s.job.id == view.session), None)
    if name is None:
        raise UsageError("its session is over", hint="its frames are gone with it")
    run_cell(context, f"-s {name} -d 'debug {say.short(job.id)}'", "%debug")


def _names(words: list[str]) -> list[str]:
    names = [name for word in words for name in word.split(",") if name]
    if not names:
        raise UsageError("say which variables")
    for name in names:
        if not name.isidentifier():
            raise UsageError(f"{name!r} is not the name of a variable")
    return names


def _chosen(context: Context, name: str | None) -> str:
    """The session that is meant: the named one, the last used here, or the only one."""
    name = name or context.defaults.get("session") or context.session_name
    if name:
        return str(name)
    found = [s.name for s in context.client.sessions() if "." not in s.name]
    if len(found) == 1:
        return found[0]
    listed = f"there are {', '.join(found)}" if found else "%%remote_run -s NAME starts one"
    raise UsageError("which session?", hint=listed)


def _session(context: Context, name: str | None, *, start: bool = False) -> Session:
    try:
        chosen = _chosen(context, name)
    except UsageError:
        if not start or context.client.sessions():
            raise
        chosen = DEFAULT
    if not start and not any(s.name == chosen for s in context.client.sessions()):
        known = ", ".join(s.name for s in context.client.sessions()) or "none"
        raise UsageError(f"there is no session {chosen!r}", hint=f"sessions: {known}")
    session = context.client.session(chosen)
    context.session_name = chosen
    if start and session.job.id not in context.told_sessions:
        context.told_sessions.add(session.job.id)
        if session.is_new:
            print(started(session))
    return session


_SESSION = Option(("-s", "--session"), "which; without it the last used", "NAME", quantities.word)
_ALL = Option(("--all",), "every one")
COMMANDS = (
    Command("push", push, "send variables to a session", "NAME…", (_SESSION,)),
    Command("pull", pull, "bring variables of a session here", "NAME…", (_SESSION,)),
    Command("vars", variables, "what a session holds; fetches nothing", "[SESSION]", (_SESSION,)),
    Command(
        "debug",
        debug,
        "look into the frames of a cell that failed in a session",
        "[ID|SESSION|last]",
    ),
    Command("sessions", sessions, "sessions that run"),
    Command("stop", stop, "end a session; its variables are lost", "[SESSION…]", (_ALL,)),
)
