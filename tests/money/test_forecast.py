import importlib.util
import itertools
import random
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_remote.model import PastRun
from jupyter_remote.money.forecast import Price, estimate
from jupyter_remote.money.learning import Ask, Learned, judged, learn
from jupyter_remote.money.meter import cost_ucredits

RATE = 100_600_000
PRICE = Price(rate_ucredits_per_h=RATE)
A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
_numbers = itertools.count()


def past(run_s: float, code: str = A, **changes: object) -> PastRun:
    fields = {
        "run_s": run_s,
        "machine": "g5.xlarge",
        "inputs_bytes": 1_000_000,
        "code_key": code,
        "notebook": "a.ipynb",
        "kind": "cell",
        "ended_at": float(next(_numbers)),
    }
    return PastRun(**(fields | changes))  # type: ignore[arg-type]


def asked(code: str = A, **changes: object) -> Ask:
    fields = {
        "machine": "g5.xlarge",
        "inputs_bytes": 1_000_000,
        "code_key": code,
        "notebook": "a.ipynb",
        "kind": "cell",
    }
    return Ask(**(fields | changes))  # type: ignore[arg-type]


def test_of_what_never_ran_nothing_is_said() -> None:
    made = estimate([], asked(), PRICE)
    assert made.run_s is None
    assert made.ucredits is None
    assert made.basis == "nothing like it has run yet"


def test_earlier_runs_of_the_same_code_decide_and_are_named() -> None:
    history = [past(100.0), past(104.0), past(98.0), past(5.0, B), past(7.0, C)]
    made = estimate(history, asked(), PRICE)
    assert made.run_s is not None
    assert made.run_s.expected == pytest.approx(100.0, rel=0.05)
    assert made.run_s.low < 98.0
    assert made.run_s.high > 104.0
    assert made.basis == "3 earlier runs of this code on g5.xlarge"
    assert made.runs == 3


def test_the_price_is_what_the_ledger_charges_for_such_a_run() -> None:
    made = estimate([past(100.0)], asked(), PRICE)
    assert made.run_s is not None
    assert made.ucredits is not None
    assert made.ucredits.expected == cost_ucredits(RATE, made.run_s.expected)
    held = Price(rate_ucredits_per_h=RATE, most_ucredits=5)
    assert estimate([past(100.0)], asked(), held).ucredits == type(made.ucredits)(5, 5, 5)


def test_little_knowledge_makes_wide_intervals() -> None:
    def width(count: int) -> float:
        run_s = estimate([past(100.0 + i % 3) for i in range(count)], asked(), PRICE).run_s
        assert run_s is not None
        return run_s.high / run_s.low

    widths = [width(count) for count in (1, 2, 4, 12)]
    assert widths == sorted(widths, reverse=True)
    new = estimate([past(100.0, B), past(90.0, C)], asked(D), PRICE).run_s
    assert new is not None
    assert new.high / new.low > 3 * widths[0]


def test_new_code_rests_on_its_notebook_then_on_its_kind() -> None:
    history = [
        past(10.0, B),
        past(20.0, C),
        *(past(1000.0, f"{i:064}", notebook="x") for i in range(9)),
    ]
    made = estimate(history, asked(D), PRICE)
    assert made.basis == "2 other cells and calls of this notebook; this code is new"
    assert made.run_s is not None
    assert 5 < made.run_s.expected < 40
    elsewhere = estimate(history, asked(D, notebook="y.ipynb"), PRICE)
    assert elsewhere.basis == "11 other cells of yours; this code is new"


def test_a_faster_machine_is_known_by_other_code_that_ran_on_both() -> None:
    history = [past(100.0 + i) for i in range(3)]
    for number in range(6):
        code = f"{number:064}"
        history += [past(40.0, code), past(20.0, code, machine="g6.xlarge")]
    ask = asked(machine="g6.xlarge")
    made = estimate(history, ask, PRICE)
    assert made.run_s is not None
    assert made.run_s.expected == pytest.approx(52.0, rel=0.15)
    assert made.basis == (
        "3 earlier runs of this code on g5.xlarge; "
        "g6.xlarge takes 0.55 × as long, by 6 other pieces of code"
    )
    blind = estimate(history[:3], ask, PRICE)
    assert blind.basis.endswith("how fast g6.xlarge is beside it is not known")
    assert blind.run_s is not None
    assert blind.run_s.high / blind.run_s.low > made.run_s.high / made.run_s.low


def test_larger_inputs_take_longer_by_what_the_code_showed() -> None:
    sizes = (1, 2, 4, 8, 1, 4)
    linear = [past(10.0 * n, inputs_bytes=n * 10**8) for n in sizes]
    flat = [past(10.0, inputs_bytes=n * 10**8) for n in sizes]
    ask = asked(inputs_bytes=16 * 10**8)
    grown, same = (estimate(h, ask, PRICE) for h in (linear, flat))
    assert grown.run_s is not None
    assert same.run_s is not None
    assert grown.run_s.expected == pytest.approx(160.0, rel=0.15)
    assert same.run_s.expected == pytest.approx(10.0, rel=0.15)
    assert grown.basis.endswith("inputs 4 × larger")


def test_recent_runs_count_more() -> None:
    slower = [past(10.0) for _ in range(10)] + [past(20.0) for _ in range(6)]
    run_s = estimate(slower, asked(), PRICE).run_s
    assert run_s is not None
    assert run_s.expected > 15.0


def test_one_outlier_moves_nothing_far() -> None:
    run_s = estimate([*(past(10.0) for _ in range(8)), past(500.0)], asked(), PRICE).run_s
    assert run_s is not None
    assert run_s.expected < 14.0


@given(
    st.lists(
        st.builds(
            past,
            st.floats(-1e3, 1e12),
            st.sampled_from([A, B, C, ""]),
            machine=st.sampled_from(["local", "g5.xlarge"]),
            inputs_bytes=st.sampled_from([0, 1, 10**15]),
        ),
        max_size=12,
    ),
    st.sampled_from([A, D, ""]),
    st.sampled_from([0, 10**15]),
)
def test_whatever_the_history_holds_an_interval_is_one(
    history: list[PastRun], code: str, inputs_bytes: int
) -> None:
    made = estimate(history, asked(code, inputs_bytes=inputs_bytes), PRICE)
    if made.run_s is not None:
        assert made.ucredits is not None
        for interval in (made.run_s, made.ucredits):
            assert 0 <= interval.low <= interval.expected <= interval.high < float("inf")


def test_errors_of_before_make_the_interval() -> None:
    assert judged([0.1] * 100) == pytest.approx(0.1)
    assert judged([5.0] * 100) == 5.0
    assert judged([]) > 2.0


def test_a_history_without_pairs_teaches_nothing_of_speeds() -> None:
    assert learn([past(1.0), past(2.0, B, machine="local")]).speeds == {}
    assert Learned().ratio("local", "g5.xlarge")[0] == 0.0


def benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "estimates.py"
    spec = importlib.util.spec_from_file_location("estimates_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nine_of_ten_runs_lie_within_their_interval() -> None:
    made = benchmark()
    rng = random.Random(7)
    seen = made.replay(made.history(rng, made.cells(rng, 40), runs=12))
    assert len(seen) > 470
    known = [s for s in seen if s.runs >= 3]
    assert 0.86 <= made.share([s.covered for s in seen]) <= 0.95
    assert 0.86 <= made.share([s.covered for s in known]) <= 0.95
    widths = sorted(s.half_width for s in known)
    assert widths[len(widths) // 2] < 0.3
