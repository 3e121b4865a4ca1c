"""A cost limit that warns, saves, stops; and jobs that go on from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

import jupyter_remote as jr
from tests.e2e.waiting import until

STEPS = 80
FEW = 10  # that are left to a job that goes on
CENTS = {"machine": "g5.xlarge.od", "max_cost": 0.0009}  # USD: 3.2 s


def count(gate: str = "") -> list[int]:
    """Counts to STEPS; a job that goes on takes a few steps more."""
    import os
    import time

    import jupyter_remote as jr

    seen = list(jr.job.checkpoint or [])
    end = len(seen) + FEW if seen else STEPS
    print("from", len(seen))

    @jr.on_checkpoint
    def save() -> list[int]:
        print("saving for", jr.job.stop_reason)
        return list(seen)

    while len(seen) < end:
        seen.append(len(seen))
        time.sleep(0.05)
        if gate and len(seen) == 3:
            print("begun")
            while not os.path.exists(gate):
                time.sleep(0.01)
    return seen


def history(job: jr.Job) -> list[str]:
    """Without what tells of the source of this module, which goes along."""
    return [line.event for line in job.history if line.event != "ready"]


def notices(job: jr.Job) -> list[str]:
    return [msgspec.json.decode(e.data)["text"] for e in job.events if e.type == "notice"]


def test_a_job_warns_saves_is_stopped_and_goes_on(client: jr.Client) -> None:
    job = client.with_options(**CENTS).submit(count)
    with pytest.raises(jr.BudgetExceeded, match=f"run --resume {job.id[:8]}`") as stopped:
        job.result(timeout=60)
    assert "reached its cost limit" in str(stopped.value)
    assert (job.status, job.reason) == ("failed", "cost_limit")
    assert job.stdout == "from 0\nsaving for budget\n"
    (told,) = notices(job)
    assert told.startswith("80 % of what it may cost is spent; a checkpoint is saved: ")
    assert history(job) == ["submit", "claim", "start", "warn", "checkpoint", "expire"]
    assert job.view.money.cost_ucredits <= job.view.money.hold_ucredits
    again = client.repeat(job.id, resume=True)
    went_to = again.result(timeout=60)
    (_, begun), *_ = (line.split() for line in again.stdout.splitlines())
    assert went_to == list(range(int(begun) + FEW))
    assert 0 < int(begun) < STEPS
    assert (again.view.resumes, again.machine) == (job.id, "g5.xlarge.od")
    assert client.balance().held_ucredits == 0


def waits() -> None:
    import time

    while True:
        time.sleep(0.05)


def test_a_job_that_registered_nothing_is_told_that_nothing_is_saved(client: jr.Client) -> None:
    job = client.with_options(machine="g5.xlarge.od", max_cost=0.0006).submit(waits)
    with pytest.raises(jr.BudgetExceeded, match="allow more with --max-cost"):
        job.result(timeout=60)
    assert job.view.checkpoint_at is None
    told = "80 % of what it may cost is spent; nothing is saved: no function is registered with"
    assert [n.startswith(told) for n in notices(job)] == [True]
    with pytest.raises(jr.JupyterRemoteError, match="has no checkpoint: it saved none"):
        client.repeat(job.id, resume=True)


def test_the_least_cost_limit_that_is_taken_warns_and_stops(client: jr.Client) -> None:
    costs = client.with_options(machine="g5.xlarge.od")
    with pytest.raises(jr.JupyterRemoteError, match=r"below the least price .* \(\$0\.0003\)"):
        costs.with_options(max_cost=0.00001).submit(waits)
    job = costs.with_options(max_cost=0.0003).submit(waits)
    with pytest.raises(jr.BudgetExceeded):
        job.result(timeout=60)
    assert job.view.money.cost_ucredits == job.view.money.hold_ucredits
    assert history(job)[-2:] == ["warn", "expire"]


def test_a_checkpoint_that_never_ends_holds_up_no_limit(client: jr.Client) -> None:
    def hangs() -> None:
        import time

        import jupyter_remote as jr

        @jr.on_checkpoint
        def save() -> None:
            print("saving")
            while True:
                time.sleep(0.01)

        while True:
            time.sleep(0.05)

    job = client.with_options(machine="g5.xlarge.od", max_cost=0.0006).submit(hangs)
    with pytest.raises(jr.BudgetExceeded):
        job.result(timeout=60)
    assert job.stdout == "saving\n"
    ran_s = job.view.ended_at - job.view.started_at
    assert ran_s < client.settings.interrupt_grace_s + 2  # it did not have to be killed


def test_a_cancel_saves_first_if_asked_and_a_follower_goes_on(
    client: jr.Client, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    job = client.submit(count, str(gate))
    until(lambda: "begun" in job.stdout)
    assert job.cancel(checkpoint=True)
    assert job.cancel(checkpoint=True)
    with pytest.raises(jr.JobCancelled):
        job.result(timeout=60)
    assert job.stdout.endswith("saving for cancel\n")
    assert history(job)[-3:] == ["cancel", "checkpoint", "acknowledge_cancel"]
    gate.touch()

    @jr.remote(resume=job.id)
    def counted() -> Any:
        return jr.job.checkpoint

    followers = client.with_options(resume=job.id[:8])
    assert followers.submit(count).result(timeout=60) == list(range(3 + FEW))
    assert followers.map(lambda _: jr.job.checkpoint, [1, 2])[1].result(timeout=60) == [0, 1, 2]
    assert counted() == [0, 1, 2]


def test_a_cell_of_a_session_saves_and_the_session_lives(client: jr.Client, tmp_path: Path) -> None:
    code = (
        "import jupyter_remote as jr, time\n"
        "@jr.on_checkpoint\ndef save(): return 'saved'\n"
        "print('begun')\nwhile True: await __import__('asyncio').sleep(0.01)"
    )
    from jupyter_remote.wire import JobSpec

    session = client.session("fused")
    job = client.submit_spec(JobSpec(kind="cell", code=code, session=session.job.id))
    until(lambda: "begun" in job.stdout)
    job.cancel(checkpoint=True)
    assert job.wait(60)
    assert (job.status, job.view.checkpoint_bytes > 0) == ("cancelled", True)
    assert session.job.view.checkpoint_at is None
    looks = JobSpec(kind="cell", code="import jupyter_remote as jr\nprint(jr.job.checkpoint)")
    looks = msgspec.structs.replace(looks, session=session.job.id)
    follower = client.with_options(resume=job.id).submit_spec(looks)
    assert follower.wait(60)
    assert follower.stdout == "saved\n"
    session.stop()


def test_a_damaged_checkpoint_is_told_where_it_is_opened_and_then_at_submit(
    client: jr.Client, tmp_path: Path
) -> None:
    job = client.submit(count, str(tmp_path / "gate"))
    until(lambda: "begun" in job.stdout)
    job.cancel(checkpoint=True)
    assert job.wait(60)
    blobs = Path(client.info().blobs)
    size_bytes = job.view.checkpoint_bytes
    (blob,) = [path for path in blobs.glob("*/*") if path.stat().st_size == size_bytes]
    blob.chmod(0o600)
    blob.write_bytes(b"?" * blob.stat().st_size)
    resumed = client.with_options(resume=job.id)
    with pytest.raises(jr.JupyterRemoteError, match="The checkpoint cannot be opened"):
        resumed.submit(count).result(timeout=60)
    with pytest.raises(jr.JupyterRemoteError, match="is damaged, or gone; nothing was charged"):
        resumed.submit(count)


def test_a_session_that_is_stopped_at_its_cost_limit_leaves_what_its_cells_registered(
    client: jr.Client,
) -> None:
    session = client.session("lab", **CENTS | {"max_cost": 0.003})  # 10.7 s, for the cells, too
    session.execute(
        "import jupyter_remote as jr\nn = 1\n@jr.on_checkpoint\ndef save(): return n", block=True
    )
    session.execute("n = 7", block=True)
    until(lambda: session.job.done())
    view = session.job.view
    assert (view.status, view.reason) == ("failed", "cost_limit")
    assert view.checkpoint_at is not None
    with pytest.raises(jr.JupyterRemoteError, match="A session is no job to be repeated"):
        client.repeat(view.id, resume=True)
    goes_on = client.with_options(resume=view.id)
    assert goes_on.submit(lambda: jr.job.checkpoint).result(timeout=60) == 7
