from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from jupyter_remote.model import (
    AttemptRecord,
    AttemptState,
    JobId,
    JobRecord,
    JobState,
    Limits,
    OwnerId,
    Reason,
    Stage,
    WorkerId,
    WorkerRecord,
)
from jupyter_remote.money.catalog import GIB, catalogue
from jupyter_remote.money.receipt import SHOWN, Surroundings, receipt_of
from jupyter_remote.wire import (
    RECEIPT,
    EnvironmentSpec,
    FileRef,
    GpuMetrics,
    JobSpec,
    Metrics,
    NameInfo,
    Parcel,
    Receipt,
    Result,
    Segment,
    encode,
)

A, B, C = "a" * 64, "b" * 64, "c" * 64
MACHINES = catalogue()
G5 = next(m for m in MACHINES if m.id == "g5.xlarge")
WORKER = WorkerRecord(
    id=WorkerId("w1"),
    instance="local",
    machine="local",
    slots=2,
    connected=True,
    draining=False,
    seen_at=0.0,
    python="3.11.7",
    platform="Linux-6.1",
)
SPEC = JobSpec(
    kind="cell",
    code="y = x + 1",
    inputs=Parcel(
        [Segment(A, 100, b"0" * 100), Segment(B, 5000)],
        "3.11",
        versions={"numpy": "2.4.5", "pandas": "3.0.0"},
        names=[NameInfo("x", "ndarray", 5000), NameInfo("n", "int", 28)],
    ),
    files=[FileRef("helpers.py", Segment(C, 10), module=True)],
)


def job(**changes: Any) -> JobRecord:
    values: dict[str, Any] = {
        "id": JobId("job-1"),
        "owner": OwnerId("ada"),
        "client": "notebook",
        "kind": "cell",
        "state": JobState.SUCCEEDED,
        "cancel_requested": False,
        "reason": Reason.NONE,
        "detail": "",
        "stage": Stage.DONE,
        "description": "a cell",
        "visibility": "private",
        "machine": "g5.xlarge",
        "simulated": True,
        "spec": b"",
        "limits": Limits(),
        "epoch": 2,
        "starts": 2,
        "max_attempts": 3,
        "retries": 0,
        "rate_ucredits_per_h": 44_000_000,
        "hold_ucredits": 10_000_000,
        "cost_ucredits": 2_200_000,
        "submitted_at": 100.0,
        "ready": True,
        "worker": WorkerId("w1"),
        "claimed_at": 200.0,
        "started_at": 201.0,
        "ended_at": 381.0,
        "priced_on": "2025-11-15",
        "notebook": "train.ipynb",
        "code_key": C,
    }
    return JobRecord(**(values | changes))


def attempt(epoch: int, state: AttemptState, started_at: float | None, ended_at: float):
    return AttemptRecord(
        job=JobId("job-1"),
        epoch=epoch,
        worker=WorkerId(f"w{epoch}"),
        state=state,
        claimed_at=110.0,
        lease_until_at=0.0,
        started_at=started_at,
        ended_at=ended_at,
    )


LOST_THEN_DONE = [
    attempt(1, AttemptState.LOST, 112.0, 142.0),
    attempt(2, AttemptState.DONE, 201.0, 381.0),
]


def receipt(record: JobRecord | None = None, spec: bytes | None = None, **around: Any) -> Receipt:
    known = {"version": "0.1", "attempts": LOST_THEN_DONE, "worker": WORKER, "offer": G5}
    sent = encode(SPEC) if spec is None else spec
    return receipt_of(record or job(), sent, Surroundings(**(known | around)))


def test_inputs_are_named_and_the_digest_is_of_all_of_them_as_they_share_a_pickle():
    made = receipt()
    assert [n.name for n in made.inputs] == ["x", "n"]
    assert made.segments == [(A, 100), (B, 5000)]
    assert made.inputs_digest == hashlib.sha256(f"{A}\0{B}".encode()).hexdigest()
    assert made.inputs_bytes == 5110
    assert [(f.path, f.digest) for f in made.files] == [("helpers.py", C)]


def test_the_digest_is_of_all_segments_also_where_not_all_are_listed():
    many = [Segment(f"{i:064x}", 1) for i in range(2 * SHOWN)]
    before = receipt(spec=encode(JobSpec(kind="call", inputs=Parcel(many))))
    after = receipt(spec=encode(JobSpec(kind="call", inputs=Parcel([*many[:-1], Segment(A, 1)]))))
    assert len(before.segments) == SHOWN
    assert before.segments == after.segments
    assert before.inputs_digest != after.inputs_digest


def test_versions_are_those_that_ran_where_the_result_says_so():
    came = encode(Result(value=Parcel([], "3.11", versions={"numpy": "2.4.6"})))
    assert receipt(job(result=came)).environment.packages == {"numpy": "2.4.6", "pandas": "3.0.0"}
    assert receipt().environment.packages["numpy"] == "2.4.5"
    assert receipt().environment.python == "3.11.7"


def test_an_interpreter_of_its_own_is_not_told_as_the_workers():
    other = encode(JobSpec(kind="cell", inputs=Parcel([], "3.12")))
    assert receipt(spec=other).environment.python == "3.12"


def test_an_environment_of_its_own_is_told_with_its_lock():
    made = EnvironmentSpec(digest=A, lock="tqdm==4.1", packages={"tqdm": "4.1", "numpy": "1.0"})
    found = receipt(spec=encode(msgspec.structs.replace(SPEC, environment=made))).environment
    assert found.lock == A
    assert found.packages == {"numpy": "2.4.5", "pandas": "3.0.0", "tqdm": "4.1"}
    assert receipt().environment.lock == ""


def test_times_and_money_of_attempts_are_told_apart():
    charged = {("platform_loss", 1): 366_667, ("capture", 2): 2_200_000}
    made = receipt(charged=charged)
    assert (made.waited_s, made.ran_s) == (12.0, 210.0)
    assert [(a.how, a.charged_ucredits, a.lost_ucredits) for a in made.attempts] == [
        ("lost", 0, 366_667),
        ("done", 2_200_000, 0),
    ]
    assert (made.cost.total_ucredits, made.cost.lost_ucredits) == (2_200_000, 366_667)
    assert (made.price.usd_per_h, made.price.priced_on) == (0.44, "2025-11-15")
    assert made.price.source == G5.source


def test_who_ended_it_is_told():
    ends = {
        Reason.NONE: "code",
        Reason.USER_ERROR: "code",
        Reason.CANCELLED: "user",
        Reason.COST_LIMIT: "cost limit",
        Reason.GPU_IDLE: "idle limit",
        Reason.OUT_OF_MEMORY: "system",
        Reason.LOST: "platform",
    }
    for reason, by in ends.items():
        assert receipt(job(reason=reason, cancel_requested=by == "user")).ended_by == by
    itself = job(reason=Reason.CANCELLED, state=JobState.CANCELLED)
    assert receipt(itself).ended_by == "code"
    cut = job(reason=Reason.COST_LIMIT, fuse="budget day")
    assert receipt(cut).ended_by == "budget day"


def test_what_a_session_waited_for_is_a_part_of_its_cost():
    use = Metrics(at=0.0, cpu_percent=0.0, memory_bytes=0, peak_memory_bytes=0, busy_s=45.0)
    cost = receipt(job(kind="session", metrics=encode(use))).cost
    assert (cost.total_ucredits, cost.run_ucredits) == (2_200_000, 550_000)
    assert cost.waiting_ucredits == 1_650_000
    assert receipt(job(metrics=encode(use))).cost.waiting_ucredits is None


def test_advice_is_for_jobs_that_completed():
    use = encode(
        Metrics(
            at=0.0,
            cpu_percent=0.0,
            memory_bytes=0,
            peak_memory_bytes=2 * GIB,
            measured_s=180.0,
            gpus=[GpuMetrics("A10G", mean_percent=5.0, peak_percent=9.0, peak_memory_bytes=GIB)],
        )
    )
    made = receipt(job(metrics=use), machines=MACHINES)
    assert made.advice is not None
    assert made.advice.machine == "g4dn.xlarge"
    assert made.use is not None
    failed = job(metrics=use, state=JobState.FAILED)
    assert receipt(failed, machines=MACHINES).advice is None


def test_a_job_that_never_started_waited_to_its_end():
    record = job(state=JobState.CANCELLED, started_at=None, epoch=0, worker=None, ended_at=130.0)
    made = receipt(record, attempts=[], worker=None)
    assert (made.waited_s, made.ran_s, made.attempts, made.worker) == (30.0, 0.0, [], "")


def test_a_spec_that_is_no_json_gives_a_receipt_without_inputs():
    made = receipt(spec=b"\x00 opaque")
    assert (made.inputs, made.segments, made.inputs_digest) == ([], [], "")
    assert made.receipt == RECEIPT


def test_it_reads_back_as_it_was_written():
    made = receipt()
    assert msgspec.json.decode(encode(made), type=Receipt) == made
