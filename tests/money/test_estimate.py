from hypothesis import given
from hypothesis import strategies as st

from jupyter_remote.money.estimate import completion, spread, typical

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


def test_earlier_runs_are_summed_up_by_their_middle_half() -> None:
    assert spread([]) is None
    assert spread([3.0, 1.0]) == (1.0, 3.0)
    assert spread([1.0, 2.0, 3.0, 4.0, 100.0]) == (2.0, 4.0)
    assert typical([], 0.5) == 0.5
    assert typical([1.0, 2.0, 90.0], 0.5) == 2.0
