"""From a cell in a notebook through boto3 to a worker that boots from its user data, and home."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from notebooks.show import run
from tests.cloud.backend import Backend
from tests.cloud.launches import INSTANCE
from tests.cloud.simulator import Simulator, best_mode
from tests.cloud.waiting import until

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
pytestmark = pytest.mark.timeout(400)
CARD = "application/vnd.jupyter-remote.job+json"
IDLE_S = 5.0
GONE_S = 60.0  # from the last job to the end of the machine, at most


@pytest.fixture(scope="module")
def cloud() -> Iterator[Simulator]:
    with Simulator(best_mode()) as simulator:
        yield simulator
    assert [m for m in simulator.machines.values() if m.processes()] == []


@pytest.fixture(scope="module")
def backend(cloud: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A server that launches in the simulated cloud; kernels that are started now talk to it.

    It makes the package that machines install once.
    """
    backend = Backend(tmp_path_factory.mktemp("backend"), cloud.environment())
    backend.environment["JUPYTER_REMOTE_WORKER_URL"] = cloud.proxy(backend.port).url
    backend.environment["JUPYTER_REMOTE_MACHINE_IDLE_S"] = str(IDLE_S)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in backend.environment.items():
            patch.setenv(name, value)
        backend.start()
        try:
            yield backend
        finally:
            backend.stop()
            backend.end()


def executed(folder: Path, *cells: str) -> nbformat.NotebookNode:
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        nbformat.v4.new_code_cell(text) for text in ("%load_ext jupyter_remote", *cells)
    ]
    path = folder / "cells.ipynb"
    nbformat.write(notebook, path)
    return run(path, timeout_s=120)


def said(cell: Any) -> str:
    """What a cell printed or displayed, as text."""
    return "".join(
        o.get("text") or "".join(o.get("data", {}).get("text/plain", "")) for o in cell.outputs
    )


def card_of(cell: Any) -> dict[str, Any]:
    [card] = [o.data for o in cell.outputs if CARD in o.get("data", {})]
    return dict(card)


FIRST = """%%remote_run -m g5.xlarge --timeout 5m
import os
import jupyter_remote as jr

print("hello from", os.uname().nodename, os.getpid())
for n in jr.progress(range(len(numbers)), desc="adding"):
    numbers[n] += 1
total = sum(numbers)
"""


def test_a_cell_runs_on_a_machine_that_boots_for_it_and_is_gone_afterwards(
    backend: Backend, cloud: Simulator, tmp_path: Path
) -> None:
    notebook = executed(tmp_path, "numbers = list(range(20))", FIRST, "print(total, numbers[0])")
    _, _, first, here = notebook.cells
    card = card_of(first)
    assert "hello from" in said(first)
    assert "adding" in str(card[CARD])
    assert "completed" in card["text/plain"]
    assert re.search(r"\$0\.\d+", card["text/plain"])
    assert said(here).strip() == "210 1"
    until(lambda: cloud.alive() == [], IDLE_S + GONE_S)
    [id] = cloud.witness.instances()
    assert cloud.machines[id].processes() == []
    assert cloud.intents(INSTANCE)[id].startswith("ec2-")


def test_the_notebook_about_the_cloud_also_when_its_machine_is_taken_back(
    backend: Backend, cloud: Simulator
) -> None:
    before = len(cloud.witness.instances())
    taken = threading.Event()

    def take_back() -> None:
        running = "SELECT count(*) FROM job WHERE description = 'steps' AND state = 'running'"
        until(lambda: backend.rows(running) == [(1,)], 120)
        [id] = cloud.alive()
        cloud.fleet.interrupt(id, notice_s=15)
        taken.set()

    thread = threading.Thread(target=take_back, daemon=True)
    thread.start()
    notebook = run(NOTEBOOKS / "cloud.ipynb", timeout_s=150)
    thread.join(10)
    cells = {cell.id: said(cell) for cell in notebook.cells if cell.cell_type == "code"}
    told = "\n".join(cells.values())
    assert taken.is_set()
    assert "A10G" in cells["cloud-03"]
    assert "$" in cells["cloud-05"]
    assert "GPU 0: NVIDIA A10G" in cells["cloud-07"]
    assert cells["cloud-08"].strip() == "came home: 3.1"
    assert "off by 0.0" in cells["cloud-12"]
    assert "'step': 60, 'sum': 1770" in cells["cloud-14"]
    assert "from step 0" in cells["cloud-14"]
    assert "checkpoint" in cells["cloud-16"]
    assert told.count("completed") >= 6
    assert len(cloud.witness.instances()) - before == 2
    assert cloud.twins(INSTANCE) == {}
    until(lambda: cloud.alive() == [], IDLE_S + GONE_S)
