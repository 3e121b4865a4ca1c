"""The notebooks that ship with the project, executed as a user would, with their outputs read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from notebooks.show import run
from tests.conftest import isolate, stop_backend

NOTEBOOKS = Path(__file__).parent.parent.parent / "notebooks"
CARD = "application/vnd.jupyter-remote.job+json"


def texts(notebook: nbformat.NotebookNode) -> list[str]:
    """What each code cell printed or displayed, as text."""
    return [
        "".join(
            o.get("text") or "".join(o.get("data", {}).get("text/plain", "")) for o in cell.outputs
        )
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]


@pytest.fixture(scope="module")
def quickstart() -> nbformat.NotebookNode:
    return run(NOTEBOOKS / "quickstart.ipynb")


def test_quickstart_runs_its_cell_in_another_process_and_brings_the_values_home(quickstart):
    there = re.search(r"hello from process (\d+)", texts(quickstart)[2])
    here = re.search(r"here is process (\d+) .* 40 values, ([\d.]+)", texts(quickstart)[3])
    assert there
    assert here
    assert there[1] != here[1]
    assert float(here[2]) == pytest.approx(sum(k**0.5 for k in range(40)), abs=1e-3)


def test_quickstart_shows_the_figure_that_was_drawn_over_there(quickstart):
    assert any("image/png" in o.get("data", {}) for o in outputs(quickstart))


def test_quickstart_tells_the_price_before_and_after(quickstart):
    plan, run = texts(quickstart)[5:7]
    assert "$" in plan
    assert "A10G" in plan
    assert "simulated" in run
    assert re.search(r"\$0\.0\d+", run)


def test_every_saved_card_is_true_without_a_kernel(quickstart):
    cards = [o.data for o in outputs(quickstart) if CARD in o.get("data", {})]
    assert len(cards) >= 3
    for card in cards:
        assert "completed" in card["text/plain"]
        assert "completed" in card["text/html"]
        assert "Loading widget" not in card["text/html"]
        assert "application/vnd.jupyter.widget-view+json" not in card


def test_quickstart_ends_with_a_list_of_its_jobs(quickstart):
    assert texts(quickstart)[-1].count("completed") >= 3


def test_progress_bars_are_native_and_not_printed_as_well():
    notebook = run(NOTEBOOKS / "progress.ipynb")
    assert texts(notebook)[-1].strip() == "3 20 20"
    streams = "".join(o.text for o in outputs(notebook) if o.output_type == "stream")
    assert "it/s" not in streams
    cards = [o.data[CARD] for o in outputs(notebook) if CARD in o.get("data", {})]
    assert "epoch" in str(cards[0])


def test_functions_trains_a_model_and_catches_the_remote_error():
    notebook = run(NOTEBOOKS / "functions.ipynb")
    said = "".join(texts(notebook))
    assert float(re.search(r"here: accuracy ([\d.]+)", said)[1]) > 0.85
    assert "3 models" in said
    assert "caught: division by zero" in said
    assert texts(notebook)[-1].strip().strip("'") == "completed"


def test_sessions_walks_through_what_a_view_can_do():
    said = texts(run(NOTEBOOKS / "sessions.ipynb"))
    expected = [
        *("[0, 1]", "(<DirectView [0, 1]>, <DirectView 0>)"),
        *("'hello from another process: True'", "[15, 15]", "[1024, 1024]", "[8, 8]"),
        *(None, "12.57", "{'depth': 3}", "(1, 2, 2)"),
        *("([5, 5], [5, [1, 2]])", "('AsyncResult', [1, 2])", "3"),
        *("TimeoutError: Result not ready.\n(True, 'ok', 0)", None),
        *("importing statistics on engine(s)\n[3, 3]", "['e', 'i', 'o']"),
        "no_such_module cannot be imported: No module named 'no_such_module'\n",
        "ZeroDivisionError - division by zero - on worker 0\n",
        "one or more exceptions raised in: <lambda>\n"
        "[0:<lambda>] ZeroDivisionError: division by zero\n5.0",
        "[[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]",
        str([x * x for x in range(10)]),
        *(str([x**3 for x in range(6)]), "(328350, 100)", "True"),
        *(None, "[0, 1, 2]", ""),
    ]
    assert [s for s, e in zip(said, expected, strict=True) if e is not None and s != e] == []
    assert said[6].count("working") in (1, 2)
    assert "'engine_uuid'," in said[14]
    assert re.search(r"data +list +1000", said[-3])


def test_parallel_finds_what_theory_says():
    said = "".join(texts(run(NOTEBOOKS / "parallel.ipynb")))
    assert [float(f) for f in re.findall(r"walks: ([\d.]+)", said)] == pytest.approx([28] * 3, 0.02)
    assert float(re.search(r"here: ([\d.]+)", said)[1]) == pytest.approx(28.02, 0.02)
    assert re.search(r"24 items, [\d.]+ s of work in [\d.]+ s", said)
    assert float(re.search(r"([\d.]+) after \d+ calls", said)[1]) == pytest.approx(28, 0.05)
    assert re.search(r"100,000 values, mean -?0\.00\d, variance 1\.0", said)
    found = re.search(r"best of 9: {'C': ([\d.]+), 'gamma': ([\d.]+)}, (0\.9\d\d)", said)
    assert (float(found[1]), float(found[2]), float(found[3])) == (1, 0.1, 0.98)


@pytest.fixture(scope="module")
def money(tmp_path_factory: pytest.TempPathFactory) -> Iterator[nbformat.NotebookNode]:
    """On a backend of its own, where nothing ran before."""
    env = isolate(tmp_path_factory.mktemp("money"))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        yield run(NOTEBOOKS / "money.ipynb")
    stop_backend(env)


def cell_of(notebook: nbformat.NotebookNode, text: str, nth: int = 0) -> str:
    """What the nth code cell that holds ``text`` printed or displayed."""
    found = [
        shown
        for cell, shown in zip(
            (c for c in notebook.cells if c.cell_type == "code"), texts(notebook), strict=True
        )
        if text in cell.source
    ]
    return found[nth]


def test_money_plans_before_anything_ran_and_then_by_what_ran(money):
    first, second = (cell_of(money, "--plan", n) for n in (0, 1))
    assert "nothing like it has run yet" in first
    assert "data: ndarray, 3.8 MB, to be sent" in first
    assert "by 1 earlier run of this code on g5.xlarge.od" in second
    assert "data: ndarray, 3.8 MB, there already" in second
    assert "cheapest" in second


def test_money_has_a_fuse_with_a_checkpoint_from_which_the_next_job_goes_on(money):
    [stopped] = [c for c in money.cells if "--max-cost 0.0006" in c.source]
    error = stopped.outputs[-1]
    assert error.ename == "BudgetExceeded"
    assert "starts a new job from its checkpoint" in error.evalue + "".join(error.traceback)
    told = cell_of(money, "%remote history last")
    assert "warning at 80 %" in told
    assert "checkpoint saved" in told
    assert "stopped at its cost limit (--max-cost): charged 0.05" in told
    assert "'step': 60, 'sum': 1770" in cell_of(money, "--resume last")


def test_money_says_what_a_cancel_cost(money):
    assert "before it started: not charged" in cell_of(money, "waits.cancel()")
    assert re.search(
        r"after start, stopped by \w+: charged 0\.\d+ credits", cell_of(money, "job.wait()")
    )


def test_money_takes_a_result_from_the_cache_and_explains_the_miss(money):
    first, hit, missed = (cell_of(money, "--cache", n) for n in range(3))
    assert "not in the cache: first run" in first
    assert "added 1 entry to the cache" in first
    assert "from the cache · saved $0.000" in hit
    assert "computed 249999500000.0" in hit
    assert "`scale` changed: 2 → 3" in missed
    assert "computed 374999250000.0" in missed
    assert "1 hit, 2 misses" in cell_of(money, "cache stats")


def test_money_compares_machines_and_their_results(money):
    compared = cell_of(money, "--compare")
    assert compared.count("completed") == 3
    assert compared.count("identical") == 2
    assert "the cheapest" in compared


def test_money_keeps_a_receipt_in_the_notebook_from_which_a_job_is_repeated(money):
    [cell] = [c for c in money.cells if "-d receipted" in c.source]
    receipts = [o.metadata["jupyter_remote"]["receipt"] for o in cell.outputs if o.get("metadata")]
    assert [r["status"] for r in receipts] == ["completed"]
    assert receipts[0]["machine"] == "g6.xlarge"
    assert "same code, same inputs, same environment; result: identical" in cell_of(money, "rerun")


def test_money_ends_with_an_account_on_which_nothing_is_held(money):
    ledger = cell_of(money, "%remote ledger")
    assert "granted" in ledger
    assert ledger.count("held") >= 5
    assert "nothing runs" in texts(money)[-1]
    assert "day" in cell_of(money, "budget day 5")
