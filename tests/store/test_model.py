"""The store does what the reference model does, whatever happens in whatever order."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from jupyter_remote.store.sqlite import open_sqlite
from tests.store.checking import (
    ASKED,
    BUDGETS,
    KEYS,
    KINDS,
    NOTEBOOKS,
    OWNERS,
    SIGNALS,
    WORKERS,
    Checker,
)

seconds = st.sampled_from((1, 7, 20, 46))


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = open_sqlite(Path(self.folder.name) / "db.sqlite", jitter=lambda: 0.0)
        self.checker = Checker(self.store)

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()

    @rule(
        key=st.sampled_from(KEYS),
        owner=st.sampled_from(OWNERS),
        body=st.sampled_from("pq"),
        rate=st.integers(0, 5),
        max_run=st.integers(1, 100),
        max_attempts=st.integers(1, 3),
        retries=st.integers(0, 2),
        needs_blob=st.booleans(),
        notebook=st.sampled_from(NOTEBOOKS),
        asks=st.sampled_from(ASKED),
    )
    def submit(
        self, key: str, owner: str, body: str, rate: int, max_run: int, max_attempts: int,
        retries: int, needs_blob: bool, notebook: str, asks: str,
    ) -> None:  # fmt: skip
        self.checker.submit(
            key, owner, body, rate, max_run, max_attempts, retries, needs_blob, notebook, asks
        )

    @rule(owner=st.sampled_from(OWNERS), of=st.sampled_from(BUDGETS), limit=st.integers(0, 300))
    def set_budget(self, owner: str, of: tuple[str, str], limit: int) -> None:
        self.checker.set_budget(owner, *of, limit)

    @rule(owner=st.sampled_from(OWNERS), of=st.sampled_from(BUDGETS))
    def clear_budget(self, owner: str, of: tuple[str, str]) -> None:
        self.checker.clear_budget(owner, *of)

    @rule(owner=st.sampled_from(OWNERS), key=st.sampled_from(("start", "more", "again")))
    def grant(self, owner: str, key: str) -> None:
        self.checker.grant(owner, 100, key)

    @rule(jump=st.sampled_from((-86_400, -3600, 3600, 86_400)))
    def the_clock_jumps(self, jump: int) -> None:
        self.checker.now = max(1000, self.checker.now + jump)

    @rule(key=st.sampled_from(KEYS), worker=st.sampled_from(WORKERS))
    def claim(self, key: str, worker: str) -> None:
        self.checker.claim(key, worker)

    @precondition(lambda self: self.checker.tokens)
    @rule(data=st.data(), op=st.sampled_from(("start", "beat", "finish", "release", "resume")))
    def worker(self, data: st.DataObject, op: str) -> None:
        key, epoch = data.draw(st.sampled_from(self.checker.tokens))
        match op:
            case "start":
                self.checker.start(key, epoch)
            case "beat":
                self.checker.beat(key, epoch, data.draw(st.sets(st.integers(1, 6))))
            case "finish":
                kind, signal = st.sampled_from(KINDS), st.sampled_from(SIGNALS)
                self.checker.finish(key, epoch, data.draw(kind), data.draw(signal))
            case "release":
                self.checker.release(key, epoch)
            case _:
                self.checker.resume(key, epoch, data.draw(st.sampled_from(WORKERS)))

    @rule(key=st.sampled_from(KEYS), owner=st.sampled_from(OWNERS))
    def cancel(self, key: str, owner: str) -> None:
        self.checker.cancel(key, owner)

    @rule(passed=seconds)
    def time_passes(self, passed: int) -> None:
        self.checker.now += passed

    @rule()
    def sweep(self) -> None:
        self.checker.sweep()

    @rule()
    def wake(self) -> None:
        self.checker.wake()

    @rule(owner=st.sampled_from(OWNERS))
    def upload(self, owner: str) -> None:
        self.checker.upload(owner)

    @invariant()
    def same_as_the_model(self) -> None:
        self.checker.compare()


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=12,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("budgets", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_long_walk_by_chance_agrees_with_the_model(
    seed: int, budgets: bool, tmp_path: Path
) -> None:
    store = open_sqlite(tmp_path / "db.sqlite", jitter=lambda: 0.0)
    Checker(store, budgets=budgets).walk(random.Random(seed), 200)
    store.close()
