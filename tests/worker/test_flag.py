"""Events that signal handlers may set, and a writer that they may use."""

from __future__ import annotations

import faulthandler
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jupyter_remote.worker import channel
from jupyter_remote.worker.flag import Flag
from jupyter_remote.worker.outputs import Writer

LIMIT_S = 20.0


@contextmanager
def alarms(handler: object) -> Iterator[None]:
    """It is called all the time in the main thread; a deadlock ends the tests."""
    before = signal.signal(signal.SIGALRM, handler)  # type: ignore[arg-type]
    faulthandler.dump_traceback_later(LIMIT_S, exit=True)
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.00005)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)


def test_whoever_waits_is_woken_and_the_flag_stays() -> None:
    flag = Flag()
    threads = [threading.Thread(target=flag.wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    flag.set()
    for thread in threads:
        thread.join(LIMIT_S)
        assert not thread.is_alive()
    assert flag.wait(0)
    flag.clear()
    assert not flag.is_set()


def test_who_waits_for_so_long_is_told_that_it_was_not_set() -> None:
    flag = Flag()
    assert not flag.wait(0.01)
    assert not flag._waiting


def test_a_flag_is_set_and_waited_for_by_threads_without_one_missing_it() -> None:
    ping, pong = Flag(), Flag()

    def answer() -> None:
        for _ in range(2000):
            assert ping.wait(LIMIT_S)
            ping.clear()
            pong.set()

    thread = threading.Thread(target=answer)
    thread.start()
    for _ in range(2000):
        ping.set()
        assert pong.wait(LIMIT_S)
        pong.clear()
    thread.join(LIMIT_S)
    assert not thread.is_alive()


@pytest.mark.timeout(60)
def test_a_signal_handler_may_speak_in_the_midst_of_what_its_thread_says() -> None:
    ours, theirs = socket.socketpair()
    heard = bytearray()

    def listen() -> None:
        while data := theirs.recv(1 << 16):
            heard.extend(data)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    writer, said = Writer(ours), 0

    def speak(*_: object) -> None:
        nonlocal said
        said += 1
        writer.tell_agent(channel.Saved(why="periodic"))

    with alarms(speak):
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            writer.send(channel.Stage("executing"), urgent=True)
            writer.text("stdout", "x")
            writer.flush()
    writer.send(channel.Stage("done"), urgent=True)
    writer.flush()
    end = time.monotonic() + LIMIT_S
    while b"done" not in heard:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert said
    assert heard.count(b"periodic") == said
    theirs.shutdown(socket.SHUT_RDWR)
    listener.join(LIMIT_S)
    ours.close()
    theirs.close()
