"""Machines elsewhere, through a real server: rented, shown, ended; and who may speak for one."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from jupyter_remote import errors, wire
from jupyter_remote.client.machines import left_by_stop
from jupyter_remote.errors import LaunchRefused
from jupyter_remote.http import Http
from jupyter_remote.model import InstanceRecord, InstanceState, JobState, MachineType
from jupyter_remote.providers.base import Launch
from jupyter_remote.providers.identity import backend_id
from jupyter_remote.server import elsewhere
from jupyter_remote.settings import Settings
from tests.scheduler.cloud import TYPES, FakeCloud, machine_type

from .conftest import LIMIT_S, Running, Worker, request, submit, until

G5 = wire.Need(machine="g5.xlarge")
HALF = wire.Need(machine="g5.12xlarge", gpu="A10G", gpu_count=2)


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud()


@pytest.fixture
def server(tmp_path: Path, cloud: FakeCloud) -> Iterator[Running]:
    running = Running(tmp_path, elsewhere={"fake": cloud}, machine_idle_s=1000.0)
    yield running
    running.stop()


@pytest.fixture
def launch(server: Running, cloud: FakeCloud) -> Launch:
    """What was asked for the first job."""
    submit(server, need=G5)
    until(lambda: cloud.alive)
    return cloud.launches[0]


def token_of(server: Running, launch: Launch) -> str:
    """Of the worker on a machine that has enrolled."""
    http = Http(server.url, launch.enrolment_token)
    enrolled = http.call("POST", "/v1/workers/enrol", wire.Enrol(instance=launch.id), wire.Enrolled)
    http.close()
    return str(enrolled.token)


def dial(server: Running, launch: Launch, token: str = "", **changes: Any) -> Worker:
    worker = Worker(server, id=f"w-{launch.id}", token=token or token_of(server, launch))
    hello = wire.Hello(
        worker=worker.id, instance=launch.id, machine=launch.machine, slots=1, python="3.11.7",
    )  # fmt: skip
    worker.send(msgspec.structs.replace(hello, **changes))
    return worker


def instances(server: Running, token: str = "") -> list[wire.InstanceView]:
    http = Http(server.url, token or server.token)
    found = http.call("GET", "/v1/machines/instances", reply=wire.InstanceList).instances
    http.close()
    return found


def test_a_job_runs_on_a_machine_that_was_rented_for_it(
    server: Running, cloud: FakeCloud, launch: Launch
) -> None:
    assert (launch.machine, launch.spot, launch.owner) == (
        "g5.xlarge",
        True,
        server.backend.facts.owner,
    )
    worker = dial(server, launch)
    assert isinstance(worker.receive(), wire.Welcome)
    job = worker.run().job
    view = server.http.call("GET", f"/v1/jobs/{job}", reply=wire.JobView)
    assert (view.status, view.machine, view.money.simulated) == ("completed", "g5.xlarge", False)
    [shown] = instances(server)
    assert (shown.state, shown.machine, shown.job) == ("ready", "g5.xlarge", job)
    assert (shown.slots, shown.busy, shown.usd_per_h, shown.zone) == (1, 0, 0.44, "a")
    assert left_by_stop([shown], 600.0) == []
    until(lambda: instances(server)[0].idle_since_at)
    [shown] = instances(server)
    assert shown.ends_at == pytest.approx((shown.idle_since_at or 0) + 1000.0)
    worker.close()


def test_the_account_says_what_rented_machines_cost_whatever_runs_there(
    server: Running, launch: Launch
) -> None:
    def rented(token: str) -> tuple[int, float]:
        http = Http(server.url, token)
        found = http.call("GET", "/v1/account/summary", reply=wire.AccountSummary)
        http.close()
        return found.machines, found.machines_usd_per_h

    worker = dial(server, launch)
    worker.run()
    assert rented(server.token) == (1, 0.44)
    assert rented(server.make_token("read", owner="mallory")) == (0, 0.0)
    worker.close()


def test_what_a_worker_says_of_its_machine_does_not_matter(server: Running, launch: Launch) -> None:
    worker = dial(server, launch, machine="local", slots=99)
    assert isinstance(worker.receive(), wire.Welcome)
    [agent] = until(lambda: list(server.backend.scheduler.board.agents.values()))
    assert (agent.pool, agent.slots, agent.owner) == ("g5.xlarge", 1, launch.owner)
    worker.close()


@pytest.mark.parametrize("claim", ["local", "fake-0123456789abcdef"])
def test_the_token_of_a_machine_is_good_for_that_machine_only(
    server: Running, launch: Launch, claim: str
) -> None:
    worker = dial(server, launch, instance=claim)
    with pytest.raises(ConnectionClosed):
        worker.receive()
    worker.close()


def test_a_machine_is_spoken_for_by_its_own_token_only(server: Running, launch: Launch) -> None:
    worker = dial(server, launch, server.make_token("worker"))
    with pytest.raises(ConnectionClosed):
        worker.receive()
    worker.close()


def test_a_machine_that_is_being_ended_is_not_welcome_any_more(
    server: Running, cloud: FakeCloud, launch: Launch
) -> None:
    token = token_of(server, launch)
    cloud.unheard = 10**6
    server.http.call("DELETE", f"/v1/machines/instances/{launch.id}", reply=wire.InstanceView)
    until(lambda: cloud.terminated)
    worker = dial(server, launch, token)
    with pytest.raises(ConnectionClosed):
        worker.receive()
    worker.close()
    cloud.unheard = 0


def test_an_owner_ends_a_machine_and_its_token_with_it(
    server: Running, cloud: FakeCloud, launch: Launch
) -> None:
    worker = dial(server, launch)
    worker.receive()
    worker.run()
    server.http.call("DELETE", f"/v1/machines/instances/{launch.id}", reply=wire.InstanceView)
    until(lambda: not cloud.alive)
    until(lambda: instances(server)[0].state == "terminated")
    [shown] = instances(server)
    assert (shown.detail, shown.usd_per_h) == ("its owner ended it", 0.0)
    with pytest.raises(ConnectionClosed):
        list(iter(worker.receive, None))
    worker.close()


def test_a_machine_that_is_gone_by_the_time_it_is_shown_is_not_shown_as_there(
    server: Running, cloud: FakeCloud, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, scheduler = server.backend.store, server.backend.scheduler
    read = store.instances
    cloud.unheard = 10**6

    def late(*args: Any, **options: Any) -> list[InstanceRecord]:
        rows = read(*args, **options)
        gone = scheduler.fleet._gone(scheduler.board.machines[launch.id], "a test")
        asyncio.run_coroutine_threadsafe(gone, scheduler._main.get_loop()).result()
        return rows

    cancel = f"/v1/jobs/{instances(server)[0].job}/cancel"  # else it gets another machine
    server.http.call("POST", cancel, wire.CancelRequest(), wire.JobView)
    server.http.call("DELETE", f"/v1/machines/instances/{launch.id}", reply=wire.InstanceView)
    until(lambda: instances(server)[0].state == "terminating")
    monkeypatch.setattr(store, "instances", late)
    [shown] = instances(server)
    assert (shown.state, shown.usd_per_h) == ("terminated", 0.0)


def test_machines_of_others_look_absent(server: Running, launch: Launch) -> None:
    mallory = server.make_token("submit", "read", owner="mallory")
    assert instances(server, mallory) == []
    http = Http(server.url, mallory)
    for method, path in (("GET", f"{launch.id}/log"), ("DELETE", launch.id)):
        with pytest.raises(errors.NotFound):
            http.call(method, f"/v1/machines/instances/{path}")
    http.close()


def test_the_log_of_a_boot_is_read_by_its_machine_or_its_job(
    server: Running, launch: Launch
) -> None:
    store, [shown] = server.backend.store, instances(server)
    server.backend.writer.call_sync(store.report_boot, launch.id, "installing", b"pip: no space")  # type: ignore[attr-defined]
    for id in (launch.id, shown.job):
        log = server.http.call("GET", f"/v1/machines/instances/{id}/log", reply=wire.BootLog)
        assert (log.instance, log.step, log.text) == (launch.id, "installing", "pip: no space")


# --- what can be had -------------------------------------------------------------------------
def test_beside_the_types_of_a_provider_none_is_simulated(server: Running) -> None:
    listed = server.http.call("GET", "/v1/machines", reply=wire.MachineList)
    assert [m.id for m in listed.machines] == ["local", *(m.id for m in TYPES)]
    assert not any(m.simulated for m in listed.machines)
    assert listed.problems == []


@pytest.mark.parametrize("need", [wire.Need(machine="p5.48xlarge"), wire.Need(gpu="H100")])
def test_what_the_provider_does_not_have_is_refused_and_not_simulated(
    server: Running, need: wire.Need
) -> None:
    with pytest.raises(LaunchRefused, match="fake has no p5") as refused:
        submit(server, need=need)
    assert "%remote machines" in refused.value.hint


class Slow:
    """A provider that says what it has when the test lets it."""

    name = "slow"

    def __init__(self, rows: list[MachineType]) -> None:
        self.rows, self.answers = rows, threading.Event()

    def machines(self) -> list[MachineType]:
        self.answers.wait(LIMIT_S)
        return self.rows

    def __getattr__(self, name: str) -> Any:
        return getattr(FakeCloud(name="slow"), name)


def test_a_list_of_machines_waits_for_what_this_computer_has(tmp_path: Path) -> None:
    gpu = machine_type("local", provider="local", usd_per_h=0.0)
    here = Slow([gpu])
    server = Running(tmp_path, here)
    threading.Timer(0.2, here.answers.set).start()
    listed = server.http.call("GET", "/v1/machines", reply=wire.MachineList)
    assert listed.machines[0] == gpu
    server.stop()


def test_a_gpu_is_looked_for_on_this_computer_before_one_is_simulated(tmp_path: Path) -> None:
    here = Slow([machine_type("local", provider="local", usd_per_h=0.0)])
    server = Running(tmp_path, here)
    threading.Timer(0.2, here.answers.set).start()
    assert submit(server, need=wire.Need(gpu="A10G")).job.machine == "local"
    server.stop()


def test_a_list_of_machines_does_not_wait_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "HERE_S", 0.05)
    here, there = Slow([]), Slow([machine_type("g5.xlarge")])
    server = Running(tmp_path, here, elsewhere={"slow": there})
    listed = server.http.call("GET", "/v1/machines", reply=wire.MachineList)
    assert [m.id for m in listed.machines] == ["local"]
    assert listed.problems == ["slow has not said yet which machines it has."]
    here.answers.set()
    there.answers.set()
    until(lambda: server.http.call("GET", "/v1/machines", reply=wire.MachineList).problems == [])
    server.stop()


def test_a_provider_that_says_nothing_is_told_and_nothing_is_simulated_in_its_place(
    tmp_path: Path, cloud: FakeCloud
) -> None:
    cloud.broken = LaunchRefused("No credentials.", hint="Run aws configure.", kind="credentials")
    server = Running(tmp_path, elsewhere={"fake": cloud})
    for ask in (
        lambda: submit(server, need=G5),
        lambda: server.http.call(
            "POST", "/v1/plans", wire.EstimateRequest(need=G5), wire.PlanReply
        ),
    ):
        with pytest.raises(LaunchRefused, match="No credentials") as refused:
            ask()
        assert refused.value.hint == "Run aws configure."
    listed = server.http.call("GET", "/v1/machines", reply=wire.MachineList)
    assert listed.problems == ["fake: No credentials.\nRun aws configure."]
    assert submit(server).job.status == "queued"
    server.stop()


def test_a_provider_that_is_mended_is_asked_again_soon_and_one_that_is_silent_told_so(
    tmp_path: Path, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "TRY_AGAIN_S", 0.05)
    cloud.broken = ConnectionError("AWS in us-east-1 did not answer: no route")
    server = Running(tmp_path, elsewhere={"fake": cloud})
    with pytest.raises(LaunchRefused, match=r"machines it has: AWS in us-east-1 did not") as told:
        submit(server, need=G5)
    assert "asked again" in told.value.hint
    cloud.broken = None
    until(lambda: server.backend.scheduler.board.types)
    assert submit(server, need=G5).job.status == "queued"
    server.stop()


def test_a_server_without_a_provider_refuses_what_it_could_never_run(tmp_path: Path) -> None:
    server = Running(tmp_path, embedded=False)
    with pytest.raises(errors.UnknownMachine, match="nothing that starts a g5"):
        submit(server, need=G5)
    batch = wire.BatchRequest(
        id="b", ids=[request().id], inputs=[wire.Parcel([])], template=request(need=G5)
    )
    with pytest.raises(errors.UnknownMachine):
        server.http.call("POST", "/v1/batches", batch, wire.BatchSubmitted)
    assert submit(server).job.status == "queued", "a worker may be started by hand"
    server.stop()


def test_jobs_for_which_no_machine_is_found_end_with_the_providers_words(
    server: Running, cloud: FakeCloud
) -> None:
    cloud.refusal = LaunchRefused("The quota is 0.", hint="Ask for more.", kind="quota")
    id = submit(server, need=G5).job.id
    view = until(lambda: _ended(server, id))
    assert (view.status, view.reason) == ("failed", "no_machine")
    assert view.detail == "no g5.xlarge machine: The quota is 0."
    assert view.money.cost_ucredits == 0
    done = server.http.call("GET", f"/v1/jobs/{id}/result", reply=wire.Done)
    assert done.error is not None
    assert done.receipt is not None
    told = server.http.call("GET", f"/v1/jobs/{id}/history", reply=wire.HistoryReply).history
    assert "The quota is 0; not charged" in told[-1].text


def _ended(server: Running, id: str) -> wire.JobView | None:
    view = server.http.call("GET", f"/v1/jobs/{id}", reply=wire.JobView)
    return view if view.status == "failed" else None


def test_part_of_a_machine_costs_its_part(server: Running, cloud: FakeCloud) -> None:
    ask = wire.EstimateRequest(need=HALF, timeout_s=60.0)
    plan = server.http.call("POST", "/v1/plans", ask, wire.PlanReply)
    assert (plan.gpus, plan.rate_ucredits_per_h) == (2, 133_000_000)
    assert (plan.warm, plan.start_s) == (False, 90.0)
    first = submit(server, need=HALF, timeout_s=60.0).job
    second = submit(server, need=HALF, timeout_s=60.0).job
    assert first.money.rate_ucredits_per_h == 133_000_000
    until(lambda: cloud.alive)
    assert cloud.launches[0].slots == 4
    worker = dial(server, cloud.launches[0])
    assigned = [worker.pull(wire.Assign), worker.pull(wire.Assign)]
    assert {a.job: a.gpus for a in assigned} == {first.id: [0, 1], second.id: [2, 3]}
    assert instances(server)[0].busy == 4
    worker.close()


def test_a_machine_has_its_slots_before_its_provider_has_answered(
    server: Running, cloud: FakeCloud
) -> None:
    submit(server, need=HALF)
    until(lambda: cloud.alive)
    server.backend.scheduler.board.types.clear()  # as just after a restart
    [launch] = cloud.launches
    http = Http(server.url, launch.enrolment_token)
    given = http.call("POST", "/v1/workers/enrol", wire.Enrol(instance=launch.id), wire.Enrolled)
    http.close()
    assert given.config["slots"] == 4
    worker = dial(server, launch, given.token, slots=4)
    worker.pull(wire.Assign)
    [agent] = server.backend.scheduler.board.agents.values()
    assert (agent.slots, agent.free) == (4, 2)
    worker.close()


def test_machines_that_run_something_outlive_their_backend(
    tmp_path: Path, cloud: FakeCloud
) -> None:
    first = Running(tmp_path, elsewhere={"fake": cloud})
    submit(first, need=G5)
    until(lambda: cloud.alive)
    token = token_of(first, cloud.launches[0])
    worker = dial(first, cloud.launches[0], token)
    assign = worker.pull(wire.Assign)
    assert worker.start(assign).ok
    [goes_on, until_then] = left_by_stop(instances(first), 600.0)
    assert goes_on == "Machines at work go on, for $0.44/h: g5.xlarge vm-0."
    assert until_then.startswith("A backend that is started within 10 min takes them up again")
    first.stop()
    assert len(cloud.alive) == 1
    with pytest.raises(ConnectionClosed):
        worker.pull(wire.Drain)
    second = Running(tmp_path, elsewhere={"fake": cloud})
    worker = dial(second, cloud.launches[0], token, running=[(assign.job, assign.epoch)])
    worker.pull(wire.Welcome)
    assert worker.complete(assign).ok
    job = second.backend.store.job(assign.job)  # type: ignore[arg-type]
    assert job.state is JobState.SUCCEEDED
    second.stop()
    assert cloud.alive == []
    row = second.backend.facts and cloud.machines_by_id[cloud.launches[0].id]
    assert row.state is InstanceState.TERMINATED


def test_a_provider_is_found_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(errors.UsageError, match="no provider of machines called 'nowhere'"):
        elsewhere.providers_of(Settings(providers="nowhere"), tmp_path)
    assert elsewhere.providers_of(Settings(), tmp_path) == {}


def test_a_provider_is_made_with_the_settings_and_the_name_of_the_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("jupyter_remote.providers.fake")
    module.make = lambda settings, id: (settings.providers, id)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    made = elsewhere.providers_of(Settings(providers="fake"), tmp_path)
    assert made == {"fake": ("fake", backend_id(tmp_path))}


def test_real_types_are_chosen_before_simulated_ones(tmp_path: Path, cloud: FakeCloud) -> None:
    cloud.types = [machine_type("g5.xlarge.od", usd_per_h=1.1)]
    server = Running(tmp_path, elsewhere={"fake": cloud})
    ask = wire.EstimateRequest(need=wire.Need(gpu="A10G", gpu_count=1))
    plan = server.http.call("POST", "/v1/plans", ask, wire.PlanReply)
    assert plan.machine.id == "g5.xlarge.od"
    server.stop()


@pytest.mark.parametrize(
    ("worker_url", "said"),
    [
        ("", "address of this computer alone"),
        ("http://localhost:8765", "address of this computer alone"),
        ("https://127.8.0.1", "address of this computer alone"),
        ("http://[::1]:80", "address of this computer alone"),
        ("ftp://name.example", "no address of the web"),
        ("name.example:8765", "no address of the web"),
    ],
)
def test_machines_that_could_not_reach_the_backend_are_refused_at_submit(
    tmp_path: Path, cloud: FakeCloud, worker_url: str, said: str
) -> None:
    cloud.near = False
    server = Running(tmp_path, elsewhere={"fake": cloud}, worker_url=worker_url)
    with pytest.raises(LaunchRefused, match=said) as refused:
        submit(server, need=G5)
    assert "JUPYTER_REMOTE_WORKER_URL" in refused.value.hint
    listed = server.http.call("GET", "/v1/machines", reply=wire.MachineList)
    assert [said in problem for problem in listed.problems] == [True]
    assert submit(server).job.status == "queued", "this computer is reached"
    assert cloud.launches == []
    server.stop()


def test_jobs_of_before_are_told_that_machines_cannot_reach_the_backend_any_more(
    tmp_path: Path, cloud: FakeCloud
) -> None:
    first = Running(tmp_path, elsewhere={"fake": cloud}, machines_most=0)
    id = submit(first, need=G5).job.id
    first.stop()
    cloud.near = False
    second = Running(tmp_path, elsewhere={"fake": cloud})
    view = until(lambda: _ended(second, id))
    assert "cannot reach this backend" in view.detail
    assert cloud.launches == []
    second.stop()
