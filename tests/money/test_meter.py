from hypothesis import given
from hypothesis import strategies as st

from jupyter_remote.money import meter

rates = st.integers(0, 10**11)
seconds = st.floats(0, 10**6, allow_nan=False)


def test_an_hour_costs_the_hourly_rate():
    assert meter.cost_ucredits(meter.ucredits_of_usd(1.006), 3600) == 100_600_000


def test_a_credit_is_a_cent():
    assert meter.usd_of(meter.UCREDITS_PER_CREDIT) == 0.01


@given(rates, seconds, seconds)
def test_cost_grows_with_time_and_is_never_negative(rate, a, b):
    low, high = sorted((a, b))
    assert 0 <= meter.cost_ucredits(rate, low) <= meter.cost_ucredits(rate, high)


@given(rates, st.integers(0, 10**12))
def test_the_longest_run_never_costs_more_than_the_limit(rate, limit):
    longest = meter.longest_run_s(rate, 86_400.0, None, limit)
    assert meter.cost_ucredits(rate, longest) <= max(limit, 0) or rate == 0


def test_a_free_machine_is_not_limited_by_money():
    assert meter.longest_run_s(0, 60.0, None, 0) == 60.0


def test_amounts_read_well():
    assert [meter.text_of(u) for u in (0, 12_345_600, 250_000_000)] == ["$0", "$0.1235", "$2.50"]
    assert [meter.text_of(u) for u in (1, 4_999, 5_000)] == ["<$0.0001", "<$0.0001", "$0.0001"]


def test_amounts_are_told_in_credits_and_usd():
    assert meter.amount_text(12_300_000) == "12.3 credits ($0.1230)"
    assert meter.amount_text(1_000_000) == "1 credit ($0.0100)"


def test_a_range_and_a_rate_are_told_in_few_signs() -> None:
    assert meter.range_text(36e6, 42e6, 51e6) == "$0.4200 (0.3600–0.5100)"
    assert meter.range_text(1.0, 2.0, 960_000.0) == "<$0.0001 (<0.0001–0.0096)"
    assert meter.range_text(42e6, 42e6, 42e6) == "$0.4200"
    assert meter.text_of(99_999_998) == "$1.00"
    assert [meter.rate_text(0), meter.rate_text(44_000_000)] == ["free", "$0.44/h"]
