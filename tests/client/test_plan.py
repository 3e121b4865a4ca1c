"""A plan as people read it."""

from __future__ import annotations

import platform
from typing import Any

import msgspec
import numpy
import pytest

from jupyter_remote import wire
from jupyter_remote.client import environment
from jupyter_remote.client.places import Provided
from jupyter_remote.client.plan import Plan
from jupyter_remote.client.plan_words import credits, times
from jupyter_remote.model import MachineType
from jupyter_remote.money.offers import marks, too_little

MACHINE = MachineType(
    id="g5.xlarge",
    cpus=4,
    memory_bytes=16 << 30,
    gpu="A10G",
    gpu_count=1,
    gpu_memory_bytes=24 << 30,
    usd_per_h=0.44,
    simulated=True,
)
RUN = wire.Interval(80.0, 100.0, 125.0)
KNOWN = wire.Estimate(
    run_s=RUN,
    ucredits=wire.Interval(980_000, 1_220_000, 1_530_000),
    basis="3 earlier runs of this code on g5.xlarge",
    runs=3,
)
BIG = wire.Segment("d" * 64, 1 << 20)
HEAD = wire.Segment("e" * 64, 4000)


def reply(**changes: Any) -> wire.PlanReply:
    fields: dict[str, Any] = {
        "machine": MACHINE,
        "rate_ucredits_per_h": 44_000_000,
        "hold_ucredits": 88_000_000,
        "max_run_s": 7200,
        "available_ucredits": 80_000_000,
    }
    return wire.PlanReply(**(fields | changes))


def offer(name: str, usd_per_h: float, run_s: float | None, credits: float = 0) -> wire.Offer:
    machine = msgspec.structs.replace(MACHINE, id=name, usd_per_h=usd_per_h)
    if run_s is None:
        return wire.Offer(machine=machine, estimate=wire.Estimate(), hold_ucredits=88_000_000)
    prices = wire.Interval(*[credits * 1e6] * 3)
    run = wire.Interval(run_s, run_s, run_s)
    made = wire.Estimate(run_s=run, ucredits=prices, basis="3 earlier runs", runs=3)
    return wire.Offer(machine=machine, estimate=made, hold_ucredits=88_000_000)


def test_a_plan_says_what_is_shipped_and_what_it_costs() -> None:
    segment = wire.Segment("d" * 64, 1 << 20, chunks=[("a" * 64, 1 << 19), ("b" * 64, 1 << 19)])
    lacking = [wire.MissingSegment("d" * 64, ["b" * 64])]
    names = [wire.NameInfo("<x>", "ndarray", 1 << 20)]
    plan = Plan(reply(missing=lacking), names, [], [segment])
    assert (plan.price, plan.credits, plan.missing_bytes) == (0.88, 88.0, 1 << 19)
    text = repr(plan)
    for expected in ("g5.xlarge", "simulated", "$0.44/h", "512 kB of 1 MB there", "2 h"):
        assert expected in text
    assert "8 credits are missing" in text
    assert "&lt;x&gt;" in plan._repr_html_()


def test_a_plan_says_how_long_it_takes_and_on_what_that_rests() -> None:
    plan = Plan(reply(estimate=KNOWN))
    text = repr(plan)
    told = "1 min 40 s (1 min 20 s – 2 min 05 s), by 3 earlier runs of this code on g5.xlarge"
    assert told in text
    assert "≈ 1.22 credits, $0.0122 (0.0098–0.0153), $0.44/h" in text
    assert plan.expected is not None
    assert plan.expected.expected == pytest.approx(0.0122)
    unknown = Plan(reply(estimate=wire.Estimate(basis="nothing like it has run yet")))
    assert "not known: nothing like it has run yet" in repr(unknown)
    assert unknown.expected is None


def test_each_name_says_whether_it_is_there_already() -> None:
    names = [wire.NameInfo("x", "ndarray", BIG.size_bytes), wire.NameInfo("y", "list", 3000)]
    there = Plan(reply(), names, [], [HEAD, BIG]).shipped
    assert [s.there for s in there] == [True, True]
    lacking = [wire.MissingSegment(HEAD.digest), wire.MissingSegment(BIG.digest)]
    assert [s.there for s in Plan(reply(missing=lacking), names, [], [HEAD, BIG]).shipped] == [
        False,
        False,
    ]
    partly = Plan(reply(missing=lacking[:1]), names, [], [HEAD, BIG])
    assert [s.there for s in partly.shipped] == [True, None]
    assert "x: ndarray, 1 MB, there already" in repr(partly)
    assert Plan(reply(), names, [], []).shipped[0].there is None


def test_files_say_whether_they_are_there_and_modules_that_they_are_modules() -> None:
    files = [
        wire.FileRef("helpers.py", BIG, module=True),
        wire.FileRef("data.csv", HEAD),
        wire.FileRef("small.txt", wire.Segment("f" * 64, 1, b"x")),
    ]
    plan = Plan(reply(missing=[wire.MissingSegment(HEAD.digest)]), [], files, [BIG, HEAD])
    assert [(s.name, s.type, s.there) for s in plan.shipped] == [
        ("helpers.py", "module", True),
        ("data.csv", "file", False),
        ("small.txt", "file", None),
    ]


def test_a_file_that_is_read_over_there_says_from_where_and_how_large_it_is() -> None:
    ref = wire.FileRef("a/x.csv", wire.Segment("f" * 64, 0), source="s3://b/a/x.csv",
                       source_bytes=3 << 20)  # fmt: skip
    plan = Plan(reply(), [], [ref], [])
    assert ("", "a/x.csv: file, read over there from s3://b/a/x.csv, 3 MB") in plan.rows()


def test_packages_that_differ_over_there_are_told() -> None:
    there = wire.WorkerEnvironment(
        python=platform.python_version(),
        magic=environment.here().magic,
        platform=platform.system(),
        machine=platform.machine(),
        packages={"numpy": "1.0", "pytest": pytest.__version__},
    )
    used = ["numpy.linalg", "pytest", "os", "json", "jupyter_remote", "mine"]
    plan = Plan(reply(there=there), used=used)
    assert plan.packages == ["numpy", "pytest"]
    assert [d.text for d in plan.differences] == [f"numpy 1.0 there, {numpy.__version__} here"]
    assert f"numpy {numpy.__version__}, pytest" in repr(plan)
    same = Plan(reply(same_python=True), used=used)
    assert same.differences == []
    assert "the same one as here" in repr(same)


def test_what_would_be_installed_is_told_and_does_not_differ_any_more() -> None:
    there = wire.WorkerEnvironment(
        python="3.10.1", magic="00", platform=platform.system(), machine=platform.machine()
    )
    made = wire.EnvironmentSpec(
        digest="a" * 64,
        python="3.10",
        packages={"numpy": "2.0", "mine": "0.1"},
        wheels=[wire.FileRef("mine-0.1-py3-none-any.whl", BIG)],
        source="what the code imports",
    )
    needed = Provided(made, size_bytes=17 << 20)
    plan = Plan(reply(there=there), used=["numpy"], environment=needed)
    assert [d.text for d in plan.differences] == [
        f"Python 3.10.1 there, {platform.python_version()} here"
    ]
    text = repr(plan)
    assert "numpy 2.0, mine 0.1: 2 packages for Python 3.10 by what the code imports" in text
    assert "17 MB to fetch, 1 of them sent from here; once on each machine, within 30 min" in text
    assert "values cannot be opened there" in text


def test_machines_are_compared_and_the_best_are_marked() -> None:
    offers = [offer("a", 1.0, 100, 2.8), offer("b", 0.5, 300, 4.2), offer("c", 2.0, 40, 2.2)]
    assert marks(offers) == [["chosen"], [], ["cheapest", "fastest"]]
    text = repr(Plan(reply(offers=offers)))
    row = next(line for line in text.split("\n") if line.startswith("c "))
    assert row.split("  ")[-1] == "cheapest, fastest"
    assert "$0.0220" in row.replace("credits, ", "")
    html = Plan(reply(offers=offers))._repr_html_()
    assert html.count("<table>") == 2


def test_of_machines_of_which_nothing_is_known_the_hourly_price_decides() -> None:
    offers = [offer("a", 1.0, None), offer("b", 0.5, None)]
    assert marks(offers) == [["chosen"], ["cheapest"]]
    assert marks([offer("a", 1.0, 10, 1), offer("b", 0.5, 10, 0.5)])[1] == ["cheapest"]
    assert marks(offers[:1]) == [["chosen"]]


def test_a_limit_that_it_will_hit_is_told() -> None:
    assert too_little(500_000, 44_000_000, KNOWN).startswith("--max-cost $0.0050 is less than")
    assert too_little(2_000_000, 44_000_000, KNOWN) == ""
    assert too_little(None, 44_000_000, KNOWN) == too_little(1, 44_000_000, None) == ""
    plan = Plan(reply(estimate=KNOWN), max_cost_ucredits=500_000)
    assert "it will be stopped before its end" in repr(plan)


def test_what_is_held_and_why_is_told() -> None:
    assert "held  88 credits ($0.8800) by the longest run" in repr(Plan(reply()))
    limited = Plan(reply(), max_cost_ucredits=88_000_000)
    assert "held  88 credits ($0.8800) by --max-cost" in repr(limited)
    assert "held" not in repr(Plan(reply(rate_ucredits_per_h=0)))


def test_the_day_and_the_source_of_the_price_are_told() -> None:
    machine = msgspec.structs.replace(MACHINE, priced_on="2020-01-01", source="a price list")
    text = repr(Plan(reply(machine=machine)))
    assert "priced  as of 2020-01-01, " in text
    assert "days ago (a price list)" in text


def test_a_plan_without_a_free_slot_says_that_it_waits() -> None:
    text = repr(Plan(reply(warm=True, slots_free=0, jobs_waiting=3)))
    assert "when a slot is free: all are busy, 3 waiting before it" in text


def test_what_only_a_sample_was_compared_of_is_told() -> None:
    plan = Plan(reply(), [], [], [HEAD, BIG], guessed=[BIG.digest])
    assert "of 1 MB that was sent before a sample was compared" in repr(plan)
    assert "a sample" not in repr(Plan(reply(), [], [], [HEAD, BIG]))


def test_modules_are_packages_and_not_shipped_names() -> None:
    plan = Plan(reply(), [wire.NameInfo("np", "module", 72)], used=["numpy"])
    assert plan.shipped == []
    assert plan.packages == ["numpy"]


def test_amounts_are_readable_from_traces_to_thousands() -> None:
    assert [credits(u) for u in (0, 870, 18_600, 1_220_000, 1_056_000_000)] == [
        "0.00 credits",
        "0.00087 credits",
        "0.019 credits",
        "1.22 credits",
        "1,056.00 credits",
    ]
    assert times(wire.Interval(0.001, 1.5, 50.0)) == "1.5 s (up to 50 s)"


def test_the_short_form_has_price_time_start_and_what_is_sent() -> None:
    short = Plan(reply(estimate=KNOWN, slots_free=1), [], [], [BIG]).short()
    assert short.split("\n") == [
        "g5.xlarge: ≈ 1.22 credits, $0.0122 (0.0098–0.0153), $0.44/h, at most 88 credits "
        "($0.8800); 8 credits are missing; takes 1 min 40 s (1 min 20 s – 2 min 05 s); starts "
        "at once (a machine is ready); ships 0 B (1 MB of 1 MB there already)",
        "by 3 earlier runs of this code on g5.xlarge",
    ]


def test_a_budget_that_leaves_less_is_told_with_what_stops_the_job():
    plan = Plan(reply(fuse="budget day", hold_ucredits=5_000_000, max_run_s=409.0))
    rows = dict(plan.rows())
    assert rows["held"].startswith("5 credits ($0.0500) by the budget of the day; what is not")
    told = "it is stopped when it has cost $0.0500: the budget of the day leaves no more"
    assert rows["note"] == told
    assert told in plan.short()
    assert plan.affordable


def test_a_budget_that_leaves_nothing_is_told():
    plan = Plan(reply(refused="the budget of the day leaves 0 credits", hold_ucredits=1))
    assert not plan.affordable
    assert "the budget of the day leaves 0 credits" in repr(plan)
    assert "are missing" not in repr(plan)


def test_a_part_of_a_machine_is_told_with_its_price() -> None:
    large = msgspec.structs.replace(MACHINE, id="g5.12xlarge", gpu_count=4, simulated=False)
    rows = dict(Plan(reply(machine=large, gpus=2)).rows())
    assert "2 of 4 × A10G 24 GB, for that part of its price" in rows["machine"]
