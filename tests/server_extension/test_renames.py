"""A notebook that is renamed in a real Jupyter server keeps its jobs, and its budget."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jupyter_remote as jr
from jupyter_remote.client import renames
from tests.browser import lab
from tests.conftest import stop_backend
from tests.notebook.kernels import printed
from tests.notebook.test_sync import started
from tests.server_extension.test_forwarding import LIMIT_S, ask

PAID = "jr.Client().with_options(machine='p5.48xlarge.od', timeout='1m').submit(print).result()"
JOB = "print(jr.Client().submit(print, 'shown').id)"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.Server]:
    with lab.server(tmp_path_factory.mktemp("server")) as server:
        yield server


def ask_rename(server: lab.Server, old: str, new: str) -> None:
    """As a page does."""
    request = urllib.request.Request(
        f"{server.url}/api/contents/{old}",
        json.dumps({"path": new}).encode(),
        {"Authorization": f"token {server.token}", "Content-Type": "application/json"},
        method="PATCH",
    )
    urllib.request.urlopen(request, timeout=LIMIT_S).close()


def rename(server: lab.Server, old: str, new: str) -> None:
    """Until it is written down."""
    before = len(renames.log().all())
    ask_rename(server, old, new)
    lab.until(lambda: len(renames.log().all()) > before)


def jobs(server: lab.Server, path: Path) -> list[dict[str, Any]]:
    status, found = ask(server, "GET", f"v1/jobs?limit=100&notebook={path}")
    assert status == 200
    return list(found["jobs"])


def test_jobs_of_before_and_after_a_rename_are_of_the_notebook_as_it_is_called_now(server):
    lab.write(server.folder / "Untitled.ipynb", "1")
    (server.folder / "models").mkdir()
    new = server.folder / "models" / "train.ipynb"
    with started(server.folder / "Untitled.ipynb", "import jupyter_remote as jr") as kernel:
        before = printed(kernel.run(JOB))
        rename(server, "Untitled.ipynb", "models/train.ipynb")
        after = printed(kernel.run(JOB))
    lab.write(server.folder / "Untitled.ipynb", "1")
    with started(server.folder / "Untitled.ipynb", "import jupyter_remote as jr") as kernel:
        others = printed(kernel.run(JOB))
    ids = [text.strip() for text in (before, after, others)]
    assert [job["id"] for job in jobs(server, new)] == [ids[1], ids[0]]
    assert [job["id"] for job in jobs(server, server.folder / "Untitled.ipynb")] == [ids[2]]
    assert {job["notebook"] for job in jobs(server, new)} == {str(new)}
    assert ask(server, "GET", f"v1/jobs/{ids[0]}")[1]["notebook"] == str(new)
    with jr.Client() as client:
        assert client.job(ids[1]).view.notebook == str(new)
        assert [job.id for job in client.jobs_of(str(new))] == [ids[1], ids[0]]
        assert [job.id for job in client.jobs_since(str(new), 0)] == [ids[1], ids[0]]
        assert client.repeat(ids[0]).view.notebook == str(new)


@pytest.fixture
def _no_budgets() -> Iterator[None]:
    """The backend is that of other tests, too."""
    yield
    with jr.Client() as client:
        for budget in client.budgets():
            client.set_budget(budget.scope, None, budget.name)


@pytest.mark.usefixtures("_no_budgets")
def test_what_is_left_of_a_budget_goes_with_its_notebook_and_comes_back_with_it(server):
    path, moved = server.folder / "paid.ipynb", server.folder / "moved.ipynb"
    lab.write(path, "1")
    with jr.Client() as client:
        client.set_budget("notebook", 5.0, str(path))
        client.set_budget("notebook", 1.0, "/elsewhere/paid.ipynb")
        with started(path, "import jupyter_remote as jr") as kernel:
            kernel.run(PAID)
        [spent] = [b.spent_ucredits for b in client.budgets() if b.name == str(path)]
        assert spent > 0

        def left() -> dict[str, int]:
            return {Path(b.name).name: b.left_ucredits for b in client.budgets()}

        whole = left()["paid.ipynb"]
        rename(server, "paid.ipynb", "moved.ipynb")
        lab.until(lambda: str(moved) in [b.name for b in client.budgets()])
        lab.until(lambda: str(path) not in [b.name for b in client.budgets()])
        assert left() == {"moved.ipynb": whole, "paid.ipynb": 100_000_000}
        stop_backend({})
        rename(server, "moved.ipynb", "paid.ipynb")
        ask(server, "GET", "v1/jobs?start=1")
        lab.until(lambda: str(moved) not in [b.name for b in client.budgets()])
        [again] = [b for b in client.budgets() if b.name == str(path)]
        assert (again.left_ucredits, again.spent_ucredits) == (whole, spent)


def add(*moves: tuple[Path, Path]) -> None:
    """As a Jupyter server did that has ended since, while the backend was away."""
    for old, new in moves:
        renames.log().add(renames.Rename(time.time(), str(old), str(new)))


@pytest.mark.usefixtures("_no_budgets")
def test_a_budget_follows_later_too_and_pays_for_what_its_notebook_ran_before(server):
    path, moved = server.folder / "early.ipynb", server.folder / "late.ipynb"
    with jr.Client() as client:
        client.set_budget("notebook", 5.0, str(path))
        [whole] = [b.left_ucredits for b in client.budgets()]
        add((path, moved))
        with started(moved, "import jupyter_remote as jr") as kernel:
            kernel.run(PAID)
        ask(server, "GET", "v1/jobs")
        [budget] = client.budgets()
        assert (budget.name, budget.left_ucredits) == (str(moved), whole - budget.spent_ucredits)
        assert budget.spent_ucredits > 0
        client.set_budget("notebook", 1.0, str(path))  # of another one
        add((path.parent / "any.ipynb", path.parent / "other.ipynb"))
        ask(server, "GET", "v1/jobs")
        assert {b.name for b in client.budgets()} == {str(path), str(moved)}


@pytest.mark.usefixtures("_no_budgets")
def test_notebooks_that_change_places_change_their_budgets(server):
    one, other, aside = (server.folder / f"{name}.ipynb" for name in ("one", "other", "aside"))
    with jr.Client() as client:
        client.set_budget("notebook", 1.0, str(one))
        client.set_budget("notebook", 2.0, str(other))
        before = {b.name: b.left_ucredits for b in client.budgets()}
        add((one, aside), (other, one), (aside, other))
        ask(server, "GET", "v1/jobs")
        after = {b.name: b.left_ucredits for b in client.budgets()}
        assert after == {str(one): before[str(other)], str(other): before[str(one)]}


def test_what_is_no_notebook_is_not_written_down(server):
    (server.folder / "data.csv").write_text("1")
    (server.folder / "folder").mkdir()
    ask_rename(server, "data.csv", "figures.csv")
    rename(server, "folder", "results")
    assert renames.log().all()[-1].new == str(server.folder / "results")
    assert not any(one.new.endswith(".csv") for one in renames.log().all())
