from hypothesis import given
from hypothesis import strategies as st

from jupyter_remote.money.waiting import Split, split

times = st.floats(-1.0, 10**7, allow_nan=False)


def test_what_a_session_cost_is_for_calls_and_for_waiting():
    assert split(1000, 100.0, 25.0) == Split(25.0, 75.0, 250, 750)
    assert split(0, 100.0, 25.0) == Split(25.0, 75.0, 0, 0)


def test_clocks_that_differ_make_no_negative_time():
    assert split(1000, 10.0, 10.5) == Split(10.0, 0.0, 1000, 0)
    assert split(1000, -1.0, 3.0) == Split(0.0, 0.0, 1000, 0)


@given(st.integers(0, 10**15), times, times)
def test_the_parts_add_up(cost: int, elapsed_s: float, busy_s: float):
    parts = split(cost, elapsed_s, busy_s)
    assert parts.busy_ucredits + parts.waiting_ucredits == cost
    assert min(parts.busy_ucredits, parts.waiting_ucredits) >= 0
    assert min(parts.busy_s, parts.waiting_s) >= 0
