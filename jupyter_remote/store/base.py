"""The store: verbs of jobs, not of SQL. Each verb is one transaction with its history and ledger.

All verbs are synchronous and are called from the store's own thread (see
:class:`jupyter_remote.store.writer.Writer`, which groups commits). A verb that writes on behalf of
an attempt takes ``(job, epoch)`` and raises :class:`~jupyter_remote.errors.Conflict` when the
epoch is not the latest or the state does not allow the transition; nothing is changed then.
Absent and somebody else's raise the same :class:`~jupyter_remote.errors.NotFound`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from jupyter_remote.model import (
    AttemptRecord,
    History,
    InstanceRecord,
    InstanceState,
    JobId,
    JobRecord,
    JobState,
    OwnerId,
    PastRun,
    Share,
    Stage,
    TokenRecord,
    WorkerId,
    WorkerRecord,
)
from jupyter_remote.store.base_money import MoneyStore
from jupyter_remote.store.base_parts import (
    AttemptUpdate,
    BlobRow,
    Changed,
    NewJob,
    Outcome,
    Snapshot,
    Totals,
    Written,
)
from jupyter_remote.wire import (
    Checkpoint,
    Event,
    MissingSegment,
    Segment,
)


class Store(MoneyStore, Protocol):
    """What a store can do. Conformance: ``tests/conformance/store.py``, run on each."""

    def close(self) -> None: ...

    # -- jobs
    def submit(self, new: Sequence[NewJob], now: float) -> list[Written]:
        """Write jobs, their holds and history. All or nothing. One whose key is in the cache of
        its owner has the result of that entry at once, needs no inputs and costs nothing.

        Raises InsufficientFunds (says how much is missing), BudgetExceeded, KeyReused.
        """
        ...

    def job(self, job: JobId, owner: OwnerId | None = None) -> JobRecord:
        """Raises NotFound, also when ``owner`` is given and is not the job's."""
        ...

    def find(self, prefix: str, owner: OwnerId, limit: int = 10) -> list[JobRecord]:
        """Jobs of ``owner`` whose id begins with ``prefix``, newest first."""
        ...

    def jobs(
        self,
        owner: OwnerId,
        *,
        states: Sequence[JobState] | None = None,
        client: str | None = None,
        batch: str | None = None,
        notebook: str | None = None,
        ids: Sequence[JobId] | None = None,
        limit: int = 50,
        before: str = "",
    ) -> list[JobRecord]:
        """Newest first. ``before`` is the id of the last job of the page before; ``ids``: only of
        these jobs."""
        ...

    def sessions(self, owner: OwnerId, name: str = "") -> list[JobRecord]:
        """Those that are not over, newest first; with a name the latest of that name, whatever
        became of it."""
        ...

    def history(self, job: JobId) -> list[History]: ...

    def past_runs(
        self,
        owner: OwnerId,
        *,
        code_key: str = "",
        notebook: str = "",
        kind: str = "",
        limit: int = 100,
    ) -> list[PastRun]:
        """The latest jobs that succeeded, newest first: of one code, or else of one notebook, or
        else of one kind (without calls of batches). Results of the cache are none, nor is what
        went on from a checkpoint."""
        ...

    def snapshot(self, limit: int = 1000) -> Snapshot: ...

    # -- transitions
    def claim(
        self, job: JobId, worker: WorkerId, now: float, lease_s: float, devices: str = ""
    ) -> tuple[Changed, AttemptRecord] | None:
        """QUEUED to CLAIMED with epoch + 1; None when the job is not claimable any more.

        ``devices``: of the machine's GPUs those that the attempt has, "0,1".
        """
        ...

    def start(self, job: JobId, epoch: int, now: float) -> Changed:
        """CLAIMED to RUNNING; sent twice it is the same. Conflict if cancel was requested."""
        ...

    def beat(self, update: AttemptUpdate, now: float, lease_s: float) -> Changed:
        """Renew the lease and store events (each seq once). The reply's job has the flags."""
        ...

    def finish(self, job: JobId, epoch: int, outcome: Outcome, now: float) -> Changed:
        """The attempt ended.

        succeeded → SUCCEEDED; failed → FAILED, or RETRY_WAIT while ``retries`` are left;
        cancelled → CANCELLED; expired → EXPIRED; died by its own code (reason ``kernel_died``,
        ``out_of_memory``) → as failed; died otherwise → as a lost lease, with the signal kept
        (two deaths on different workers by the same signal → FAILED, reason ``poison``).
        With the cancel flag set, `succeeded` stays SUCCEEDED (finished before the cancel) and
        everything else is CANCELLED. Money is captured and the rest of the hold released.
        """
        ...

    def release(self, job: JobId, epoch: int, now: float, why: str) -> Changed:
        """CLAIMED back to QUEUED; costs nothing and does not count as an attempt."""
        ...

    def cancel(
        self,
        job: JobId,
        owner: OwnerId,
        now: float,
        force: bool = False,
        why: str = "by the user",
        saves: bool = False,
        kill_at: float | None = None,
    ) -> Changed:
        """Before it started: CANCELLED, free. Running: sets the flag. Terminal: Conflict.

        ``saves``: its worker asks for a checkpoint first. ``kill_at``: it is killed then, if it
        goes on; asked again with another time, that one holds.
        """
        ...

    def warn(self, job: JobId, epoch: int, now: float) -> Changed:
        """Most of what the fuse of a running job allows is spent; each attempt says so once."""
        ...

    def taken_away(self, job: JobId, epoch: int, text: str, now: float) -> Changed:
        """The machine of a running attempt will be: said in its history and its detail, once."""
        ...

    def checkpoint(self, job: JobId, epoch: int, checkpoint: Checkpoint, now: float) -> Changed:
        """What a running job saved, in the place of what it saved before; all segments must be
        there, else Conflict. An attempt that follows, or another job, goes on from it."""
        ...

    def renew_leases(self, now: float, lease_s: float) -> int:
        """All open attempts get a whole lease from now on; how many. Called when a backend starts:
        no worker could renew its lease while there was none."""
        ...

    def expire_leases(self, now: float) -> list[Changed]:
        """Attempts whose lease ran out: LOST; the job retries, fails (lost) or is cancelled."""
        ...

    def expire_limits(self, now: float, grace_s: float) -> list[Changed]:
        """RUNNING jobs past ``max_run_s`` + ``grace_s`` whose worker did not stop: EXPIRED."""
        ...

    def wake(self, now: float) -> list[Changed]:
        """RETRY_WAIT jobs that are due: back to QUEUED."""
        ...

    def note_waiting(
        self,
        jobs: Sequence[JobId],
        text: str,
        now: float,
        stage: Stage | None = None,
        detail: str | None = None,
    ) -> list[Changed]:
        """A line in the history of those that wait, with their stage and detail if given; the
        others are passed over."""
        ...

    def refuse_waiting(
        self, jobs: Sequence[JobId], why: str, error: bytes, now: float
    ) -> list[Changed]:
        """No machine is to be had: those that wait end as FAILED (reason ``no_machine``), for
        nothing; the others are passed over."""
        ...

    # -- events
    def events(
        self,
        *,
        after: int,
        owner: OwnerId | None = None,
        job: JobId | None = None,
        client: str | None = None,
        limit: int = 1000,
    ) -> list[Event]:
        """Stored events with cursor > ``after``, in order, of a job or of a client's jobs.

        At most ``limit``, and fewer if they are large: the page after the last one is empty.
        """
        ...

    def last_cursor(self) -> int: ...

    # -- blobs: rows and references; the bytes are in blobs.base.Blobs
    def blob(self, digest: str) -> BlobRow | None:
        """What is known of a blob; None when nothing is."""
        ...

    def blob_lost(self, digest: str) -> None:
        """The bytes are not there, or not what they should be: who needs them sends them again."""
        ...

    def blob_present(
        self, digest: str, size_bytes: int, now: float, owners: Sequence[OwnerId] = ()
    ) -> list[Changed]:
        """The bytes are there now, and ``owners`` sent them. Returns jobs that became ready."""
        ...

    def missing(self, segments: Sequence[Segment], owner: OwnerId) -> list[MissingSegment]:
        """What ``owner`` has to send: also what is there, unless they have shown to have it.

        They have sent it before, or a job of theirs that did not wait for it refers to it.
        Otherwise a digest alone would be enough to read somebody else's bytes.
        """
        ...

    def chunk_places(
        self, chunks: Sequence[str], owner: OwnerId
    ) -> dict[str, tuple[str, int, int]]:
        """Chunk digest → (segment digest, offset, size) of a segment that ``owner`` may use."""
        ...

    def add_chunks(self, segment: str, chunks: Sequence[tuple[str, int]]) -> None:
        """Remember at which offsets of a present segment its chunks lie."""
        ...

    def collect(self, now: float, unused_for_s: float) -> list[str]:
        """Forget blobs without references since ``unused_for_s``; returns their digests.

        Rows are deleted here first, the bytes by the caller afterwards.
        """
        ...

    def may_read_blob(self, digest: str, owner: OwnerId) -> bool:
        """Did ``owner`` send it, or does a job of theirs that had it refer to it?"""
        ...

    def forget_jobs(self, ended_before: float, limit: int = 1000) -> int:
        """Retention: delete terminal jobs (events, references) that ended before; how many.

        Of those whose result is in the cache only the inputs go.
        """
        ...

    def forget_fleet(self, gone_before: float) -> None:
        """Delete workers, instances and tokens that were gone, ended or revoked before."""
        ...

    def totals(self, owner: OwnerId, since: float) -> Totals:
        """Of one moment, with what was charged from ``since`` on. Cheap: it is asked often."""
        ...

    # -- results to share
    def share(self, job: JobId, owner: OwnerId, visibility: str, id: str, now: float) -> Share:
        """Let the job's result be opened at ``id``; if it is shared already, at its address of now.

        Raises NotFound, also when it is somebody else's; Conflict for a session.
        """
        ...

    def revoke_share(self, job: JobId, owner: OwnerId, now: float) -> None:
        """Its address is good no more, ever; nothing if it has none. Raises NotFound."""
        ...

    def shares(self, jobs: Sequence[JobId]) -> dict[JobId, Share]:
        """The addresses that these jobs have now."""
        ...

    def shared(self, id: str) -> JobRecord:
        """The job whose result opens at this address. Raises NotFound: absent, revoked, not over
        yet look the same."""
        ...

    def public(self, limit: int = 50, before: str = "") -> list[tuple[Share, JobRecord]]:
        """Public results of all owners, the newest first; ``before`` is the last address of the
        page before."""
        ...

    # -- workers, instances, tokens
    def put_worker(self, worker: WorkerRecord) -> None:
        """Raises NotAuthorized when this id said hello with another token before."""
        ...

    def token_of_worker(self, worker: WorkerId) -> str:
        """Id of the token that this worker said hello with; empty when it is not known."""
        ...

    def worker_gone(self, worker: WorkerId, now: float) -> None:
        """Its connection closed. Leases run on: unknown is not dead."""
        ...

    def resume(self, worker: WorkerId, job: JobId, epoch: int, now: float, lease_s: float) -> bool:
        """A worker says hello and still holds this attempt: does it stand? Renews its lease."""
        ...

    def put_instance(self, instance: InstanceRecord) -> None: ...

    def move_instance(
        self,
        id: str,
        state: InstanceState,
        now: float,
        provider_id: str | None = None,
        *,
        zone: str | None = None,
        detail: str | None = None,
    ) -> InstanceRecord:
        """The first time that it is READY is kept. One that is being terminated is only ever
        TERMINATED after that, and one that is TERMINATED stays so: Conflict. Its workers are
        gone then, whatever they said."""
        ...

    def instance(self, id: str) -> InstanceRecord | None: ...

    def instances(
        self, owner: OwnerId | None = None, *, job: str = "", limit: int = 100
    ) -> list[InstanceRecord]:
        """Newest first, those that ended too: all, an owner's, or those asked for a job."""
        ...

    def add_token(self, token: TokenRecord, token_hash: str) -> None: ...

    def token(self, token_hash: str) -> TokenRecord | None: ...

    def tokens(self, owner: OwnerId) -> list[TokenRecord]: ...

    def revoke_token(self, id: str, owner: OwnerId, now: float) -> None: ...

    # -- machines that boot
    def report_boot(
        self, id: str, step: str, log: bytes | None = None, detail: str | None = None
    ) -> InstanceRecord:
        """How far its bootstrap has come, with the end of its log. Raises NotFound."""
        ...

    def enrol(
        self, id: str, token: TokenRecord, token_hash: str, provider_id: str = "", zone: str = ""
    ) -> InstanceRecord:
        """Its worker's token, in the place of one that was given before and never used.

        Raises NotFound; Conflict when that one was used, or the machine is being ended.
        """
        ...

    # -- for people and tests
    def audit(self) -> list[str]:
        """Every violated invariant of ``reliability.md`` in words; empty when all is well.

        Entries of each posting add up to 0; balances equal their entries; a terminal job has no
        open attempt and no hold; at most one attempt of a job is open; charged ≤ held.
        """
        ...
