"""The agent against a server that only remembers, with kernels that only run plain code."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest
from blake3 import blake3

from jupyter_remote.clock import FakeClock
from jupyter_remote.wire import (
    Answer,
    Beat,
    Complete,
    FileRef,
    Parcel,
    Ping,
    Release,
    Segment,
    Start,
    WorkerMessage,
)
from jupyter_remote.worker.means import Means
from tests.worker.agents_kernel import Begin, FakeLauncher
from tests.worker.agents_server import LIMIT_S, FakeServer, connection_file

WAIT = "import time\ntime.sleep(60)"
PATIENT = """
import time
try:
    kernel.print("begun\\n")
    time.sleep(60)
finally:
    kernel.print("cleaned up")
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
kernel.print("begun")
time.sleep(60)
"""


async def test_a_job_runs_from_assignment_to_completion(server: FakeServer, begin: Begin):
    await begin()
    job = await server.assign("kernel.print('hello\\n'); kernel.display('42')")
    done = await server.end_of(job)
    assert (done.outcome, done.error) == ("succeeded", None)
    assert server.text(job) == "hello\n"
    assert [e.type for e in server.events[job]] == ["stream", "display_data"]
    assert next(iter(server.of(Start))).epoch == 1
    assert server.headers == ["Bearer secret"]


async def test_what_user_code_raises_comes_as_data(server: FakeServer, begin: Begin):
    await begin()
    done = await server.end_of(await server.assign("1 / 0"))
    assert (done.outcome, done.reason) == ("failed", "user_error")
    assert done.error is not None
    assert done.error.ename == "ZeroDivisionError"


async def test_output_is_seen_while_the_job_runs(server: FakeServer, begin: Begin):
    await begin()
    job = await server.assign(f"kernel.print('now')\n{WAIT}")
    await server.until(lambda: server.text(job) == "now")
    assert job not in server.completes


async def test_a_job_that_may_not_start_runs_nothing(
    server: FakeServer, begin: Begin, tmp_path: Path
):
    await begin()
    server.answers = lambda m: Answer(req=0, ok=not isinstance(m, Start), code="conflict")
    refused = await server.assign(f"open({str(tmp_path / 'ran')!r}, 'w')")
    await server.until(lambda: any(server.of(Start)))
    server.answers = None
    await server.end_of(await server.assign("pass"))
    assert refused not in server.completes
    assert not (tmp_path / "ran").exists()


async def lose(server: FakeServer, begin: Begin) -> str:
    """An attempt that the server has given to somebody else meanwhile: it is killed. Its job."""
    launcher = FakeLauncher()
    await begin(launcher=launcher)
    job = await server.assign(f"kernel.print('x')\n{WAIT}")
    await server.until(lambda: server.text(job))
    server.answers = lambda m: Answer(req=0, ok=not isinstance(m, Beat), code="conflict")
    assert await launcher.handles[0].wait() == "SIGKILL"
    server.answers = None
    return job


async def test_a_stale_attempt_is_killed_and_discarded(server: FakeServer, begin: Begin):
    job = await lose(server, begin)
    await server.end_of(await server.assign("pass"))  # the slot is free again
    assert job not in server.completes


async def test_an_agent_goes_on_while_the_folder_of_a_lost_attempt_is_slow_to_go(
    server: FakeServer, begin: Begin, monkeypatch: pytest.MonkeyPatch
):
    gone = asyncio.Event()
    monkeypatch.setattr(Means, "done_with", lambda *_: gone.wait())
    await lose(server, begin)
    before = len(list(server.of(Ping)))
    await server.until(lambda: len(list(server.of(Ping))) > before + 2)
    gone.set()
    assert (await server.end_of(await server.assign("pass"))).outcome == "succeeded"


async def test_every_event_arrives_once_over_cut_connections(
    server: FakeServer, begin: Begin, tmp_path: Path
):
    await begin()
    gate = tmp_path / "gate"
    waits = f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)"
    code = "import os, time\nfor i in range(60): kernel.print(f'{i}\\n'); time.sleep(0.01)"
    job = await server.assign(f"{code}\n{waits}")
    for cuts, enough in enumerate((5, 20, 40), start=1):
        await server.until(lambda enough=enough: server.text(job).count("\n") >= enough)
        server.cut()
        await server.until(lambda cuts=cuts: len(server.hellos) > cuts)
    gate.touch()
    assert (await server.end_of(job)).outcome == "succeeded"
    assert server.text(job) == "".join(f"{i}\n" for i in range(60))
    assert server.hellos[1].running == [(job, 1)]


async def test_a_beat_whose_answer_was_lost_is_sent_again(
    server: FakeServer, begin: Begin, tmp_path: Path
):
    await begin()
    lost: list[Beat] = []
    gate = tmp_path / "gate"
    waits = f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)"

    def swallow(message: WorkerMessage) -> Answer | None:
        if isinstance(message, Beat) and message.events and not lost:
            lost.append(message)
            server._store(message.job, message.events)
            server.cut()
            return None
        return Answer(req=0)

    server.answers = swallow
    job = await server.assign(f"import os, time\nkernel.print('a')\n{waits}\nkernel.print('b')")
    await server.until(lambda: lost)
    gate.touch()
    await server.end_of(job)
    assert server.text(job) == "ab"


async def test_the_end_is_told_until_it_is_acknowledged(server: FakeServer, begin: Begin):
    await begin()
    tries: list[Complete] = []

    def busy(message: WorkerMessage) -> Answer | None:
        if not isinstance(message, Complete):
            return Answer(req=0)
        tries.append(message)
        if len(tries) == 1:
            server.cut()
            return None
        return Answer(req=0, ok=len(tries) > 2, code="storage_full")

    server.answers = busy
    job = await server.assign("kernel.print('all')")
    await server.end_of(job)
    assert len(tries) == 3
    assert server.text(job) == "all"


async def test_attempts_that_the_server_does_not_keep_are_killed(server: FakeServer, begin: Begin):
    launcher = FakeLauncher()
    await begin(launcher=launcher)
    job = await server.assign(f"kernel.print('x')\n{WAIT}")
    await server.until(lambda: server.text(job))
    server.keep = False
    server.cut()
    assert await launcher.handles[0].wait() == "SIGKILL"


async def test_a_soft_cancel_lets_the_code_clean_up(server: FakeServer, begin: Begin):
    await begin()
    job = await server.assign(PATIENT)
    await server.until(lambda: server.text(job))
    await server.cancel(job)
    done = await server.end_of(job)
    assert (done.outcome, done.reason) == ("cancelled", "cancelled")
    assert done.detail == "stopped by KeyboardInterrupt"
    assert server.text(job) == "begun\ncleaned up"


async def test_code_that_ignores_an_interrupt_is_killed(server: FakeServer, begin: Begin):
    launcher = FakeLauncher()
    await begin(launcher=launcher, interrupt_grace_s=0.3)
    job = await server.assign(STUBBORN)
    await server.until(lambda: server.text(job))
    await server.cancel(job)
    done = await server.end_of(job)
    assert (done.outcome, done.signal) == ("cancelled", "")
    assert re.match(r"killed after \d\.\d s", done.detail)
    assert await launcher.handles[0].wait() == "SIGKILL"


async def test_a_cancel_says_how_long_code_that_ignores_it_may_go_on(
    server: FakeServer, begin: Begin
):
    await begin(interrupt_grace_s=1000)
    job = await server.assign(STUBBORN)
    await server.until(lambda: server.text(job))
    await server.cancel(job, kill_in_s=0)
    await server.cancel(job, kill_in_s=0.2)
    assert re.match(r"killed after \d\.\d s", (await server.end_of(job)).detail)


async def test_what_its_own_process_did_with_an_interrupt_is_told(server: FakeServer, begin: Begin):
    await begin()
    code = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\n"
    job = await server.assign(f"{code}kernel.print('begun')\ntime.sleep(60)")
    await server.until(lambda: server.text(job))
    await server.cancel(job)
    done = await server.end_of(job)
    assert (done.outcome, done.detail) == (
        "cancelled",
        "KeyboardInterrupt ended its process (SIGINT)",
    )


async def test_a_hard_cancel_waits_for_nothing(server: FakeServer, begin: Begin):
    await begin(interrupt_grace_s=1000)
    job = await server.assign(STUBBORN)
    await server.until(lambda: server.text(job))
    await server.cancel(job)
    await server.cancel(job, "kill")
    assert (await server.end_of(job)).outcome == "cancelled"


async def test_a_cancel_comes_with_the_answer_to_a_beat_too(server: FakeServer, begin: Begin):
    await begin()
    server.answers = lambda m: Answer(req=0, cancel="interrupt" if isinstance(m, Beat) else "")
    job = await server.assign(PATIENT)
    assert (await server.end_of(job)).outcome == "cancelled"


async def test_a_job_cancelled_before_its_code_began_runs_nothing(server: FakeServer, begin: Begin):
    await begin()
    server.answers = lambda m: Answer(req=0, cancel="interrupt" if isinstance(m, Start) else "")
    job = await server.assign("kernel.print('ran')")
    done = await server.end_of(job)
    assert (done.outcome, done.detail) == ("cancelled", "before its code began")
    assert server.text(job) == ""


async def test_what_finished_before_the_cancel_stands(server: FakeServer, begin: Begin):
    await begin()
    job = await server.assign(
        "import time\ntry: kernel.print('x'); time.sleep(60)\nexcept KeyboardInterrupt: pass"
    )
    await server.until(lambda: server.text(job))
    await server.cancel(job)
    assert (await server.end_of(job)).outcome == "succeeded"


async def test_a_time_limit_interrupts_then_kills(server: FakeServer, begin: Begin):
    await begin(interrupt_grace_s=0.3)
    job = await server.assign(STUBBORN, limits_timeout_s=0.3)
    done = await server.end_of(job)
    assert (done.outcome, done.reason) == ("expired", "time_limit")
    assert "0.3 s" in done.detail


async def test_a_run_that_the_hold_does_not_cover_is_stopped(server: FakeServer, begin: Begin):
    await begin()
    job = await server.assign(WAIT, limits_timeout_s=50, max_run_s=0.2, rate_ucredits_per_h=9)
    done = await server.end_of(job)
    assert (done.outcome, done.reason) == ("expired", "cost_limit")


async def test_memory_above_the_limit_ends_the_job_by_name(server: FakeServer, begin: Begin):
    await begin()
    code = f"kernel.print('taking\\n'); x = b'1' * 300_000_000\n{WAIT}"
    done = await server.end_of(await server.assign(code, memory_bytes=150_000_000))
    assert (done.outcome, done.reason) == ("failed", "out_of_memory")
    assert "limit 143.1 MB" in done.detail
    assert "taking" in done.detail


async def test_memory_of_child_processes_counts(server: FakeServer, begin: Begin):
    await begin()
    child = "import time; x = b'1' * 200_000_000; time.sleep(60)"
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])"
    done = await server.end_of(await server.assign(code, memory_bytes=150_000_000))
    assert done.reason == "out_of_memory"


async def test_a_dead_kernel_is_reported_with_its_last_output(server: FakeServer, begin: Begin):
    await begin()
    job = await server.assign(
        "import os, signal\nkernel.print('so far\\n')\nos.kill(os.getpid(), signal.SIGSEGV)"
    )
    done = await server.end_of(job)
    assert (done.outcome, done.signal, done.reason) == ("died", "SIGSEGV", "kernel_died")
    assert done.detail == "killed by SIGSEGV; last output: so far"
    assert server.text(job) == "so far\n"


async def test_a_process_that_ends_itself_is_reported(server: FakeServer, begin: Begin):
    await begin()
    done = await server.end_of(await server.assign("import os; os._exit(3)"))
    assert (done.outcome, done.signal) == ("died", "exit 3")


async def test_a_dead_kernel_is_noticed_though_a_child_holds_its_socket(
    server: FakeServer, begin: Begin
):
    await begin()
    code = f"import os\nif os.fork() == 0:\n    import time; time.sleep(60)\nos._exit(1)\n{WAIT}"
    done = await server.end_of(await server.assign(code))
    assert done.signal == "exit 1"


async def test_the_dead_man_stops_what_has_no_server(server: FakeServer, begin: Begin):
    clock, launcher = FakeClock(), FakeLauncher()
    await begin(launcher=launcher, clock=clock)
    job = await server.assign(f"kernel.print('x')\n{WAIT}")
    await server.until(lambda: server.text(job))
    server.answers = lambda m: None
    clock.advance(server.dead_man_s + 1)
    assert await launcher.handles[0].wait() == "SIGKILL"
    assert job not in server.completes


async def test_a_drained_agent_finishes_its_work_and_ends(
    server: FakeServer, begin: Begin, tmp_path: Path
):
    await begin()
    gate = tmp_path / "gate"
    waits = f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)"
    job = await server.assign(f"import os, time\nkernel.print('x')\n{waits}")
    await server.until(lambda: server.text(job))
    await server.drain()
    refused = await server.assign("pass")
    await server.until(lambda: any(server.of(Release)))
    gate.touch()
    assert (await server.end_of(job)).outcome == "succeeded"
    async with asyncio.timeout(LIMIT_S):
        await begin.task  # type: ignore[attr-defined]
    assert [m.job for m in server.of(Release)] == [refused]


async def test_an_agent_told_to_stop_hands_its_jobs_back(server: FakeServer, begin: Begin):
    agent = await begin()
    job = await server.assign(f"kernel.print('x')\n{WAIT}")
    await server.until(lambda: server.text(job))
    agent.stop()
    done = await server.end_of(job)
    assert (done.outcome, done.reason) == ("died", "lost")
    async with asyncio.timeout(LIMIT_S):
        await begin.task  # type: ignore[attr-defined]


async def test_more_than_the_slots_hold_is_handed_back(server: FakeServer, begin: Begin):
    await begin(slots=1)
    first = await server.assign(f"kernel.print('x')\n{WAIT}")
    await server.until(lambda: server.text(first))
    second = await server.assign("pass")
    await server.until(lambda: [m.job for m in server.of(Release)] == [second])


async def test_calls_of_one_owner_share_a_process_and_nobody_else_does(
    server: FakeServer, begin: Begin
):
    await begin()
    code = "import os; kernel.print(str(os.getpid()))"
    jobs = []
    for kind, owner in (("call", "a"), ("call", "a"), ("cell", "a"), ("call", "b"), ("call", "a")):
        jobs.append(await server.assign(code, kind=kind, owner=owner))
        await server.end_of(jobs[-1])
    pids = [server.text(job) for job in jobs]
    assert pids[0] == pids[1] == pids[4]
    assert len({pids[0], pids[2], pids[3]}) == 3


async def test_calls_share_a_process_only_with_those_of_the_same_gpus(
    server: FakeServer, begin: Begin
):
    await begin()
    code = "import os; kernel.print(str(os.getpid()))"
    jobs = []
    for gpus in ([0], [1], [0]):
        jobs.append(await server.assign(code, kind="call", owner="a", gpus=gpus))
        await server.end_of(jobs[-1])
    pids = [server.text(job) for job in jobs]
    assert pids[0] == pids[2] != pids[1]


@pytest.mark.parametrize(
    ("holds", "first", "second", "ends"),
    [
        (True, [], [], True),
        (True, [0], [0, 1], True),
        (True, [0], [1], False),
        (False, [], [], False),
    ],
)
async def test_what_holds_a_gpu_gives_way_to_a_job_that_begins_on_it(
    server: FakeServer, begin: Begin, holds: bool, first: list[int], second: list[int], ends: bool
):
    await begin()
    code = "import os; kernel.print(str(os.getpid()))"
    jobs = []
    for kind, gpus, more in (
        ("call", first, f"; kernel.rests({holds})"),
        ("cell", second, ""),
        ("call", first, ""),
    ):
        jobs.append(await server.assign(code + more, kind=kind, owner="a", gpus=gpus))
        await server.end_of(jobs[-1])
    pids = [server.text(job) for job in jobs]
    assert (pids[0] != pids[2]) is ends


async def test_a_spare_is_ready_before_it_is_asked_for(server: FakeServer, begin: Begin):
    launcher = FakeLauncher()
    await begin(launcher=launcher)
    for _ in range(3):
        await server.end_of(await server.assign("pass"))
    assert len(launcher.handles) in (3, 4)


async def test_an_interpreter_that_does_not_start_fails_the_job_in_words(
    server: FakeServer, begin: Begin, tmp_path: Path
):
    file = connection_file(tmp_path / "connection.json", server.url)
    await begin(launcher=FakeLauncher("/no/python"), connection_file=str(file))
    done = await server.end_of(await server.assign("pass", executable="/no/python"))
    assert (done.outcome, done.reason) == ("failed", "environment")
    assert "/no/python" in done.detail


async def test_a_worker_elsewhere_has_interpreters_of_its_own(server: FakeServer, begin: Begin):
    asked: list[str] = []

    def launcher(executable: str) -> FakeLauncher:
        asked.append(executable)
        return FakeLauncher()

    await begin(launchers=launcher)
    done = await server.end_of(await server.assign("pass", executable="/of/the/notebook"))
    assert done.outcome == "succeeded"
    assert set(asked) == {sys.executable}


async def test_files_are_placed_in_the_jobs_folder(server: FakeServer, begin: Begin):
    await begin()
    data = b"a,b\n1,2\n"
    file = FileRef("data/t.csv", Segment(blake3(data).hexdigest(), len(data), data))
    job = await server.assign("kernel.print(open('data/t.csv').read())", files=[file])
    await server.end_of(job)
    assert server.text(job) == data.decode()


@pytest.mark.parametrize("path", ["../out", "/etc/out", "a/../../out", "", "a\0b", "..\\out"])
async def test_a_file_that_leads_out_of_the_folder_is_refused(
    server: FakeServer, begin: Begin, path: str
):
    await begin()
    file = FileRef(path, Segment(blake3(b"x").hexdigest(), 1, b"x"))
    done = await server.end_of(await server.assign("pass", files=[file]))
    assert (done.outcome, done.reason) == ("failed", "environment")
    assert not list(server.of(Start))


async def test_a_file_that_is_not_what_it_says_is_refused(server: FakeServer, begin: Begin):
    await begin()
    file = FileRef("x", Segment(blake3(b"x").hexdigest(), 1, b"y"))
    done = await server.end_of(await server.assign("pass", files=[file]))
    assert "digest" in done.detail


async def test_inputs_are_streamed_verified_and_kept(server: FakeServer, begin: Begin):
    await begin()
    data = bytes(range(256)) * 10_000
    digest = blake3(data).hexdigest()
    server.stored[digest] = data
    inputs = Parcel([Segment(digest, len(data))])
    code = f"kernel.print(str(len(open(run.paths[{digest!r}], 'rb').read())))"
    for _ in range(2):
        job = await server.assign(code, inputs=inputs)
        await server.end_of(job)
        assert server.text(job) == str(len(data))
        server.stored.clear()  # the second time it is here


@pytest.mark.parametrize("stored", [b"something else", None])
async def test_inputs_that_are_wrong_or_absent_fail_the_job(
    server: FakeServer, begin: Begin, stored: bytes | None
):
    await begin()
    digest = blake3(b"right").hexdigest()
    if stored is not None:
        server.stored[digest] = stored
    done = await server.end_of(await server.assign("pass", inputs=Parcel([Segment(digest, 5)])))
    assert (done.outcome, done.reason) == ("failed", "environment")


@pytest.mark.parametrize("here", [True, False], ids=["same machine", "elsewhere"])
async def test_large_results_are_with_the_server_before_the_end_is_told(
    server: FakeServer, begin: Begin, tmp_path: Path, here: bool
):
    if here:
        for name in ("blobs", "spool"):
            (tmp_path / name).mkdir()
        server.blobs, server.spool = str(tmp_path / "blobs"), str(tmp_path / "spool")
    await begin()
    job = await server.assign("kernel.spool(run, b'7' * 3_000_000)")
    done = await server.end_of(job)
    assert done.result is not None
    assert done.result.value is not None
    assert server.stored[done.result.value.segments[0].digest] == b"7" * 3_000_000


async def test_a_result_that_nobody_takes_holds_up_no_kill(server: FakeServer, begin: Begin):
    await begin()
    server.is_full = True
    job = await server.assign("kernel.spool(run, b'7' * 3_000_000)")
    await server.until(lambda: server.refused)
    await server.cancel(job)
    await server.cancel(job, "kill")
    done = await server.end_of(job)
    assert (done.outcome, done.result) == ("cancelled", None)
    assert done.detail == "killed while its result was saved"


async def test_a_flood_is_bounded_and_its_log_is_whole(
    server: FakeServer, begin: Begin, tmp_path: Path
):
    await begin(live_output_bytes=300_000, live_output_bytes_per_s=50_000)
    code = """
for i in range(2000):
    kernel.print(f"{i:08} " * 1000 + "\\n")
kernel.print("the last line\\n")
"""
    job = await server.assign(code)
    done = await server.end_of(job)
    whole = "".join(f"{i:08} " * 1000 + "\n" for i in range(2000)) + "the last line\n"
    assert done.log is not None
    assert server.stored[done.log.digest].decode() == whole
    live = server.text(job)
    assert len(live) < 320_000
    assert live.endswith("the last line\n")
    folded = server.data(job, "folded")[-1]
    assert folded["bytes"] + len(live) == len(whole)
    assert folded["lines"] + live.count("\n") == 2001


async def test_output_without_a_flood_makes_no_log(server: FakeServer, begin: Begin):
    await begin()
    assert (await server.end_of(await server.assign("kernel.print('x')"))).log is None


async def test_figures_come_while_a_job_runs(server: FakeServer, begin: Begin):
    await begin()
    job = await server.assign("while True: pass")
    metrics = await server.until(
        lambda: [m for m in server.data(job, "metrics") if 5 < m["cpu_percent"] < 150]
    )
    assert metrics[0]["memory_bytes"] > 1_000_000


async def test_a_quiet_job_keeps_its_lease(server: FakeServer, begin: Begin):
    await begin()
    await server.assign(WAIT)
    await server.until(lambda: len(list(server.of(Beat))) >= 3)


async def test_a_restarted_server_is_found_again(begin: Begin, server: FakeServer, tmp_path: Path):
    file = connection_file(tmp_path / "connection.json", server.url)
    await begin(connection_file=str(file))
    job = await server.assign(PATIENT)
    await server.until(lambda: server.text(job))
    async with FakeServer().listening() as restarted:
        restarted.events = server.events
        connection_file(file, restarted.url)
        server.cut()
        await restarted.until(lambda: restarted.hellos)
        assert restarted.hellos[0].running == [(job, 1)]
        await restarted.cancel(job)
        assert (await restarted.end_of(job)).outcome == "cancelled"


async def test_an_agent_whose_server_is_gone_for_good_ends(
    begin: Begin, server: FakeServer, tmp_path: Path
):
    clock = FakeClock()
    file = connection_file(tmp_path / "connection.json", server.url)
    await begin(connection_file=str(file), clock=clock)
    file.unlink()
    await server.close()
    async with asyncio.timeout(LIMIT_S):
        while not begin.task.done():  # type: ignore[attr-defined]
            clock.advance(10)
            await asyncio.sleep(0.05)


async def test_a_kernel_that_says_more_than_can_be_sent_has_to_wait(
    begin: Begin, server: FakeServer, tmp_path: Path
):
    await begin()
    server.answers = lambda m: None if isinstance(m, Beat) else Answer(req=0)
    said = tmp_path / "said"
    code = f"""
for i in range(20):
    kernel.display("x" * 10_000_000)
    with open({str(said)!r}, "a") as file: file.write("x")
"""
    job = await server.assign(code)
    await server.until(lambda: any(server.of(Beat)))
    size = -1
    async with asyncio.timeout(LIMIT_S):
        while said.stat().st_size != size if said.exists() else True:
            size = said.stat().st_size if said.exists() else -1
            await asyncio.sleep(0.3)
    assert size < 20  # it waits before it has said everything
    server.answers = None
    server.cut()
    assert (await server.end_of(job)).outcome == "succeeded"
    shown = len(server.data(job, "display_data"))
    assert shown + server.data(job, "folded")[-1]["displays"] == 20


async def test_the_agent_imports_nothing_heavy():
    code = (
        "import sys, jupyter_remote.worker.agent, jupyter_remote.worker.launch\n"
        "heavy = {'IPython', 'ipykernel', 'starlette', 'sqlalchemy', 'httpx', 'numpy',"
        " 'cloudpickle', 'pickle5', 'psutil', 'traitlets'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out.decode().strip() == "[]"


async def test_what_cannot_be_delivered_fails_and_does_not_run_again(
    server: FakeServer, begin: Begin
):
    await begin()
    job = await server.assign(
        "from jupyter_remote.wire import NameInfo, Parcel, Result, encode\n"
        "kernel.result = encode(Result(value=Parcel([], names=[NameInfo('x', 'X', 2**70)])))"
    )
    done = await server.end_of(job)
    assert (done.outcome, done.reason) == ("failed", "environment")
    assert "could not be delivered" in done.detail


async def test_a_text_after_the_end_is_left_out(
    server: FakeServer, begin: Begin, caplog: pytest.LogCaptureFixture
):
    await begin()
    job = await server.assign(
        "from jupyter_remote.worker.channel import Finished\n"
        "for _ in range(300): kernel.print('x' * 9_999 + '\\n')\n"
        "kernel.say(Finished(job=run.job, epoch=run.epoch, ok=True))\n"
        "for _ in range(1000): kernel.print('late')"
    )
    done = await server.end_of(job)
    assert done.outcome == "succeeded"
    assert done.log is not None
    assert server.stored[done.log.digest] == (b"x" * 9_999 + b"\n") * 300
    assert [r for r in caplog.records if r.levelname == "ERROR"] == []


@pytest.mark.parametrize("retire", [True, False])
async def test_a_process_that_is_to_be_retired_runs_no_other_call(
    server: FakeServer, begin: Begin, retire: bool
):
    await begin()
    code = (
        "import os\nfrom jupyter_remote.worker.channel import Finished\n"
        "kernel.print(str(os.getpid()))\n"
        f"kernel.say(Finished(job=run.job, epoch=run.epoch, ok=True, retire={retire}))"
    )
    first = await server.assign(code, kind="call")
    await server.end_of(first)
    second = await server.assign(code, kind="call")
    await server.end_of(second)
    assert (server.text(first) == server.text(second)) is not retire
