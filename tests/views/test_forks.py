"""Processes that are forked from one that has a client."""

from __future__ import annotations

import multiprocessing
import os
import stat
from collections.abc import Callable
from multiprocessing.connection import Connection

import pytest

import jupyter_remote as jr
from jupyter_remote import errors
from tests.views.executor_fixtures import LIMIT_S

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
FORKED = multiprocessing.get_context("fork")


def in_fork(call: Callable[[], object]) -> object:
    """What it gives or raises in a forked process."""
    here, there = FORKED.Pipe(duplex=False)
    process = FORKED.Process(target=_told, args=(call, there))
    process.start()
    try:
        assert here.poll(LIMIT_S), "the forked process hangs"
        return here.recv()
    finally:
        process.kill()
        process.join()


def _told(call: Callable[[], object], there: Connection) -> None:
    try:
        there.send(call())
    except Exception as error:
        there.send(error)


def test_a_forked_process_is_told_to_make_a_client_of_its_own(client, one, balanced):
    calls: list[Callable[[], object]] = [
        lambda: one.apply_sync(abs, -1),
        lambda: one.map_sync(abs, [-1]),
        lambda: one.execute("1"),
        lambda: balanced.apply_sync(abs, -1),
        lambda: balanced.map_sync(abs, [-1]),
    ]
    assert [call() for call in calls[:2]] == [1, [1]]
    for call in calls:
        error = in_fork(call)
        assert isinstance(error, errors.UsageError)
        assert "jr.Client()" in error.hint
    assert one.apply_sync(abs, -2) == 2


def test_a_client_of_the_forked_process_works(one):
    name = "from-a-fork"

    def called() -> object:
        with jr.Client(namespace={}) as own:
            session = own.session(name)
            try:
                return session.apply_sync(abs, -3)
            finally:
                session.stop()

    assert one.apply_sync(abs, -2) == 2
    assert in_fork(called) == 3


def test_a_forked_process_does_not_hold_the_connections(one):
    assert one.apply_sync(abs, -2) == 2
    fileno = one._group.engines[0].connection.sock.fileno()

    def is_open() -> bool:
        try:
            return stat.S_ISSOCK(os.fstat(fileno).st_mode)
        except OSError:
            return False

    assert is_open()
    assert in_fork(is_open) is False
