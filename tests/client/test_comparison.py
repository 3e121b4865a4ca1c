"""A function on several machines, with a real embedded backend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import jupyter_remote as jr
from jupyter_remote.client.comparison import Comparison, Run
from jupyter_remote.errors import InsufficientFunds, UnknownMachine

MACHINES = ["g5.xlarge", "g4dn.xlarge", "local"]


@pytest.fixture(scope="module")
def client() -> Iterator[jr.Client]:
    with jr.Client() as client:
        yield client


def rows(comparison: Comparison) -> dict[str, list[str]]:
    return {row[0].partition(" ")[0]: row for row in comparison.rows()}


def test_a_function_runs_on_each_and_the_cheapest_value_is_kept(client):
    comparison = client.compare(lambda x: {"loss": x / 3}, [1], machines=MACHINES)
    assert comparison.result(60) == {"loss": 1 / 3}
    assert comparison.best is not None
    assert comparison.best.machine == "local"  # free
    assert [job.machine for job in comparison.jobs] == MACHINES
    assert [row[-1] for row in comparison.rows()] == ["identical", "identical", "kept"]
    assert [row[5] for row in comparison.rows()] == ["0.44", "0.21", "free"]
    assert comparison.notes() == [
        "values and output are those of local, the cheapest; the same output on all"
    ]


def test_what_differs_is_a_column_and_says_how(client):
    def loss() -> float:
        import jupyter_remote as jr

        return {0.21: 0.29, 0.0: 0.31}.get(
            (jr.job.purse.usd_per_h if jr.job.purse else 0), 0.31 + 1e-14
        )

    comparison = client.compare(loss, machines=MACHINES)
    comparison.wait(60)
    assert [row[-1] for row in comparison.rows()] == [
        "agree within 1e-13",
        "differ: 0.31 vs 0.29",
        "kept",
    ]


def test_a_failure_is_a_row_and_the_others_go_on(client):
    def only_here() -> str:
        import jupyter_remote as jr

        print("at", (jr.job.purse.usd_per_h if jr.job.purse else 0))
        if (jr.job.purse.usd_per_h if jr.job.purse else 0) == 0:
            raise ValueError("not <here>")
        return "value"

    comparison = client.compare(only_here, machines=MACHINES)
    assert comparison.result(60) == "value"
    assert comparison.best is not None
    assert comparison.best.machine in MACHINES[:2]  # whichever cost less
    found = rows(comparison)
    assert found["local"][2] == "failed: ValueError: not <here>"
    assert found["local"][-1] == ""
    assert "their outputs differ" in comparison.notes()[0]
    assert "not &lt;here&gt;" in comparison._repr_html_()
    assert "<here>" not in comparison._repr_html_()


def test_if_all_fail_the_first_error_is_raised(client):
    comparison = client.compare(lambda: 1 / 0, machines=MACHINES)
    with pytest.raises(ZeroDivisionError):
        comparison.result(60)
    assert comparison.notes() == ["none completed: there is no value"]
    assert isinstance(comparison.error, ZeroDivisionError)


def test_the_most_that_it_may_cost_is_split_among_those_that_have_a_price(client):
    limited = client.with_options(max_cost=0.2)
    comparison = limited.compare(lambda: 1, machines=MACHINES)
    comparison.wait(60)
    limits = {job.machine: job.view.max_cost_ucredits for job in comparison.jobs}
    assert limits == {"g5.xlarge": 10_000_000, "g4dn.xlarge": 10_000_000, "local": None}
    assert "may cost $0.1000, an equal share" in comparison.notes()[0]


def test_an_unknown_machine_is_told_before_anything_runs(client):
    before = len(client.jobs(limit=None))
    with pytest.raises(UnknownMachine, match=r"g5\.xlarg"):
        client.compare(lambda: 1, machines=["local", "g5.xlarg"])
    assert len(client.jobs(limit=None)) == before


def test_one_that_is_refused_is_a_row_and_all_refused_is_an_error(client):
    large = client.with_options(memory="32GB")
    comparison = large.compare(lambda: 5, machines=["g5.xlarge", "g6.4xlarge"])
    assert comparison.result(60) == 5
    assert comparison.rows()[0][:3] == [
        "g5.xlarge",
        "",
        "refused: g5.xlarge does not have 32 GB of memory.",
    ]
    assert comparison.notes() == ["values and output are those of g6.4xlarge: no other completed"]
    with pytest.raises(UnknownMachine, match="32 GB"):
        large.compare(lambda: 5, machines=["g5.xlarge"])


def test_cancel_stops_all(client):
    def forever() -> None:
        import time

        while True:
            time.sleep(0.05)

    comparison = client.compare(forever, machines=MACHINES[1:])
    assert not comparison.wait(0.01)
    comparison.cancel(force=True)
    assert comparison.wait(60)
    assert [row[2] for row in comparison.rows()] == ["cancelled", "cancelled"]


def test_a_machine_named_twice_runs_once(client):
    comparison = client.compare(lambda: 1, machines=["local", "local"])
    assert comparison.result(60) == 1
    assert len(comparison.jobs) == 1
    assert [row[-1] for row in comparison.rows()] == ["kept"]


def test_a_refusal_alone_makes_a_table_too():
    comparison = Comparison([Run("m", None, InsufficientFunds("1 credit is missing"))])
    assert comparison.done()
    assert "refused: 1 credit is missing" in repr(comparison)
    assert repr(comparison).splitlines()[0].startswith("machine  job  status")
