import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_remote.money.estimate import completion, typical
from jupyter_remote.wire import Interval

RATE = 100_600_000  # g5.xlarge.od


def test_nothing_is_said_before_the_first_step():
    assert completion(10, 10, 0.0, RATE) is None


def test_half_done_takes_as_long_again():
    estimate = completion(12.0, 10.0, 0.5, RATE)
    assert estimate is not None
    assert estimate.left_s == 10.0
    assert estimate.total_s[1] == 22.0


@given(st.floats(0.001, 1.0), st.floats(0.1, 1e5))
def test_the_interval_encloses_the_expectation_and_what_was_spent(done, elapsed):
    estimate = completion(elapsed, elapsed, done, RATE)
    assert estimate is not None
    low, mid, high = estimate.total_s
    assert elapsed <= low + 1e-6 * elapsed
    assert low <= mid <= high


def test_the_interval_narrows_as_work_gets_done():
    early, late = completion(10, 10, 0.05, RATE), completion(100, 100, 0.5, RATE)
    assert early is not None
    assert late is not None
    assert (early.total_s[2] / early.total_s[1]) > (late.total_s[2] / late.total_s[1])


def test_the_typical_start_is_the_middle_one() -> None:
    assert typical([], 0.5) == 0.5
    assert typical([1.0, 2.0, 90.0], 0.5) == 2.0


PRIOR = Interval(80.0, 100.0, 125.0)


def test_before_there_is_progress_earlier_runs_tell() -> None:
    made = completion(10.0, 0.0, 0.0, RATE, prior=PRIOR)
    assert made is not None
    assert made.total_s[1] == pytest.approx(100.0, rel=0.01)
    assert made.left_s == pytest.approx(90.0, rel=0.02)
    assert made.total_s[0] == pytest.approx(80.0, rel=0.02)
    assert made.total_s[2] == pytest.approx(125.0, rel=0.02)
    assert completion(10.0, 0.0, 0.0, RATE) is None


@given(st.floats(0.0, 1e6))
def test_a_run_that_takes_longer_than_those_before_is_never_expected_to_be_over(elapsed) -> None:
    made = completion(elapsed, 0.0, 0.0, RATE, prior=PRIOR)
    assert made is not None
    low, mid, high = made.total_s
    assert elapsed <= low <= mid <= high
    assert made.left_s >= 0


def test_progress_and_earlier_runs_together_say_more_than_either() -> None:
    alone = completion(5.0, 5.0, 0.05, RATE)
    both = completion(5.0, 5.0, 0.05, RATE, prior=PRIOR)
    assert alone is not None
    assert both is not None
    width = both.total_s[2] - both.total_s[0]
    assert width < alone.total_s[2] - alone.total_s[0]
    assert width < PRIOR.high - PRIOR.low


def test_what_is_seen_wins_over_earlier_runs_that_it_does_not_agree_with() -> None:
    made = completion(100.0, 100.0, 0.1, RATE, prior=PRIOR)  # ten times as long as ever
    assert made is not None
    assert made.total_s[1] == pytest.approx(1000.0, rel=0.05)


def test_errors_of_earlier_extrapolations_set_the_width() -> None:
    def width(*errors: tuple[float, float]) -> float:
        made = completion(10.0, 10.0, 0.1, RATE, errors=errors)
        assert made is not None
        return made.total_s[2] - made.total_s[0]

    exact, poor = width(*[(0.1, 1.001)] * 50), width(*[(0.1, 1.5), (0.1, 0.7)] * 25)
    assert exact < width() < poor
