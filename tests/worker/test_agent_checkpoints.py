"""The agent's part of fuses and checkpoints, with kernels that only run plain code."""

from __future__ import annotations

import signal
from pathlib import Path

from blake3 import blake3

from jupyter_remote.clock import FakeClock
from jupyter_remote.model import Stage
from jupyter_remote.wire import Answer, Beat, Complete, Saved, Warned
from tests.worker.agents_kernel import Begin
from tests.worker.agents_server import FakeServer

DATA = b"what is done" * 10
DIGEST = blake3(DATA).hexdigest()
SAVES = f"""
import time
kernel.saves(run, {DATA!r})
kernel.print("begun")
time.sleep(60)
"""
IGNORES = f"""
import signal, time
for number in {[int(signal.SIGRTMAX) - n for n in (2, 3, 4, 5)]}:
    signal.signal(number, signal.SIG_IGN)
kernel.print("begun")
time.sleep(60)
"""


def notices(server: FakeServer, job: str) -> list[str]:
    return [data["text"] for data in server.data(job, "notice")]


async def test_at_its_share_the_server_is_told_and_the_checkpoint_goes_there(
    server: FakeServer, begin: Begin
):
    clock = FakeClock()
    await begin(clock=clock)
    job = await server.assign(SAVES, warn_s=0.5, max_run_s=2.0, rate_ucredits_per_h=1)
    await server.until(lambda: server.text(job))
    clock.advance(1.0)
    await server.until(lambda: notices(server, job))
    clock.advance(1.0)
    done = await server.end_of(job)
    assert (done.outcome, done.reason) == ("expired", "cost_limit")
    assert [m.job for m in server.of(Warned)] == [job]
    (saved,) = server.of(Saved)
    assert (saved.why, [s.digest for s in saved.value.segments]) == ("budget", [DIGEST])
    assert server.stored[DIGEST] == DATA
    told = "80 % of what it may cost is spent; a checkpoint is saved: 120 B"
    assert notices(server, job) == [told]
    kinds = [type(m) for m in server.heard if isinstance(m, Warned | Saved | Complete)]
    assert kinds == [Warned, Saved, Complete]


async def test_that_nothing_is_saved_is_told_with_the_reason(server: FakeServer, begin: Begin):
    clock = FakeClock()
    await begin(clock=clock)
    code = "import time\nkernel.saves_nothing('no function is there')\nkernel.print('begun')"
    job = await server.assign(
        f"{code}\ntime.sleep(60)", warn_s=0.5, max_run_s=2.0, rate_ucredits_per_h=1
    )
    await server.until(lambda: server.text(job))
    clock.advance(1.0)
    await server.until(lambda: notices(server, job))
    clock.advance(1.0)
    await server.end_of(job)
    told = "80 % of what it may cost is spent; nothing is saved: no function is there"
    assert notices(server, job) == [told]
    assert not list(server.of(Saved))


async def test_a_cut_connection_doubles_neither_warning_nor_checkpoint(
    server: FakeServer, begin: Begin
):
    await begin()
    server.answers = lambda m: None if isinstance(m, Warned | Saved) else Answer(req=0)
    job = await server.assign(SAVES, warn_s=0.5, max_run_s=60.0, rate_ucredits_per_h=1)
    await server.until(lambda: list(server.of(Warned)) and list(server.of(Saved)))
    server.answers = None  # the replies to the first ones were lost
    server.cut()
    await server.until(lambda: len(list(server.of(Saved))) == 2)
    await server.until(lambda: notices(server, job))
    assert len(list(server.of(Warned))) == 2  # until the server has answered
    server.cut()
    await server.until(lambda: len(server.hellos) == 3)
    await server.cancel(job)
    await server.end_of(job)
    assert (len(list(server.of(Warned))), len(list(server.of(Saved)))) == (2, 2)


async def test_a_cancel_with_a_checkpoint_saves_and_then_interrupts(
    server: FakeServer, begin: Begin
):
    await begin()
    job = await server.assign(SAVES)
    await server.until(lambda: server.text(job))
    await server.cancel(job, "checkpoint")
    await server.cancel(job, "interrupt")  # said again: it will be
    done = await server.end_of(job)
    assert done.outcome == "cancelled"
    assert [m.why for m in server.of(Saved)] == ["cancel"]
    assert notices(server, job) == ["cancel requested; a checkpoint is saved: 120 B"]


async def test_code_that_does_not_answer_is_given_up_on_and_interrupted(
    server: FakeServer, begin: Begin
):
    await begin(checkpoint_s=0.3)
    job = await server.assign(IGNORES)
    await server.until(lambda: server.text(job))
    await server.cancel(job, "checkpoint")
    done = await server.end_of(job)
    assert done.outcome == "cancelled"
    (told,) = notices(server, job)
    assert told.startswith("cancel requested; there is no checkpoint after 0.3 s: the code is in")


async def test_a_checkpoint_that_is_long_on_its_way_to_the_server_does_not_hold_the_code(
    server: FakeServer, begin: Begin
):
    clock = FakeClock()
    await begin(checkpoint_s=10.0, clock=clock)
    server.answers = lambda m: None if isinstance(m, Saved) else Answer(req=0)
    job = await server.assign(SAVES)
    await server.until(lambda: server.text(job))
    await server.cancel(job, "checkpoint")
    await server.until(lambda: list(server.of(Saved)))
    clock.advance(11.0)
    await server.until(lambda: any(m.stage == Stage.SAVING_RESULT for m in server.of(Beat)))
    server.answers = None
    server.cut()
    assert (await server.end_of(job)).outcome == "cancelled"
    assert notices(server, job) == ["cancel requested; a checkpoint is saved: 120 B"]


async def test_a_kill_waits_for_no_checkpoint(server: FakeServer, begin: Begin):
    await begin(checkpoint_s=600.0)
    job = await server.assign(IGNORES)
    await server.until(lambda: server.text(job))
    await server.cancel(job, "checkpoint")
    await server.cancel(job, "kill")
    assert (await server.end_of(job)).outcome == "cancelled"


async def test_before_a_machine_is_taken_away_the_code_is_asked(server: FakeServer, begin: Begin):
    agent = await begin()
    job = await server.assign(SAVES)
    await server.until(lambda: server.text(job))
    agent._attempts[job, 1].save("preempted")
    await server.until(lambda: notices(server, job))
    (saved,) = server.of(Saved)
    assert saved.why == "preempted"
    assert notices(server, job)[0].startswith("its machine is about to be taken away; a checkpoint")
    await server.cancel(job)
    await server.end_of(job)


async def test_a_checkpoint_that_the_server_refuses_is_told_and_ends_nothing(
    server: FakeServer, begin: Begin
):
    await begin()
    server.answers = lambda m: Answer(req=0, ok=not isinstance(m, Saved), code="too_large")
    job = await server.assign(SAVES, warn_s=0.5, max_run_s=60.0, rate_ucredits_per_h=1)
    await server.until(lambda: notices(server, job))
    assert notices(server, job)[0].endswith("the server did not take the checkpoint (too_large)")
    await server.cancel(job)
    assert (await server.end_of(job)).outcome == "cancelled"


async def test_a_result_that_is_being_saved_at_the_limit_is_kept(
    server: FakeServer, begin: Begin, tmp_path: Path
):
    clock, gate = FakeClock(), tmp_path / "gate"
    await begin(clock=clock)
    code = (
        "import os, time\nfrom jupyter_remote.worker import channel\n"
        "kernel.say(channel.Stage('saving result'))\nkernel.print('saving')\n"
        f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
        "kernel.spool(run, b'all of it' * 10)"
    )
    job = await server.assign(code, max_run_s=5.0, rate_ucredits_per_h=1)
    await server.until(lambda: server.text(job))
    clock.advance(10.0)
    beats = len(list(server.of(Beat)))
    await server.until(lambda: len(list(server.of(Beat))) > beats)  # it has looked at the limit
    gate.touch()
    done = await server.end_of(job)
    assert done.outcome == "succeeded"
    assert done.result is not None


async def test_code_is_asked_on_the_beat_that_it_wants_and_that_is_not_told(
    server: FakeServer, begin: Begin
):
    await begin()
    code = SAVES.replace('kernel.print("begun")', "kernel.every(0.3)")
    job = await server.assign(code)
    await server.until(lambda: len(list(server.of(Saved))) == 3)
    assert {m.why for m in server.of(Saved)} == {"periodic"}
    assert notices(server, job) == []
    await server.cancel(job)
    await server.end_of(job)


async def test_what_is_wrong_with_every_checkpoint_is_told_once(server: FakeServer, begin: Begin):
    await begin(checkpoint_s=0.3)
    code = """
import time
kernel.when_asked(lambda why: kernel.print('asked'))
kernel.every(0.3)
time.sleep(60)
"""
    job = await server.assign(code)
    await server.until(lambda: server.text(job).count("asked") >= 3)
    (told,) = notices(server, job)
    assert told.startswith(
        "a checkpoint is due; there is no checkpoint after 0.3 s: the code is in"
    )
    await server.cancel(job)
    await server.end_of(job)
