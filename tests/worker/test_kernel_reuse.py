"""Calls that share a process find it as it was, or get another one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.worker.playing_agent import PlayingAgent

pytestmark = pytest.mark.asyncio(loop_scope="module")


def handlers() -> Any:
    import signal

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, lambda *_: None)
    return [str(handler) for handler in before]


def timer() -> Any:
    import signal

    before = signal.setitimer(signal.ITIMER_REAL, 1000), signal.setitimer(signal.ITIMER_PROF, 1000)
    return [seconds for seconds, _ in before]


def descriptors() -> Any:
    import os

    before = [os.readlink(f"/proc/self/fd/{fd}") for fd in (1, 2)]
    os.close(1)
    os.dup2(os.open("/dev/null", os.O_RDWR), 2)
    return before


def umask() -> Any:
    import os

    return os.umask(0o077)


def signal_mask() -> Any:
    import signal

    return sorted(signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGINT}))


def limits() -> Any:
    import socket
    import sys

    before = sys.getrecursionlimit(), sys.getswitchinterval(), socket.getdefaulttimeout()
    sys.setrecursionlimit(5000)
    sys.setswitchinterval(1)
    socket.setdefaulttimeout(3)
    return before


def tracing() -> Any:
    import sys
    import threading

    before = sys.gettrace(), sys.getprofile(), threading.gettrace(), threading.getprofile()
    for module in (sys, threading):
        module.settrace(lambda *_: None)  # type: ignore[attr-defined]
        module.setprofile(lambda *_: None)  # type: ignore[attr-defined]
    return before


def collection() -> Any:
    import gc

    before = gc.isenabled(), gc.get_threshold()
    gc.disable()
    gc.set_threshold(5)
    return before


def temporary() -> Any:
    import tempfile

    before = tempfile.tempdir
    tempfile.tempdir = "/nowhere"
    return before


def numbers() -> Any:
    import decimal

    import numpy as np

    before = np.geterr(), np.get_printoptions(), decimal.getcontext().prec
    np.seterr(all="raise")
    np.set_printoptions(precision=2)
    decimal.getcontext().prec = 5
    return before


def logs() -> Any:
    import logging

    own, root = logging.getLogger("train"), logging.getLogger()
    other = logging.getLogger("asyncio")
    loggers = own, root, other
    before = [(g.level, len(g.handlers), g.propagate) for g in loggers], root.manager.disable
    for logger in loggers:
        logger.setLevel("DEBUG")
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
    logging.disable(logging.INFO)
    return before


def hooks() -> Any:
    import sys
    import threading
    import warnings

    shell = get_ipython()  # type: ignore[name-defined]  # noqa: F821
    before = (
        [len(called) for called in shell.events.callbacks.values()],
        shell.InteractiveTB.mode,
        [str(hook) for hook in (sys.excepthook, threading.excepthook, warnings.showwarning)],
    )
    hook = type(hooks)((lambda: None).__code__, {"__name__": "__main__"})  # as of a notebook
    shell.events.register("post_execute", hook)
    shell.InteractiveTB.set_mode("Plain")
    sys.excepthook = threading.excepthook = warnings.showwarning = print  # type: ignore
    return before


def resources() -> Any:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    return before


def captured_warnings() -> Any:
    import logging
    import warnings

    before = warnings.showwarning.__module__
    logging.captureWarnings(True)
    return [before, warnings.showwarning.__module__]


def faults() -> Any:
    import faulthandler

    before = faulthandler.is_enabled()
    faulthandler.disable()
    return before


def method() -> Any:
    import multiprocessing

    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn")
    return before


STAINS = [
    *(handlers, timer, descriptors, umask, signal_mask, limits, tracing, collection, temporary),
    *(numbers, logs, hooks, faults, method, resources, captured_warnings),
]


@pytest.mark.parametrize("stain", STAINS, ids=lambda f: f.__name__)
async def test_a_call_finds_what_the_first_one_found(
    agent: PlayingAgent, stain: Callable[[], Any]
) -> None:
    first = await agent.call(stain)
    assert first.done.ok, first.error
    second = await agent.call(stain)
    assert second.value() == first.value()
    assert not second.done.retire
    assert second.text() + second.text("stderr") == ""


async def test_what_a_library_sets_up_when_it_is_imported_stays(agent: PlayingAgent) -> None:
    def draw() -> None:
        import matplotlib.pyplot as plt

        plt.plot([1, 2])

    for _ in range(2):
        (figure,) = (await agent.call(draw)).outs("display_data")
        assert "image/png" in figure["data"]


async def test_a_logger_that_a_local_module_sets_up_when_it_is_imported_stays(
    agent: PlayingAgent,
) -> None:
    agent.place(
        {
            "helper.py": "import logging\nlog = logging.getLogger('helper')\n"
            "log.addHandler(logging.StreamHandler())\n"
        }
    )

    def say() -> None:
        from helper import log  # type: ignore[import-not-found]

        log.warning("said")

    for _ in range(2):
        assert (await agent.call(say)).text("stderr") == "said\n"


async def test_a_watchdog_of_a_call_watches_no_other(agent: PlayingAgent, tmp_path: Path) -> None:
    def arm(path: str) -> None:
        import faulthandler
        import os
        import time

        faulthandler.dump_traceback_later(0.01, repeat=True, file=open(path, "w"))  # noqa: SIM115
        while not os.path.getsize(path):
            time.sleep(0.01)

    def wait(path: str) -> bool:
        import os
        import time

        size = os.path.getsize(path)
        time.sleep(0.2)
        return os.path.getsize(path) > size

    path = str(tmp_path / "watched")
    assert (await agent.call(arm, path)).done.ok
    assert (await agent.call(wait, path)).value() is False


async def test_an_alarm_of_a_call_rings_for_nobody_else(agent: PlayingAgent) -> None:
    def arm() -> None:
        import signal

        def ring(*_: Any) -> None:
            raise TimeoutError

        signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, 0.005)

    def wait() -> None:
        import time

        time.sleep(0.02)

    for _ in range(5):
        armed = (await agent.call(arm)).done  # where it may ring
        assert armed.error is None or armed.error.ename == "TimeoutError"
        assert (await agent.call(wait)).done.ok


def leave_a_thread() -> None:
    import threading

    threading.Thread(target=threading.Event().wait, args=(60,), daemon=True).start()


def leave_a_child() -> None:
    import subprocess

    subprocess.Popen(["sleep", "60"])


def leave_a_zombie() -> None:
    import os

    if os.fork() == 0:
        os._exit(0)


def leave_an_executor() -> None:
    from concurrent.futures import ThreadPoolExecutor

    globals()["kept"] = ThreadPoolExecutor(1)
    globals()["kept"].submit(int).result()


def leave_a_tracker() -> None:
    import multiprocessing.shared_memory

    multiprocessing.shared_memory.SharedMemory(create=True, size=10).unlink()


def leave_loky() -> None:
    from joblib import Parallel, delayed

    Parallel(n_jobs=2)(delayed(abs)(i) for i in range(4))


LEFT = [
    leave_a_thread,
    leave_an_executor,
    leave_a_child,
    leave_a_zombie,
    leave_a_tracker,
    leave_loky,
]


@pytest.mark.parametrize("leave", LEFT, ids=lambda f: f.__name__)
async def test_a_process_in_which_something_goes_on_runs_no_other_call(
    agent: PlayingAgent, leave: Callable[[], None]
) -> None:
    seen = await agent.call(leave)
    assert seen.done.ok, seen.error
    assert seen.done.retire


def use_tqdm() -> None:
    from tqdm import tqdm

    list(tqdm(range(3)))


def use_a_pool() -> None:
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(1) as pool:
        pool.map(abs, [1])
        pool.close()
        pool.join()


def use_a_thread() -> None:
    import threading

    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


@pytest.mark.parametrize("use", [use_tqdm, use_a_pool, use_a_thread], ids=lambda f: f.__name__)
async def test_a_process_in_which_all_has_ended_is_used_again(
    agent: PlayingAgent, use: Callable[[], None]
) -> None:
    assert not (await agent.call(use)).done.retire
