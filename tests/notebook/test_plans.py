"""Plans and estimates in real notebooks, against the embedded backend."""

from __future__ import annotations

import pytest

from .test_cells import cards, error, run, stream, value

pytestmark = pytest.mark.usefixtures("fresh_home")  # a plan rests on all that ran before


def plan_of(cell) -> str:
    return next(o.data["text/plain"] for o in cell.outputs if "text/plain" in o.get("data", {}))


def test_a_plan_is_of_the_code_as_it_is_now_and_rests_on_its_earlier_runs(tmp_path):
    cells = run(
        tmp_path,
        "@jr.remote(machine='g5.xlarge', timeout='1h')\ndef f(n):\n    return n + 1",
        "before = f.plan(3)\nbefore",
        "[f(i) for i in range(3)]",
        "f.plan(3)",
        "%remote cost f(3)",
        "@jr.remote(machine='g6.xlarge', timeout='1h')\ndef f(n):\n    return n * 100",
        "f.plan(3)",
        "f(3)",
        "before.machine.id",
    )
    assert "not known: nothing like it has run yet" in value(cells[1])
    assert value(cells[2]) == "[1, 2, 3]"
    assert "by 3 earlier runs of this code on g5.xlarge" in value(cells[3])
    assert "by 3 earlier runs of this code on g5.xlarge" in stream(cells[4])
    assert "expected: " in stream(cells[4])
    assert "machine  g6.xlarge" in value(cells[6])
    assert "this code is new" in value(cells[6])
    assert value(cells[7]) == "300"  # what runs is never what an old plan was of
    assert value(cells[8]) == "'g5.xlarge'"


def test_what_is_there_already_is_known_without_sending_or_running_anything(tmp_path):
    cells = run(
        tmp_path,
        "import numpy as np\nx = np.arange(6_000_000.0)\nran = False",
        "%%remote_run --plan\ny, ran = x.sum(), True",
        "%%remote_run\ny = x.sum()",
        "%%remote_run --plan\ny = x.max()",
        "x[:] = 1.0",
        "%%remote_run --plan\ny = x.max()",
        "ran",
        "%%remote_run --plan -s unopened\ny = x.max()",
        "%remote sessions",
    )
    size = "45.8 MB"
    assert f"ships  {size} (0 B of {size} there already)" in plan_of(cells[1])
    assert f"ships  0 B ({size} of {size} there already)" in plan_of(cells[3])
    assert "numpy" in plan_of(cells[3])
    assert "the same one as here" in plan_of(cells[3])
    assert f"ships  {size} (" in plan_of(cells[5])
    assert f"x: ndarray, {size}, to be sent" in plan_of(cells[5])
    assert value(cells[6]) == "False"
    assert f"{size}" in plan_of(cells[7])
    assert "unopened" not in (value(cells[8]) or "")  # a plan starts no session


def test_limits_are_compared_with_what_the_job_is_expected_to_cost(tmp_path):
    code = "import time\ntime.sleep(3)"
    cells = run(
        tmp_path,
        f"%%remote_run -m g5.xlarge.od --max-cost 0.5\n{code}",
        f"%%remote_run -m g5.xlarge.od --max-cost 0.5\n# again\n{code}",
        f"%%remote_run -m g5.xlarge.od --max-cost 0.0001\n{code}",
        f"%%remote_run -m g5.xlarge.od --max-cost 0.0003\n{code}",
        "%remote jobs --all",
        f"%%remote_run -m g5.xlarge.od\n{code}",
    )
    shown = cards(cells[1])[0]["text/plain"]
    assert "0 % of $0.5000" in shown
    assert error(cells[2]).ename == "UsageError"
    assert (
        "below the least price of a job on g5.xlarge.od: 0.027945 credits ($0.0003)"
        in error(cells[2]).evalue
    )
    assert error(cells[3]).ename == "BudgetExceeded"
    told = "\n".join(stream(cells[3], name) for name in ("stdout", "stderr"))
    assert "is less than this is expected to cost" in told
    assert value(cells[4]).count("g5.xlarge.od") == 3
    assert stream(cells[5]) == ""  # by its earlier runs it is cheap: no plan is shown first


def test_a_call_that_may_be_expensive_shows_its_plan_in_short_once(tmp_path):
    above = "import os\nos.environ['JUPYTER_REMOTE_PLAN_ABOVE_USD'] = "
    cells = run(
        tmp_path,
        f"{above}'1e-9'\n@jr.remote(machine='g5.xlarge')\ndef f(n):\n    return n + 1",
        "f(1), f(2)",
        f"{above}'2'\n@jr.remote(machine='g6.xlarge', max_cost=1)\n"
        "def g(n):\n    return n + 2\ng(1)",
    )
    assert value(cells[1]) == "(2, 3)"
    assert stream(cells[1]).count("g5.xlarge: ") == 1
    assert stream(cells[2]) == ""
