"""What every store does with addresses of results. Part of :class:`StoreConformance`."""

from __future__ import annotations

import pytest

from jupyter_remote.errors import Conflict, NotFound
from jupyter_remote.model import JobId, OwnerId
from jupyter_remote.store.base import Store
from jupyter_remote.store.base_parts import Outcome
from tests.conformance.store import ADA, BOB, new_job, new_session, running


def ended(store: Store, id: str, **changes: object) -> JobId:
    job = running(store, new_job(id, **changes))
    store.finish(job, 1, Outcome(kind="succeeded"), 20.0)
    return job


def addresses(store: Store, limit: int = 50, before: str = "") -> list[str]:
    return [share.id for share, _ in store.public(limit, before)]


class SharesConformance:
    """Names say what holds."""

    def test_a_result_opens_at_its_address_when_the_job_has_ended(self, store: Store) -> None:
        job = running(store, new_job("a", visibility="unlisted", results_id="r-1"))
        assert store.shares([job])[job].id == "r-1"
        with pytest.raises(NotFound, match="no such result"):
            store.shared("r-1")
        store.finish(job, 1, Outcome(kind="failed", detail="why"), 20.0)
        assert (store.shared("r-1").id, store.shared("r-1").detail) == ("a", "why")
        with pytest.raises(NotFound, match="no such result"):
            store.shared("r-2")

    def test_a_submit_that_is_sent_again_keeps_its_address(self, store: Store) -> None:
        store.submit([new_job("a", visibility="public", results_id="r-1")], 0.0)
        store.submit([new_job("a", visibility="public", results_id="r-2")], 1.0)
        assert store.shares([JobId("a")])[JobId("a")].id == "r-1"

    def test_a_private_job_has_no_address_until_it_is_shared(self, store: Store) -> None:
        job = ended(store, "a")
        assert store.shares([job, JobId("absent")]) == {}
        share = store.share(job, ADA, "unlisted", "r-1", 30.0)
        assert (share.id, share.job, share.visibility) == ("r-1", "a", "unlisted")
        assert store.share(job, ADA, "unlisted", "r-2", 31.0) == share
        assert store.share(job, ADA, "public", "r-3", 32.0).id == "r-1"
        assert store.shares([job])[job].visibility == "public"

    def test_a_revoked_address_is_good_no_more_and_the_next_is_another(self, store: Store) -> None:
        job = ended(store, "a", visibility="public", results_id="r-1")
        store.revoke_share(job, ADA, 30.0)
        store.revoke_share(job, ADA, 31.0)
        assert store.shares([job]) == {}
        assert store.public() == []
        assert store.share(job, ADA, "unlisted", "r-2", 32.0).id == "r-2"
        assert store.shared("r-2").id == "a"
        with pytest.raises(NotFound):
            store.shared("r-1")

    def test_nobody_shares_or_revokes_what_is_not_theirs(self, store: Store) -> None:
        job = ended(store, "a", visibility="public", results_id="r-1")
        for owner, id in ((BOB, job), (ADA, JobId("absent"))):
            with pytest.raises(NotFound):
                store.share(id, owner, "public", "r-2", 30.0)
            with pytest.raises(NotFound):
                store.revoke_share(id, owner, 30.0)
        assert store.shared("r-1").id == "a"

    def test_a_session_has_no_result_to_share(self, store: Store) -> None:
        store.submit([new_session("a", "lab")], 0.0)
        with pytest.raises(Conflict, match="session"):
            store.share(JobId("a"), ADA, "public", "r-1", 1.0)

    def test_public_results_of_all_owners_are_listed_the_newest_first(self, store: Store) -> None:
        for n, owner in enumerate((ADA, BOB, ADA, OwnerId("eve"))):
            job = ended(store, f"job-{n}", owner=owner)
            store.share(job, owner, "public", f"r-{n}", 30.0 + n)
        store.share(ended(store, "hidden"), ADA, "unlisted", "r-8", 40.0)
        store.submit([new_job("open", visibility="public", results_id="r-9")], 50.0)
        assert addresses(store) == ["r-3", "r-2", "r-1", "r-0"]
        assert addresses(store, 2) == ["r-3", "r-2"]
        assert addresses(store, 2, before="r-2") == ["r-1", "r-0"]
        store.revoke_share(JobId("job-2"), ADA, 60.0)
        assert addresses(store, before="r-2") == ["r-1", "r-0"]
        with pytest.raises(NotFound):
            store.public(before="none")
        assert [job.owner for _, job in store.public()] == ["eve", BOB, ADA]

    def test_the_address_of_a_job_that_was_forgotten_is_forgotten(self, store: Store) -> None:
        job = ended(store, "a", visibility="public", results_id="r-1")
        assert store.forget_jobs(100.0) == 1
        assert store.public() == []
        with pytest.raises(NotFound):
            store.shared("r-1")
        assert store.shares([job]) == {}

    def test_totals_are_of_one_owner_since_a_time(self, store: Store) -> None:
        store.grant(ADA, 1_000_000_000, "start", 0.0)
        assert store.totals(ADA, 0.0).queued == 0
        priced = {"credits_per_h": 3600, "hold_credits": 60}
        for id, now in (("early", 100.0), ("late", 200.0)):
            job = running(store, new_job(id, **priced), now=now)
            store.finish(job, 1, Outcome(kind="succeeded"), now + 7.0)
        running(store, new_job("now", **priced), now=300.0)
        running(store, new_job("theirs", owner=BOB))
        store.submit([new_job("q-1"), new_job("q-2"), new_job("q-3", owner=BOB)], 300.0)
        lost = running(store, new_job("again"), now=300.0)
        store.finish(lost, 1, Outcome(kind="died"), 301.0)
        found = store.totals(ADA, 150.0)
        assert [job.id for job in found.active] == ["now"]
        assert (found.queued, found.captured_ucredits) == (3, 7_000_000)
        assert found.balance == store.balance(ADA)
        assert store.totals(ADA, 0.0).captured_ucredits == 14_000_000
        assert store.totals(BOB, 0.0).captured_ucredits == 0
