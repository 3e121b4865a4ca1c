from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_remote.errors import Conflict, ProtocolMismatch, StorageFull
from jupyter_remote.model import JobId
from jupyter_remote.store import audit, fleet, migrate, schema, shares, sql, summary
from jupyter_remote.store.base_parts import Outcome
from jupyter_remote.store.session import connect, text_of
from jupyter_remote.store.sqlite import SqliteStore, open_sqlite
from tests.conformance.budgets import BudgetConformance
from tests.conformance.cache import CacheConformance
from tests.conformance.fleet import FleetConformance
from tests.conformance.shares import SharesConformance
from tests.conformance.store import (
    ADA,
    LEASE_S,
    W1,
    StoreConformance,
    beat,
    new_job,
    new_session,
    output,
    running,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "db.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = open_sqlite(path, jitter=lambda: 0.0)
    yield store
    assert store.audit() == []
    store.close()


class TestCache(CacheConformance):
    @pytest.fixture
    def store(self, path: Path) -> Iterator[SqliteStore]:
        store = open_sqlite(path, cache_bytes=1200)
        yield store
        store.close()


class TestSqlite(StoreConformance, SharesConformance, FleetConformance):
    pass


class TestBudgets(BudgetConformance):
    pass


# --- opening ---------------------------------------------------------------------------------
def tables_of(path: Path) -> list[tuple[str, str, list[str]]]:
    """Name and definition of everything, with the order of constraints left aside."""
    connection = connect(path)
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    connection.close()
    parts = [(t, n, sorted(re.split(r"[\s,()\"]+", text or ""))) for t, n, text in rows]
    return sorted(parts)


def test_a_new_file_and_a_migrated_one_are_alike(tmp_path: Path) -> None:
    open_sqlite(tmp_path / "new").close()
    connect(tmp_path / "old").close()
    migrate.upgrade(tmp_path / "old")
    assert tables_of(tmp_path / "new") == tables_of(tmp_path / "old")


NEWER_INDEXES = (
    *("uq_job_session", "ix_job_code_key", "ix_job_notebook", "ix_job_kind"),
    *("ix_job_queued", "ix_posting_capture"),
    *("ix_worker_token", "ix_instance_created", "ix_instance_owner", "ix_instance_job"),
)
NEWER = (
    *("session", "notebook", "code_key", "inputs_bytes", "fuse", "priced_on", "resumes"),
    *("cached_from", "saved_ucredits", "estimate", "warned_at", "checkpoint", "receipt"),
    *("cancel_saves", "gpus", "preemptions", "devices", "cell", "cell_code", "kill_at"),
)
NEWER_OF_INSTANCES = (
    *("owner", "job", "zone", "spot", "rate_ucredits_per_h", "ready_at", "step", "detail"),
    "boot_log",
)


def test_jobs_of_before_there_were_sessions_are_still_there(path: Path) -> None:
    store = open_sqlite(path)
    store.submit([new_job("old")], 1.0)
    store.close()
    connection = connect(path)
    for name in NEWER_INDEXES:
        connection.execute(f"DROP INDEX {name}")
    for name in ("cache", "budget", "share"):
        connection.execute(f"DROP TABLE {name}")
    for name in NEWER:
        connection.execute(f"ALTER TABLE job DROP COLUMN {name}")
    for name in NEWER_OF_INSTANCES:
        connection.execute(f"ALTER TABLE instance DROP COLUMN {name}")
    connection.execute("ALTER TABLE spec DROP COLUMN asked")
    connection.execute("ALTER TABLE posting DROP COLUMN notebook")
    connection.execute("UPDATE alembic_version SET version_num = '0002'")
    connection.commit()
    connection.close()
    store = open_sqlite(path)
    assert store.job(JobId("old")).session == ""
    store.submit([new_session("new", "lab")], 2.0)
    with pytest.raises(Conflict):
        store.submit([new_session("again", "lab")], 3.0)
    assert [job.id for job in store.jobs(ADA)] == ["new", "old"]
    store.close()


def test_opening_an_up_to_date_file_does_not_import_alembic(path: Path) -> None:
    open_sqlite(path).close()
    code = (
        "import sys; from jupyter_remote.store.sqlite import open_sqlite; "
        "open_sqlite(sys.argv[1]).close(); print('alembic' in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    assert told.stdout == "False\n"


def test_a_file_of_a_newer_version_is_refused(path: Path) -> None:
    open_sqlite(path).close()
    connection = connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(ProtocolMismatch, match="another version"):
        open_sqlite(path)


def test_two_that_open_a_new_file_at_once_both_get_it(path: Path) -> None:
    failures: list[BaseException] = []

    def use(number: int) -> None:
        try:
            store = open_sqlite(path)
            store.submit([new_job(f"job-{number}")], 1.0)
            store.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = open_sqlite(path)
    assert (failures, len(store.jobs(ADA))) == ([], 6)
    store.close()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageFull, match="cannot be opened"):
        open_sqlite(tmp_path / "absent" / "db.sqlite")


# --- what the schema guards ------------------------------------------------------------------
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE job SET description = 'x' WHERE state = 'succeeded'",
        "UPDATE job SET cost_ucredits = hold_ucredits + 1 WHERE state = 'running'",
        "UPDATE posting SET amount_ucredits = 1",
        "DELETE FROM posting",
        "INSERT INTO posting (at, source, target, kind, amount_ucredits, key) "
        "SELECT at, source, target, kind, amount_ucredits, key FROM posting",
        "UPDATE account SET balance_ucredits = -1 WHERE name = 'available:ada'",
        "INSERT INTO attempt (job, epoch, worker, state, claimed_at, lease_until_at) "
        "SELECT job, epoch + 1, worker, state, 1, 1 FROM attempt WHERE ended_at IS NULL",
        "INSERT INTO event (job, client, epoch, seq, type, data, at) "
        "SELECT job, client, epoch, seq, type, data, at FROM event WHERE seq > 0",
        "INSERT INTO attempt (job, epoch, worker, state, claimed_at, lease_until_at) "
        "VALUES (999, 1, 'w', 'claimed', 1, 1)",
        "INSERT INTO share (id, job, owner, visibility, created_at) "
        "VALUES ('r-1', 'job-1', 'ada', 'public', 1), ('r-2', 'job-1', 'ada', 'public', 1)",
    ],
)
def test_the_schema_refuses(statement: str, store: SqliteStore, path: Path) -> None:
    store.grant(ADA, 10**7, "start", 0.0)
    store.finish(running(store), 1, Outcome(kind="succeeded"), 12.0)
    running(store, new_job("job-2", credits_per_h=1, hold_credits=1))
    store.beat(beat("job-2", 1, output(1)), 12.0, LEASE_S)
    connection = connect(path)
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(statement)
    connection.close()


def test_claims_and_snapshots_read_small_indexes_only(store: SqliteStore, path: Path) -> None:
    connection = connect(path)
    uses = {
        sql.QUEUED_SINGLE: "ix_job_single",
        sql.PAST_RUNS["code_key"]: "ix_job_code_key",
        sql.PAST_RUNS["notebook"]: "ix_job_notebook",
        sql.PAST_RUNS["kind"]: "ix_job_kind",
        sql.QUEUED_BATCH: "ix_job_claimable",
        sql.WAITING: "ix_job_waiting",
        sql.DUE: "ix_job_waiting",
        sql.ACTIVE: "uq_attempt_open",
        sql.OPEN_ATTEMPTS: "uq_attempt_open",
        sql.EXPIRED_LEASES: "uq_attempt_open",
        sql.EVENTS_OF_CLIENT: "ix_event_client",
        sql.EVENTS_OF_JOB: "ix_event_job",
        sql.UNUSED: "ix_blob_unused",
        sql.ENDED: "ix_job_ended",
        summary.ACTIVE: "uq_attempt_open",
        summary.QUEUED: "COVERING INDEX ix_job_queued",
        summary.CAPTURED: "COVERING INDEX ix_posting_capture",
        shares.OF_JOB: "uq_share_open",
        shares.PUBLIC: "ix_share_public",
        sql.WORKERS: "ix_worker_connected",
        sql.WORKERS_GONE: "ix_worker_connected",
        sql.WORKER_WITH_TOKEN: "ix_worker_token",
        sql.INSTANCES: "ix_instance_alive",
        fleet.newest(): "ix_instance_created",
        fleet.newest(ADA): "ix_instance_owner",
        fleet.newest(job="job-1"): "ix_instance_job",
    }
    for statement, index in uses.items():
        text = text_of(statement)
        values = dict.fromkeys(re.findall(r":(\w+)", text))
        plan = connection.execute(f"EXPLAIN QUERY PLAN {text}", values).fetchall()
        told = " ".join(str(row[-1]) for row in plan)
        assert index in told, text
        assert "TEMP B-TREE" not in told or statement in (sql.ACTIVE, sql.OPEN_ATTEMPTS), told
    connection.close()


# --- the audit -------------------------------------------------------------------------------
def test_the_audit_finds_what_was_planted(path: Path) -> None:
    store = open_sqlite(path)
    store.grant(ADA, 10**7, "start", 0.0)
    paid = new_job(credits_per_h=3600, hold_credits=2)
    store.finish(running(store, paid), 1, Outcome(kind="succeeded"), 11.0)
    running(store, new_job("job-2"))
    store.submit([new_job("job-3")], 12.0)
    connection = connect(path)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
        connection.execute(f"DROP TRIGGER {name}")
    plants = {
        "UPDATE account SET balance_ucredits = 5 WHERE name = 'revenue'": "the balance of revenue",
        "DELETE FROM posting WHERE kind = 'release'": "still holds",
        "UPDATE posting SET epoch = 7 WHERE kind = 'capture'": "did not start",
        "UPDATE attempt SET ended_at = NULL WHERE job = 1": "open attempt",
        "UPDATE attempt SET ended_at = started_at WHERE job = 1": "which ran for 0.0 ms",
        "UPDATE job SET cost_ucredits = 0 WHERE seq = 1": "its row says 0",
        "UPDATE job SET starts = 9 WHERE seq = 2": "9 times",
        "UPDATE job SET state = 'queued' WHERE seq = 2": "attempt 1 is open",
        "UPDATE job SET epoch = 2 WHERE seq = 2": "no attempt of that epoch",
        "UPDATE job SET cached_from = 'x' WHERE seq = 3": "was given the result of x",
        "DELETE FROM event WHERE type = 'done'": "without its last event",
        "UPDATE job SET state = 'failed', cancel_requested = 1 WHERE seq = 2": "cancelled as asked",
    }
    assert store.audit() == []
    for statement, told in plants.items():
        connection.execute("BEGIN")
        connection.execute(statement)
        found = [
            message.format(*row)
            for message, query in audit.CHECKS
            for row in connection.execute(query)
        ]
        assert any(told in line for line in found), (statement, found)
        connection.execute("ROLLBACK")
    connection.close()
    store.close()


# --- disks and kills -------------------------------------------------------------------------
def test_a_full_disk_refuses_and_recovers(path: Path) -> None:
    store = open_sqlite(path)
    store.submit([new_job("before")], 1.0)
    connection = store._writer.connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 8}")
    with pytest.raises(StorageFull, match="the disk is full"):
        store.submit([new_job(f"job-{n}", spec=b"x" * 8000) for n in range(100)], 2.0)
    store.submit([new_job("small")], 2.0)
    assert {job.id for job in store.jobs(ADA)} == {"before", "small"}
    connection.execute("PRAGMA max_page_count = 1000000")
    store.submit([new_job("after")], 3.0)
    assert store.audit() == []
    store.close()


WRITES = """
import sys
from tests.conformance.store import new_job
from jupyter_remote.store.sqlite import open_sqlite
from jupyter_remote.store.writer import Writer
store = open_sqlite(sys.argv[1])
writer = Writer(store)
n = 0
while True:
    writer.call_sync(store.submit, [new_job(f"job-{n}")], 1.0)
    print(n, flush=True)
    n += 1
"""


def test_what_was_acknowledged_survives_kill_9(path: Path) -> None:
    tests = Path(__file__).parent.parent
    child = subprocess.Popen(
        [sys.executable, "-c", WRITES, path], stdout=subprocess.PIPE, text=True, cwd=tests
    )
    assert child.stdout is not None
    acknowledged = [int(child.stdout.readline()) for _ in range(200)]
    child.kill()
    acknowledged += [int(line) for line in child.stdout.read().split("\n") if line]
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()
    store = open_sqlite(path)
    for number in acknowledged:
        assert store.job(JobId(f"job-{number}")).ready
    assert store.audit() == []
    store.close()


def test_readers_do_not_wait_for_a_writer(store: SqliteStore, path: Path) -> None:
    store.submit([new_job()], 1.0)
    other = connect(path)
    other.execute("BEGIN IMMEDIATE")
    other.execute("UPDATE job SET description = 'changed'")
    assert store.job(JobId("job-1")).description == "a test"
    assert store.expire_leases(10.0) == []
    other.execute("ROLLBACK")
    other.close()


def test_two_processes_write_to_one_file(store: SqliteStore, path: Path) -> None:
    other = open_sqlite(path)
    store.submit([new_job("mine")], 1.0)
    assert other.claim(JobId("mine"), W1, 2.0, LEASE_S) is not None
    assert store.claim(JobId("mine"), W1, 2.0, LEASE_S) is None
    other.close()


def test_the_schema_has_the_newest_migration() -> None:
    versions = (migrate.FOLDER / "versions").glob("v*.py")
    assert max(file.name[1:5] for file in versions) == schema.HEAD
