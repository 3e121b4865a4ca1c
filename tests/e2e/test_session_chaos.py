"""A session's kernel, the agent or the server is killed in the middle of calls: nobody hangs.

``python -m tests.e2e.session_chaos`` makes more calls.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

import jupyter_remote as jr
from tests.e2e.session_chaos import LIMIT_S, run
from tests.e2e.test_crashes import agent_of
from tests.e2e.waiting import gone, until


def wait_there(begun: str, gate: str) -> int:
    import os
    import time

    print("begun", flush=True)
    open(begun, "w").close()
    while not os.path.exists(gate):
        time.sleep(0.01)
    return os.getpid()


def test_each_call_ends_with_a_value_or_a_named_error_whenever_a_worker_dies(fresh_home):
    storm = run(calls=120, seed=5)
    assert storm.ends["named error"] >= 3
    assert storm.ends["value"] >= 60


def test_calls_of_a_session_whose_agent_is_killed_end_with_a_named_error(client, tmp_path):
    session = client.session("lab")
    kernel = session.apply_sync(os.getpid)
    agent = agent_of(client.info().pid)
    running = session.apply_async(wait_there, str(tmp_path / "begun"), str(tmp_path / "never"))
    waiting = [session.apply_async(abs, -n) for n in range(100)]
    until((tmp_path / "begun").exists)
    os.kill(agent, signal.SIGKILL)
    begun = time.monotonic()
    for result in (running, *waiting):
        with pytest.raises(jr.EngineError):
            result.get(timeout=LIMIT_S + 5)
    assert time.monotonic() - begun < LIMIT_S + 5
    until(lambda: gone(kernel))
    again = client.session("lab", revive=True)
    assert again.apply_sync(abs, -3) == 3
    again.stop()


def test_calls_go_on_while_the_server_is_killed_and_comes_back(client, tmp_path):
    session = client.session("lab")
    session["x"] = 41
    pid = session.apply_sync(os.getpid)
    gate = tmp_path / "gate"
    running = session.apply_async(wait_there, str(tmp_path / "begun"), str(gate))
    until((tmp_path / "begun").exists)
    backend = client.info().pid
    os.kill(backend, signal.SIGKILL)
    until(lambda: gone(backend))
    gate.touch()
    assert running.get(timeout=LIMIT_S) == pid
    assert session["x"] == 41
    assert client.info().pid != backend  # another one was started
    with jr.Client() as other:  # which is told again where the session listens
        found = other.session("lab")
        assert found.apply_sync(os.getpid) == pid
        assert found["x"] == 41
    session.stop()
    until(lambda: gone(pid))


def test_a_session_that_died_is_told_with_what_was_lost(client):
    session = client.session("lab")
    session.execute("import numpy as np; X = np.zeros((3, 3)); model = {'a': 1}", block=True)
    pid = session.apply_sync(os.getpid)
    held = "held: X (ndarray 3×3), model (dict 1)"
    session.apply_sync(time.sleep, 1.2)  # what it holds is told once a second at most
    session.apply_sync(abs, 1)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(jr.EngineError, match="is gone: killed by SIGKILL") as caught:
        session.apply_async(abs, -1).get(timeout=LIMIT_S)
    assert held in str(caught.value)
    with pytest.raises(jr.EngineError) as caught:  # not silently an empty one
        client.session("lab")
    assert held in str(caught.value)


def test_an_idle_session_says_that_nobody_used_it(client):
    session = client.session("lab", idle_timeout=0.3)
    with contextlib.suppress(jr.EngineError):  # where this process stood still it is over by now
        session["x"] = [1]
    until(lambda: not session.alive)
    with pytest.raises(jr.EngineError, match=r"nobody used it for 0\.3 s"):
        session.apply_sync(abs, -1)


def test_nothing_of_a_client_is_left_when_it_is_closed(fresh_home: Path):
    with jr.Client() as client:
        view = client.view(2)
        pids = view.apply_sync(os.getpid)
        [folder] = Path("/dev/shm").glob(f"jupyter-remote-{os.getuid()}-{os.getpid()}-*")
    assert not folder.exists()
    until(lambda: all(map(gone, pids)))
