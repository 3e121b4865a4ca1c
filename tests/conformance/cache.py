"""What the cache of every store does. Subclass it as ``StoreConformance``; the store's cache holds
1200 bytes of each owner."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from jupyter_remote.model import JobId, JobState
from jupyter_remote.store.base import Store
from jupyter_remote.store.base_parts import NewJob, Outcome, Written
from jupyter_remote.wire import CacheAsk, CachePart, Done, Parcel, Result, Segment, encode
from tests.conformance.store import (
    ADA,
    BOB,
    LEASE_S,
    beat,
    checkpoint,
    claimed,
    new_job,
    output,
    receipt_of,
)

KEY, OTHER, CODE = "1" * 64, "2" * 64, "c" * 64
BLOB, INPUT = "b" * 64, "d" * 64


def ask(key: str = KEY, scale: str = "2", name: str = "fit") -> CacheAsk:
    parts = [CachePart("code", CODE), CachePart("global scale", f"of {scale}", scale)]
    return CacheAsk(key=key, name=name, parts=parts)


def asking(job: str, key: str = KEY, scale: str = "2", **changes: Any) -> NewJob:
    name = changes.pop("name", "fit")
    return new_job(job, **({"cache": ask(key, scale, name), "code_key": CODE} | changes))


def result(*, refers: bool = False, blob: str = "") -> bytes:
    segment = Segment(blob, 100) if blob else Segment("e" * 64, 1, b"x")
    return encode(Result(value=Parcel([segment]), refers=refers))


def submit(store: Store, new: NewJob, now: float = 0.0) -> Written:
    [written] = store.submit([new], now)
    return written


def succeed(store: Store, new: NewJob, now: float = 0.0, **outcome: Any) -> None:
    """Submitted, claimed, started at ``now`` and over 60 s later."""
    submit(store, new, now)
    epoch = claimed(store, new.id, now=now)
    store.start(new.id, epoch, now)
    store.beat(beat(new.id, epoch, output(1, "hello")), now, LEASE_S)
    given = {"kind": "succeeded", "result": result()} | outcome
    store.finish(new.id, epoch, Outcome(**given), now + 60.0)


def said(store: Store, job: str) -> str:
    return " | ".join(line.text for line in store.history(JobId(job)))


class CacheConformance:
    """Names say what holds."""

    def test_a_result_is_given_at_once_with_its_output(self, store: Store) -> None:
        succeed(store, asking("a"))
        written = submit(store, asking("b", segments=[Segment(INPUT, 10)]), 100.0)
        job = store.job(JobId("b"))
        assert written.created
        assert written.missing == []
        assert (job.state, job.cached_from, job.result) == (JobState.SUCCEEDED, "a", result())
        events = store.events(after=0, job=JobId("b"))
        assert [e.type for e in events] == ["status", "stream", "status", "done"]
        assert [written.event, *written.more] == events
        assert msgspec.json.decode(events[1].data)["text"] == "hello"
        assert msgspec.json.decode(events[-1].data, type=Done).job.cached_from == "a"
        assert "taken from the cache: the result of job a of" in said(store, "b")
        assert "saved 1 min 00 s" in said(store, "b")
        assert store.audit() == []

    def test_it_costs_nothing_however_little_there_is(self, store: Store) -> None:
        store.grant(ADA, 1000 * 1_000_000, "k", 0.0)
        priced = {"credits_per_h": 600, "hold_credits": 600}
        succeed(store, asking("a", **priced))
        succeed(store, new_job("spends", credits_per_h=60_000, hold_credits=900), 100.0)
        assert store.balance(ADA).available_ucredits < 600 * 1_000_000
        submit(store, asking("b", **priced), 300.0)
        job = store.job(JobId("b"))
        assert (job.hold_ucredits, job.cost_ucredits) == (0, 0)
        assert job.saved_ucredits == store.job(JobId("a")).cost_ucredits == 10_000_000
        assert "saved 10 credits and 1 min 00 s" in said(store, "b")
        assert job.detail == "from the cache · saved $0.1000 and 1 min 00 s"
        stats = store.cache_stats(ADA)
        assert (stats.hits, stats.misses, stats.entries) == (1, 1, 1)
        assert (stats.saved_ucredits, stats.saved_s) == (10_000_000, 60.0)
        assert store.audit() == []

    def test_the_receipt_says_where_it_comes_from(self, store: Store) -> None:
        store.grant(ADA, 1000 * 1_000_000, "k", 0.0)
        succeed(store, asking("a", credits_per_h=600, hold_credits=600))
        submit(store, asking("b", credits_per_h=600, hold_credits=600), 100.0)
        made = receipt_of(store, JobId("b"))
        assert (made.status, made.ended_by, made.cached_from) == ("completed", "cache", "a")
        assert (made.attempts, made.ran_s, made.started_at, made.worker) == ([], 0.0, None, "")
        assert (made.cost.total_ucredits, made.cost.saved_ucredits) == (0, 10_000_000)
        assert (made.price.usd_per_h, made.advice, made.use) == (0.0, None, None)

    def test_sent_again_it_is_the_same_job(self, store: Store) -> None:
        succeed(store, asking("a"))
        new = asking("b", segments=[Segment(INPUT, 10)])
        submit(store, new, 100.0)
        again = submit(store, new, 101.0)
        assert not again.created
        assert again.missing == []

    def test_a_miss_says_why(self, store: Store) -> None:
        assert self._why(submit(store, asking("a"))) == "not in the cache: first run"
        succeed(store, asking("b"))
        other = submit(store, asking("c", OTHER, "3"), 100.0)
        assert self._why(other) == "not in the cache: global `scale` changed: 2 → 3"
        assert "queued; not in the cache: global `scale` changed: 2 → 3" in said(store, "c")
        renamed = submit(store, asking("d", OTHER, "3", code_key="f" * 64), 100.0)
        assert self._why(renamed) == "not in the cache: global `scale` changed: 2 → 3"
        new = submit(store, asking("e", OTHER, code_key="f" * 64, name="other"), 100.0)
        assert self._why(new) == "not in the cache: first run"

    def _why(self, written: Written) -> str:
        [notice] = [e for e in written.more if e.type == "notice"]
        text: str = msgspec.json.decode(notice.data)["text"]
        return text

    def test_another_owner_is_given_nothing(self, store: Store) -> None:
        succeed(store, asking("a"))
        submit(store, asking("b", owner=BOB), 100.0)
        assert store.job(JobId("b")).state is JobState.QUEUED
        assert store.cached(BOB, KEY) is None
        assert store.cache_stats(BOB).entries == 0
        assert store.clear_cache(BOB).entries == 0
        assert store.cached(ADA, KEY) is not None

    @pytest.mark.parametrize("kind", ["failed", "cancelled", "expired"])
    def test_only_what_succeeded_is_kept(self, store: Store, kind: str) -> None:
        succeed(store, asking("a"), kind=kind, result=None)
        assert store.cached(ADA, KEY) is None

    def test_what_a_run_adds_is_said(self, store: Store) -> None:
        store.blob_present(BLOB, 100, 0.0, [ADA])
        blob = [Segment(BLOB, 100)]
        succeed(store, asking("a"), result=result(blob=BLOB), segments=blob)
        assert "completed; added 1 entry to the cache (" in said(store, "a")
        assert store.job(JobId("a")).detail.startswith("added 1 entry to the cache (")
        succeed(store, new_job("plain"))
        assert "cache" not in said(store, "plain")
        found = store.cached(ADA, KEY)
        assert found is not None
        assert found.segments == blob

    def test_a_result_whose_bytes_are_gone_runs_again(self, store: Store) -> None:
        store.blob_present(BLOB, 100, 0.0, [ADA])
        succeed(store, asking("a"), result=result(blob=BLOB), segments=[Segment(BLOB, 100)])
        store.blob_lost(BLOB)
        written = submit(store, asking("b"), 100.0)
        assert "damaged or gone; it runs again" in self._why(written)
        assert store.job(JobId("b")).state is JobState.QUEUED
        assert store.cached(ADA, KEY) is None

    def test_bytes_stay_as_long_as_a_job_was_given_them(self, store: Store) -> None:
        store.blob_present(BLOB, 100, 0.0, [ADA])
        succeed(store, asking("a"), result=result(blob=BLOB), segments=[Segment(BLOB, 100)])
        submit(store, asking("b"), 5000.0)
        store.clear_cache(ADA)
        assert store.forget_jobs(1000.0) == 1
        assert store.collect(9000.0, 1.0) == []
        assert store.forget_jobs(6000.0) == 1
        assert store.collect(9000.0, 1.0) == [BLOB]

    def test_jobs_of_entries_are_not_forgotten_but_their_inputs_are(self, store: Store) -> None:
        store.blob_present(INPUT, 10, 0.0, [ADA])
        succeed(store, asking("a", segments=[Segment(INPUT, 10)]))
        assert store.forget_jobs(1000.0) == 0
        assert store.collect(9000.0, 1.0) == [INPUT]
        submit(store, asking("b"), 2000.0)
        assert store.job(JobId("b")).cached_from == "a"

    def test_a_result_that_refers_to_lost_inputs_runs_again(self, store: Store) -> None:
        spec = encode({"kind": "cell", "inputs": Parcel([Segment(INPUT, 10)])})
        store.blob_present(INPUT, 10, 0.0, [ADA])
        new = {"spec": spec, "segments": [Segment(INPUT, 10)]}
        succeed(store, asking("a", **new), result=result(refers=True))
        submit(store, asking("b", **new), 100.0)
        assert store.job(JobId("b")).cached_from == "a"
        store.blob_lost(INPUT)
        submit(store, asking("c", **new), 200.0)
        assert store.job(JobId("c")).cached_from is None

    def test_inputs_that_a_result_refers_to_are_kept_for_who_is_given_it(
        self, store: Store
    ) -> None:
        spec = encode({"kind": "cell", "inputs": Parcel([Segment(INPUT, 10)])})
        store.blob_present(INPUT, 10, 0.0, [ADA])
        new = {"spec": spec, "segments": [Segment(INPUT, 10)]}
        succeed(store, asking("a", **new), result=result(refers=True))
        store.forget_jobs(1000.0)  # its inputs; not collected yet
        submit(store, asking("b", **new), 2000.0)
        assert store.job(JobId("b")).cached_from == "a"
        assert store.collect(9000.0, 1.0) == []

    def test_a_checkpoint_is_no_part_of_what_is_kept(self, store: Store) -> None:
        store.blob_present(BLOB, 5, 0.0, [ADA])
        submit(store, asking("a"))
        store.start(JobId("a"), claimed(store, "a"), 10.0)
        store.checkpoint(JobId("a"), 1, checkpoint(BLOB), 12.0)
        store.finish(JobId("a"), 1, Outcome(kind="succeeded", result=result()), 20.0)
        found = store.cached(ADA, KEY)
        assert found is not None
        assert found.segments == []
        store.blob_lost(BLOB)
        submit(store, asking("b"), 30.0)
        assert store.job(JobId("b")).cached_from == "a"
        assert store.blob(BLOB).references == 1  # type: ignore[union-attr]

    def test_a_run_that_went_on_from_a_checkpoint_is_not_kept(self, store: Store) -> None:
        """Its last attempt showed only the end of its output."""
        store.blob_present(BLOB, 5, 0.0, [ADA])
        submit(store, asking("a"))
        store.start(JobId("a"), claimed(store, "a"), 10.0)
        store.checkpoint(JobId("a"), 1, checkpoint(BLOB), 12.0)
        store.finish(JobId("a"), 1, Outcome(kind="died", signal="SIGKILL"), 20.0)
        store.wake(100.0)
        store.start(JobId("a"), claimed(store, "a", now=100.0), 100.0)
        store.finish(JobId("a"), 2, Outcome(kind="succeeded", result=result()), 120.0)
        assert store.cached(ADA, KEY) is None
        assert "not kept in the cache: it went on from a checkpoint" in said(store, "a")

    def test_a_job_is_given_the_inputs_that_its_result_refers_to(self, store: Store) -> None:
        spec = {"kind": "cell", "inputs": Parcel([Segment(INPUT, 1, b"x")]), "unwatched": [3]}
        succeed(store, asking("a", spec=encode(spec)), result=result(refers=True))
        mine = {"kind": "cell", "code": "x # mine", "fixed": [4]}
        submit(store, asking("b", spec=encode(mine)), 100.0)
        taken = msgspec.json.decode(store.job(JobId("b")).spec)
        assert (taken["code"], taken["unwatched"]) == ("x # mine", [3])
        assert "fixed" not in taken
        assert taken["inputs"] == msgspec.json.decode(encode(spec))["inputs"]

    def test_the_latest_of_two_runs_side_by_side_wins(self, store: Store) -> None:
        for name in "ab":
            submit(store, asking(name))
            store.start(JobId(name), claimed(store, name), 10.0)
        for name in "ab":
            store.finish(JobId(name), 1, Outcome(kind="succeeded", result=result()), 20.0)
        assert store.cached(ADA, KEY).job == "b"  # type: ignore[union-attr]
        assert store.cache_stats(ADA).entries == 1

    def test_the_least_valuable_go_first(self, store: Store) -> None:
        large = "x" * 600
        for at, (name, key) in enumerate((("a", KEY), ("b", OTHER))):
            succeed(store, asking(name, key), 100.0 * at, events=[output(2, large)])
        assert store.cached(ADA, KEY) is None  # as good as the other, and older
        assert store.cached(ADA, OTHER) is not None
        assert store.trim_cache(300.0) == 0
        succeed(store, asking("c", KEY), 400.0, events=[output(2, "x" * 2000)])
        assert "not kept in the cache" in said(store, "c")
        assert store.cached(ADA, OTHER) is not None

    def test_entries_are_dropped_by_name_by_job_or_all(self, store: Store) -> None:
        for name, key in (("a1", KEY), ("b1", OTHER), ("c1", "3" * 64)):
            succeed(store, asking(name, key, name=name[0]))
        assert store.clear_cache(ADA, "b1").entries == 1
        assert store.clear_cache(ADA, "c").entries == 1
        assert store.clear_cache(ADA, "none").entries == 0
        assert [e.name for e in store.cache_stats(ADA).newest] == ["a"]
        assert store.clear_cache(ADA).entries == 1
        assert self._why(submit(store, asking("again"), 100.0)) == (
            "not in the cache: this code ran before, and no result of it is kept"
        )
