"""Cells that run in a session: what they take along, and what stays there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jupyter_remote import errors, remotely
from jupyter_remote.cards import words
from jupyter_remote.client.capture import CapturedCell, capture_cell
from jupyter_remote.client.names import analyse
from jupyter_remote.client.shipping import is_of_the_shell
from jupyter_remote.model import Status
from jupyter_remote.notebook.sinks import has_person, kernel_of

if TYPE_CHECKING:
    from jupyter_remote.client.api import Client
    from jupyter_remote.client.views.session import Session
    from jupyter_remote.notebook.context import Context
    from jupyter_remote.notebook.options import RunOptions

PATIENCE_S = 1.0  # before it is said whose turn it is


def open_session(context: Context, client: Client, options: RunOptions) -> Session:
    """The session of ``-s``; one that is started now says how long it lasts."""
    assert options.session is not None
    idle = "1h" if options.idle_timeout is None else options.idle_timeout
    session = client.session(options.session, idle_timeout=idle, revive=options.revive)
    context.session_name = options.session
    begins = session.is_new and session.job.id not in context.told_sessions
    context.told_sessions.add(session.job.id)
    if begins and not options.quiet:
        print(started(session))
    if not begins and not (options.bg and session.job.status == Status.QUEUED):
        tell_of_move(context, session)
    return session


def tell_of_move(context: Context, session: Session) -> None:
    """Once, that it is on another machine, and what it still has."""
    attempt, there = session.restored()
    if there and (session.job.id, attempt) not in context.told_moves:
        context.told_moves.add((session.job.id, attempt))
        print(f"session {session.name} is on another machine: its last was taken away; {there}")


def started(session: Session) -> str:
    """What is told when a session begins."""
    idle = session.idle_timeout_s
    ends = (
        "ends when it is stopped" if idle is None else f"ends when idle for {words.duration(idle)}"
    )
    price = session.job.view.money
    paid = f", {words.price(price.rate_ucredits_per_h)}" if price.rate_ucredits_per_h else ""
    return (
        f"session {session.name} on {session.job.machine}{paid}: it {ends} "
        f"(--idle-timeout), or by %remote stop {session.name}; variables stay there"
    )


def capture(context: Context, session: Session, source: str, options: RunOptions) -> CapturedCell:
    """What the cell reads and only this notebook has goes along, or what ``-i`` names; functions
    that earlier cells took along go again when they are others now. Home comes what ``-o`` names.
    """
    shell = context.shell
    inputs = options.inputs
    if inputs is None:
        inputs = _absent(context, session, source)
    captured = capture_cell(
        source,
        shell.user_ns,
        inputs=inputs,
        transform=shell.transform_cell,
        folder=os.getcwd(),
        lasting=True,
    )
    if options.inputs is None:
        functions = {n: v for n in inputs if callable(v := shell.user_ns[n])}
        context.shipped.note(session.job.id, functions)
    return replace(captured, outputs=options.outputs or [])


def _absent(context: Context, session: Session, source: str) -> list[str]:
    here = context.shell.user_ns
    cell = analyse(source, context.shell.transform_cell)
    read = [n for n in cell.reads if n in here and not is_of_the_shell(n, here[n])]
    if not read:
        return []
    there = set(names_there(session, read))
    stale = context.shipped.is_stale
    return [n for n in read if n not in there or stale(session.job.id, n, here[n])]


def can_ask(shell: Any) -> bool:
    """Is there somebody who answers ``input()`` of a cell, a debugger's for example?"""
    kernel = kernel_of(shell)
    return has_person(kernel) if kernel is not None else shell is not None


def names_there(session: Session, names: Sequence[str]) -> list[str]:
    """Which names the session has. Says so when it has to wait for its turn."""
    asked = session.apply_async(remotely.names_there, list(names))
    try:
        found: list[str] = asked.get(PATIENCE_S)
    except errors.ResultNotReady:
        print(f"session {session.name} is busy{session.busy_with()}: waiting for its turn")
        found = asked.get()
    return found
