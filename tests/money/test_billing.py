import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_remote.money.billing import Billing, cost_of, least_ucredits, rework
from jupyter_remote.money.meter import cost_ucredits

RATE = 100_600_000  # g5.xlarge.od
EC2 = Billing(minimum_s=60.0, start_s=40.0, environment_s=20.0, idle_tail_s=30.0)


@given(st.floats(0, 1e5), st.integers(0, 10**10))
def test_an_embedded_backend_charges_the_run_alone(run_s, rate):
    cost = cost_of(run_s, rate, Billing(), sent_bytes=10**12, fetched_bytes=10**12)
    assert cost.total == cost_ucredits(rate, run_s)


def test_a_rented_machine_is_paid_from_its_start_to_its_end():
    billing = Billing(start_s=40.0, environment_s=20.0, idle_tail_s=30.0, bytes_per_s=1e6)
    cost = cost_of(100.0, RATE, billing, sent_bytes=5_000_000, fetched_bytes=2_000_000)
    assert cost.machine == cost_ucredits(RATE, 40 + 20 + 5 + 100 + 2 + 30)


def test_less_than_the_minimum_is_billed_as_the_minimum():
    assert cost_of(3.0, RATE, Billing(minimum_s=60.0)).total == cost_ucredits(RATE, 60.0)
    assert cost_of(61.0, RATE, Billing(minimum_s=60.0)).total == cost_ucredits(RATE, 61.0)


def test_disk_and_egress_are_parts_of_their_own():
    billing = Billing(disk_usd_per_h=0.36, egress_usd_per_gib=0.09)
    cost = cost_of(100.0, RATE, billing, fetched_bytes=2 << 30)
    assert cost.disk == 1_000_000  # 0.01 USD: 100 s of 0.36 USD an hour
    assert cost.egress == 18_000_000
    assert cost.total == cost.machine + cost.disk + cost.egress


def test_rework_on_spot_follows_the_interruptions_of_the_zone():
    assert rework(3600.0, 0.0, 60.0) == 0.0
    assert rework(3600.0, 0.1, 0.0) == pytest.approx(3600 * (math.expm1(0.1) / 0.1 - 1))
    assert rework(3600.0, 0.1, 60.0) - rework(3600.0, 0.1, 0.0) == pytest.approx(
        60 * math.expm1(0.1)
    )
    spot = cost_of(3600.0, RATE, Billing(interruptions_per_h=0.5))
    assert spot.rework == pytest.approx(RATE * (math.expm1(0.5) / 0.5 - 1), rel=1e-6)


@given(st.floats(0, 1e7), st.floats(0, 100), st.floats(0, 1e4))
def test_rework_is_finite_and_grows_with_the_run(run_s, rate, again_s):
    assert 0 <= rework(run_s, rate, again_s) < math.inf
    assert rework(run_s, rate, again_s) <= rework(2 * run_s, rate, again_s) + 1e-6 * run_s + 1e-6


def test_the_least_price_is_the_minimum_billed_or_one_second():
    assert least_ucredits(RATE, Billing()) == cost_ucredits(RATE, 1.0)
    assert least_ucredits(RATE, EC2) == cost_ucredits(RATE, 91.0)
    assert least_ucredits(0, Billing()) == 0
