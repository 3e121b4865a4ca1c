"""Balance, ledger and budgets in a notebook."""

from __future__ import annotations

from tests.notebook.kernels import printed, raised
from tests.notebook.test_sessions import value


def test_the_ledger_says_in_plain_words_what_became_of_the_money(kernel):
    kernel.run("%%remote_run -m g5.xlarge.od --timeout 1h -d train\n1")
    lines = value(kernel.run("%remote ledger")).splitlines()
    what = [line.split("  ")[1].strip() for line in lines[2:5]]
    assert what == ["given back", "charged", "held"]
    assert all("train" in line for line in lines[2:5])
    assert "100.6000" in lines[4]
    assert "granted" in lines[5]
    told = printed(kernel.run("%remote balance"))
    assert "0.00 credits ($0)  for jobs that are queued or run" in told


def test_the_history_says_what_was_held_at_which_price_and_what_came_back(kernel):
    kernel.run("%%remote_run -m g5.xlarge.od --max-cost 1\n1")
    told = value(kernel.run("%remote history"))
    assert "price of 2025-11-15 frozen: $1.006/h (g5.xlarge.od)" in told
    assert "for a run of at most 59 min" in told
    assert "--max-cost" in told
    assert "completed: charged" in told
    assert "given back" in told


def test_a_budget_is_set_shown_kept_to_and_lifted(kernel):
    assert "no budgets" in value(kernel.run("%remote budget"))
    told = value(kernel.run("%remote budget day 0.05"))
    assert "$0.0500" in told
    assert "UTC" in told
    error = raised(kernel.run("%%remote_run -m p5.48xlarge.od\nimport time; time.sleep(60)"))
    assert error["ename"] == "BudgetExceeded"
    assert "the budget of the day left" in error["evalue"]
    error = raised(kernel.run("%%remote_run -m p5.48xlarge.od\n1"))
    assert "leaves" in error["evalue"]
    assert "%remote budget day" in error["evalue"]
    assert "no budgets" in value(kernel.run("%remote budget day --clear"))
    assert value(kernel.run("%%remote_run -m p5.48xlarge.od --timeout 1m\n1")) == "1"


def test_a_notebook_has_a_budget_under_its_name(kernel):
    kernel.run("import os; os.environ['JPY_SESSION_NAME'] = '/home/ada/train.ipynb'")
    told = value(kernel.run("%remote budget notebook 2"))
    assert "notebook /home/ada/train.ipynb" in told
    told = value(kernel.run("%remote budget notebook 3 --notebook other.ipynb"))
    assert "notebook other.ipynb" in told
    assert "no budgets" in value(kernel.run("%remote budget --clear"))
    kernel.run("del os.environ['JPY_SESSION_NAME']")


def test_what_is_no_budget_is_told(kernel):
    for line, part in (
        ("week 5", "there is no budget 'week'"),
        ("day", "say how much"),
        ("day nan", "must be more than zero"),
        ("day -1", "must be more than zero"),
        ("day much", "is not an amount in USD"),
        ("day 1e300", "is not an amount in USD"),
        ("day 5 --clear", "say one budget"),
        ("notebook 5", "which notebook this is"),
    ):
        assert part in raised(kernel.run(f"%remote budget {line}"))["evalue"], line
