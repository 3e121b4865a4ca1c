"""What an agent does when its machine is taken away, with kernels that only run plain code."""

from __future__ import annotations

import pytest

from jupyter_remote.wire import Answer, Complete, Drain, Notice, Release, Saved, Start
from tests.worker.agents_kernel import Begin
from tests.worker.agents_server import FakeServer
from tests.worker.metadata import metadata
from tests.worker.test_agent_checkpoints import DIGEST, IGNORES, SAVES, notices

PLAIN = "kernel.saves_nothing('no function is there')\nkernel.print('begun')\n"


def spoken(server: FakeServer) -> list[type]:
    return [type(m) for m in server.heard if isinstance(m, Notice | Saved | Complete)]


async def test_at_notice_the_code_saves_and_is_handed_back(server: FakeServer, begin: Begin):
    agent = await begin()
    job = await server.assign(SAVES)
    await server.until(lambda: server.text(job))
    agent.taken_away(60.0)
    done = await server.end_of(job)
    assert (done.outcome, done.result, done.error) == ("preempted", None, None)
    assert spoken(server) == [Notice, Saved, Complete]
    assert [m.why for m in server.of(Saved)] == ["preempted"]
    assert server.stored[DIGEST]
    told = "its machine is about to be taken away; a checkpoint is saved: 120 B"
    assert notices(server, job) == [told]


async def test_a_server_that_takes_the_machine_away_is_a_notice_too(
    server: FakeServer, begin: Begin
):
    await begin()
    job = await server.assign(SAVES)
    await server.until(lambda: server.text(job))
    await server.send(Drain("it is there for 24 h", left_s=60.0))
    assert (await server.end_of(job)).outcome == "preempted"
    assert spoken(server) == [Notice, Saved, Complete]


async def test_a_system_that_shuts_down_after_a_notice_costs_a_job_no_attempt(
    server: FakeServer, begin: Begin
):
    agent = await begin()
    job = await server.assign(PLAIN + "import time\ntime.sleep(60)")
    await server.until(lambda: server.text(job))
    agent.taken_away(60.0)
    agent.stop()
    assert (await server.end_of(job)).outcome == "preempted"


async def test_code_that_swallows_the_interrupt_has_not_finished(server: FakeServer, begin: Begin):
    agent = await begin()
    code = SAVES.replace(
        "time.sleep(60)", "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    pass"
    )
    job = await server.assign(code)
    await server.until(lambda: server.text(job))
    agent.taken_away(60.0)
    assert (await server.end_of(job)).outcome == "preempted"


async def test_code_without_a_checkpoint_may_finish_in_the_time_that_is_left(
    server: FakeServer, begin: Begin
):
    agent = await begin()
    code = PLAIN + "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)"
    job = await server.assign(code)
    await server.until(lambda: server.text(job))
    agent.taken_away(60.0)
    await server.until(lambda: notices(server, job))
    (folder,) = agent._means.work.glob("job-*/")
    (folder / "go").touch()
    assert (await server.end_of(job)).outcome == "succeeded"


@pytest.mark.parametrize("code", [PLAIN + "import time\ntime.sleep(60)", IGNORES])
async def test_code_without_a_checkpoint_is_handed_back_before_the_end(
    server: FakeServer, begin: Begin, code: str
):
    agent = await begin(interrupt_grace_s=1000.0)
    job = await server.assign(code)
    await server.until(lambda: server.text(job))
    agent.taken_away(1.2)
    done = await server.end_of(job)
    assert done.outcome == "preempted"
    assert done.ran_s is not None
    assert done.ran_s > 0.8


async def test_code_that_cannot_be_interrupted_is_killed_in_time(server: FakeServer, begin: Begin):
    agent = await begin(interrupt_grace_s=1000.0)
    code = PLAIN + "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    job = await server.assign(code + "kernel.print('deaf')\ntime.sleep(60)")
    await server.until(lambda: "deaf" in server.text(job))
    agent.taken_away(1.2)
    assert (await server.end_of(job)).outcome == "preempted"


async def test_a_job_that_was_cancelled_ends_as_that(server: FakeServer, begin: Begin):
    agent = await begin()
    job = await server.assign(PLAIN + "import time\ntime.sleep(60)")
    await server.until(lambda: server.text(job))
    agent.taken_away(60.0)
    await server.cancel(job)
    assert (await server.end_of(job)).outcome == "cancelled"


async def test_a_time_limit_during_the_notice_is_one(server: FakeServer, begin: Begin):
    agent = await begin()
    code = PLAIN + "import time\ntime.sleep(60)"
    job = await server.assign(code, limits_timeout_s=1.0, max_run_s=1.0)
    await server.until(lambda: server.text(job))
    agent.taken_away(60.0)
    assert (await server.end_of(job)).outcome == "expired"


async def test_what_has_not_begun_is_given_back_and_nothing_more_is_taken(
    server: FakeServer, begin: Begin
):
    agent = await begin(slots=2)
    running = await server.assign(PLAIN + "import time\ntime.sleep(60)")
    await server.until(lambda: server.text(running))
    agent.taken_away(60.0)
    late = await server.assign("pass")
    given = await server.until(lambda: [m.job for m in server.of(Release)])
    assert given == [late]
    assert running not in server.completes
    await server.cancel(running)


async def test_the_server_is_told_again_over_a_new_connection(server: FakeServer, begin: Begin):
    agent = await begin()
    job = await server.assign(PLAIN + "import time\ntime.sleep(60)")
    await server.until(lambda: server.text(job))
    agent.taken_away(60.0)
    await server.until(lambda: list(server.of(Notice)))
    server.cut()
    await server.until(lambda: len(list(server.of(Notice))) == 2)
    first, again = server.of(Notice)
    assert first.ends_at == again.ends_at
    await server.cancel(job)


async def test_the_notice_of_the_metadata_service_is_heard_on_a_spot_machine(
    server: FakeServer, begin: Begin, monkeypatch: pytest.MonkeyPatch
):
    with metadata() as service:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)
        monkeypatch.setattr("jupyter_remote.worker.notices.LIMIT_S", 60.0)
        await begin(spot=True, notice_every_s=0.05)
        job = await server.assign(SAVES)
        await server.until(lambda: server.text(job))
        service.notice(60)
        assert (await server.end_of(job)).outcome == "preempted"
        assert service.tokens == 1


async def test_a_machine_that_is_no_spot_machine_is_not_asked(
    server: FakeServer, begin: Begin, monkeypatch: pytest.MonkeyPatch
):
    with metadata() as service:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)
        await begin(notice_every_s=0.01)
        await server.end_of(await server.assign("import time; time.sleep(0.2)"))
        assert service.asked == []


async def test_a_spot_machine_that_shuts_down_hands_back_its_jobs(server: FakeServer, begin: Begin):
    agent = await begin(spot=True)
    job = await server.assign(SAVES)
    await server.until(lambda: server.text(job))
    agent.stop()
    assert (await server.end_of(job)).outcome == "preempted"


async def test_a_checkpoint_that_the_server_does_not_take_leaves_the_code_its_time(
    server: FakeServer, begin: Begin
):
    agent = await begin()
    server.answers = lambda m: (
        Answer(req=0, ok=False, code="conflict") if isinstance(m, Saved) else Answer(req=0)
    )
    job = await server.assign(SAVES)
    await server.until(lambda: server.text(job))
    agent.taken_away(2.0)
    done = await server.end_of(job)
    assert done.outcome == "preempted"
    assert done.ran_s is not None
    assert done.ran_s > 1.2
    assert [type(m) for m in server.heard if isinstance(m, Start | Saved)] == [Start, Saved]
