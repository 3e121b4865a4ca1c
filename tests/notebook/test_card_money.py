"""Live figures of money on the card, and in the handle of a job."""

from __future__ import annotations

import json

import pytest

from jupyter_remote.cards.render import card_json, html_of, text_of
from jupyter_remote.cards.state import at_completion, render, share_of_fuse
from jupyter_remote.client.describe import estimate
from jupyter_remote.wire import Bar, Estimate, Interval, Money

from .test_card import USD_PER_H, after, event, running, view

HOUR = 3600.0
# half of an hour, give or take: at 1 USD an hour half of a USD
KNOWN = Estimate(
    run_s=Interval(1500.0, 1800.0, 2160.0),
    ucredits=Interval(41_666_667, 50_000_000, 60_000_000),
    basis="4 earlier runs of this code on g5.xlarge",
    runs=4,
)


def test_a_queued_job_shows_what_it_is_expected_to_cost() -> None:
    text = text_of(after(estimate=KNOWN), 1001.0)
    assert "$0 at $1/h · ≈ $0.5000 (0.4167–0.6000) expected" in text
    assert "expected" not in text_of(after(), 1001.0)


def test_before_there_is_progress_earlier_runs_tell_the_cost_at_completion() -> None:
    state = running(estimate=KNOWN)
    assert "1 min 40 s of ≈ 30 min 00 s" in text_of(state, 1100.0)
    assert "≈ $0.5000 (0.41" in text_of(state, 1100.0)
    assert "at completion" in text_of(state, 1100.0)


def test_with_progress_the_interval_is_narrower_than_by_either_alone() -> None:
    def width(*bars: Bar, **fields: object) -> float:
        made = at_completion(running(*bars, **fields), 1090.0)
        assert made is not None
        return made.total_s[2] - made.total_s[0]

    bar = Bar(id="o", n=5, total=100, elapsed_s=90.0, rate=0.05)
    both = width(bar, estimate=KNOWN)
    assert both < width(bar)
    assert both < width(estimate=KNOWN)
    assert "of ≈" not in text_of(running(bar, estimate=KNOWN), 1090.0)  # the bar says it


def test_a_free_job_says_how_long_it_takes_as_before() -> None:
    free = Money(rate_ucredits_per_h=0, hold_ucredits=0, cost_ucredits=0)
    quick = Estimate(run_s=Interval(9.0, 12.0, 15.0), ucredits=Interval(0, 0, 0), runs=2)
    assert "5.0 s of ≈ 12 s · free" in text_of(running(money=free, estimate=quick), 1005.0)
    ended = after(status="completed", money=free, estimate=quick, started_at=1.0, ended_at=9.0)
    assert "8.0 s · free" in text_of(ended, 20.0)


def test_the_share_of_the_fuse_is_shown() -> None:
    fuse = {"max_cost_ucredits": USD_PER_H // 2, "fuse": "max_cost"}
    state = running(**fuse)
    assert share_of_fuse(state, 1000.0 + 756) == pytest.approx(0.42)
    assert "42 % of $0.5000" in text_of(state, 1000.0 + 756)
    assert "100 % of $0.5000" in text_of(state, 1000.0 + HOUR)
    assert "% of" not in text_of(running(), 1000.0 + 756)
    free = Money(rate_ucredits_per_h=0, hold_ucredits=0, cost_ucredits=0)
    assert "% of" not in text_of(running(money=free, **fuse), 1500.0)


def test_of_a_budget_that_leaves_less_than_the_cost_limit_the_share_is_shown() -> None:
    left = Money(rate_ucredits_per_h=USD_PER_H, hold_ucredits=USD_PER_H // 4, cost_ucredits=0)
    state = running(money=left, fuse="budget day", max_cost_ucredits=USD_PER_H // 2)
    assert "84 % of $0.2500" in text_of(state, 1000.0 + 756)
    assert card_json(state, 1100.0)["fuse"] == "budget day"


def test_the_cost_at_completion_never_exceeds_what_is_held() -> None:
    held = Money(rate_ucredits_per_h=USD_PER_H, hold_ucredits=10_000_000, cost_ucredits=0)
    made = at_completion(running(money=held, estimate=KNOWN), 1010.0)
    assert made is not None
    assert made.cost_ucredits == (10_000_000, 10_000_000, 10_000_000)


def test_of_an_ended_job_only_what_it_cost_is_shown() -> None:
    for status in ("completed", "failed", "cancelled"):
        text = text_of(after(status=status, estimate=KNOWN), 2000.0)
        assert "expected" not in text
        assert "at completion" not in text


def test_the_live_card_draws_the_same_figures() -> None:
    drawn = card_json(running(estimate=KNOWN, max_cost_ucredits=USD_PER_H), 1100.0)
    assert drawn["texts"]["of"] == " of ≈ 30 min 00 s"
    assert drawn["texts"]["expected"] == ""
    assert drawn["completion"]["cost_ucredits"][1] == pytest.approx(50_000_000, rel=0.01)
    assert drawn["max_cost_ucredits"] == USD_PER_H
    queued = card_json(after(estimate=KNOWN), 1001.0)
    assert queued["texts"]["expected"].startswith("≈ $0.5000")
    assert json.loads(json.dumps(queued))["estimate"]["runs"] == 4


def test_an_estimate_that_comes_with_a_status_is_kept() -> None:
    state = render(after(), event("status", view(estimate=KNOWN)))
    state = render(state, event("status", {"status": "running", "started_at": 1000.0}))
    assert state.estimate == KNOWN
    assert "<span>$</span>0.5000" in html_of(state, 1010.0)


# --- job.estimate ----------------------------------------------------------------------------
def test_the_estimate_of_a_job_has_interval_basis_and_limit() -> None:
    made = estimate(view(estimate=KNOWN, max_cost_ucredits=USD_PER_H))
    assert made.usd == Interval(0.41666667, 0.5, 0.6)
    assert made.run_s == KNOWN.run_s
    assert (made.basis, made.runs, made.max_usd, made.fuse_share) == (KNOWN.basis, 4, 1.0, 0.0)
    assert (made.usd_per_h, made.hold_usd, made.hold_credits) == (1.0, 1.0, 100.0)
    assert str(made) == "≈ $0.5000 (0.4167–0.6000), $1/h, at most $1.00"


def test_the_estimate_of_a_running_job_counts_its_progress_in() -> None:
    bar = Bar(id="o", n=50, total=100, elapsed_s=1000.0, rate=0.05)
    job = view(
        status="running",
        started_at=0.0,
        progress=[bar],
        estimate=KNOWN,
        max_cost_ucredits=USD_PER_H,
    )
    made = estimate(job, 1000.0)
    assert made.run_s is not None
    assert made.run_s.expected == pytest.approx(2000.0, rel=0.02)
    assert made.left_s == pytest.approx(1000.0, rel=0.04)
    assert made.fuse_share == pytest.approx(1000 / 3600)


def test_of_a_job_of_which_nothing_is_known_the_hold_is_the_estimate() -> None:
    made = estimate(view())
    assert (made.usd, made.run_s, made.left_s, made.max_usd, made.fuse_share) == (None,) * 5
    assert str(made) == "$1/h, at most $1.00"
