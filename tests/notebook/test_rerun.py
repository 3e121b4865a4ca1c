"""``%remote rerun``: from an id, a variable, and from the file of a notebook."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest

from jupyter_remote.errors import UsageError
from jupyter_remote.notebook import kept
from jupyter_remote.notebook.commands_receipts import _listed
from tests.notebook.kernels import executed

SAME = "same code, same inputs, same environment"


def run(folder: Path, *sources: str, allow_errors: bool = False) -> list[nbformat.NotebookNode]:
    cells = ["%load_ext jupyter_remote", *sources]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    resources = {"metadata": {"path": str(folder)}}
    executed(notebook, timeout=120, allow_errors=allow_errors, resources=resources)
    nbformat.write(notebook, folder / "saved.ipynb")
    return notebook.cells[1:]


def said(cell: nbformat.NotebookNode) -> str:
    return "".join(o.text for o in cell.outputs if o.output_type == "stream")


def value(cell: nbformat.NotebookNode) -> str:
    return next(o for o in cell.outputs if o.output_type == "execute_result").data["text/plain"]


def failed(cell: nbformat.NotebookNode) -> str:
    return next(o for o in cell.outputs if o.output_type == "error").evalue


def test_a_cell_runs_once_more_from_its_id_its_receipt_and_its_handle(tmp_path):
    cells = run(
        tmp_path,
        "x = 20",
        "%%remote_run -n job -m g5.xlarge --max-cost 0.5\nprint('again')\ny = x + 1\ny",
        "receipt = job.receipt; id = job.id; x = y = 0",
        "%remote rerun $id",
        "y",
        "%remote rerun receipt",
        "%remote rerun job -m local",
        "import jupyter_remote as jr\n"
        "[(j.machine, j.description == job.description) for j in jr.Client().jobs(limit=3)]",
    )
    for cell in cells[3], cells[5]:
        assert "again\n" in said(cell)
        assert value(cell) == "21"
        assert f"compared with job {_short(cells[1])}: {SAME}; result: identical" in said(cell)
    assert value(cells[4]) == "21"
    assert f"{SAME}, machine g5.xlarge → local; result: identical" in said(cells[6])
    assert value(cells[7]) == "[('local', True), ('g5.xlarge', True), ('g5.xlarge', True)]"


def _short(cell: nbformat.NotebookNode) -> str:
    (receipt,) = [r.id for o in cell.outputs for r in kept.of_outputs({"outputs": [o]})]
    return receipt[:8]


def test_a_later_notebook_lists_the_receipts_of_a_file_and_repeats_one_of_its_cells(tmp_path):
    first = run(
        tmp_path,
        "import numpy as np\nbig = np.arange(50_000.0)",
        "%%remote_run\ntotal = float(big.sum())",
        "%%remote_run --compare local,g4dn.xlarge\nhalf = big[0]",
    )
    (tmp_path / "saved.ipynb").rename(tmp_path / "old notebook.ipynb")
    cells = run(
        tmp_path,
        "%remote rerun 'old notebook.ipynb'",
        "%remote rerun 'old notebook.ipynb:3'",
        "total",
        "%remote rerun 'old notebook.ipynb:4'",
        "%remote rerun 'old notebook.ipynb:99'",
        allow_errors=True,
    )
    listed = value(cells[0])
    assert _short(first[1]) in listed
    assert [line.split()[1] for line in listed.splitlines()[2:5]] == ["[3]", "[4]", "[4]"]
    assert f"{SAME}; result: identical" in said(cells[1])
    assert value(cells[2]) == "1249975000.0"
    assert "has 2 receipts" in failed(cells[3])
    assert "In [99] of old notebook.ipynb has no receipt" in failed(cells[4])


def test_what_is_no_longer_there_is_named_and_nothing_runs(tmp_path):
    cells = run(
        tmp_path,
        "import numpy as np, os, pathlib, json\nbig = np.arange(50_000.0)",
        "%%remote_run -n job -m g5.xlarge\nresult = big.mean()",
        "gone = json.loads(json.dumps(job.receipt))\n"
        "gone['id'] = '0' * 8 + gone['id'][8:]\ngone['machine'] = 'g1.small'\n"
        "gone['environment']['packages']['numpy'] = '0.1'",
        "%remote rerun gone",
        "stale = {**job.receipt, 'price': {'usd_per_h': 0.4}}",
        "%remote rerun stale",
        "there = pathlib.Path(os.environ['JUPYTER_DATA_DIR'])\n"
        "for digest, _ in job.receipt['segments']:\n"
        "    for path in there.rglob(f'{digest}*'):\n        path.unlink()",
        "%remote rerun job",
        allow_errors=True,
    )
    told = failed(cells[3])
    assert "no longer there: job 00000000 (this backend does not know it); " in told
    assert "machine type g1.small (not in the catalogue)" in told
    assert "since then numpy 0.1 → " in told
    assert "run its cell again" in told
    assert "since then: price 0.4 → 0.44 $/h" in said(cells[5])
    assert f"{SAME}, price 0.4 → 0.44 $/h" in said(cells[5])
    assert "big (" in failed(cells[7])
    assert "Nothing was charged" in failed(cells[7])


def test_code_that_failed_fails_again_and_the_comparison_is_told(tmp_path):
    cells = run(
        tmp_path,
        "%%remote_run -n job\n1 / 0",
        "%remote rerun last",
        allow_errors=True,
    )
    assert "division by zero" in failed(cells[1])
    assert SAME in said(cells[1])
    assert "result" not in said(cells[1])


def test_a_call_gives_its_value_and_a_job_that_goes_on_has_no_receipt_yet(tmp_path):
    cells = run(
        tmp_path,
        "import jupyter_remote as jr\ndef f(x):\n    return {'x': x}\n"
        "job = jr.Client().submit(f, 3)\njob.result()",
        "%remote rerun job",
        "%%remote_run --bg -n endless\nimport time\nwhile True: time.sleep(0.05)",
        "%remote rerun endless",
        "endless.cancel(force=True); endless.wait(30)",
        allow_errors=True,
    )
    assert value(cells[1]) == "{'x': 3}"
    assert "has no receipt yet" in failed(cells[3])


# -- files
def write(path: Path, *cells: object) -> Path:
    path.write_text(json.dumps({"cells": cells, "nbformat": 4}))
    return path


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cells": 3}', "\xff"])
def test_a_file_that_is_no_notebook_is_told(tmp_path, text):
    path = tmp_path / "a.ipynb"
    path.write_text(text)
    with pytest.raises(UsageError, match="not a notebook"):
        kept.of_file(path)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        kept.of_file(tmp_path / "none.ipynb")


def test_odd_cells_hold_no_receipts_and_a_table_of_none_says_so(tmp_path):
    odd = [
        None,
        {},
        {"outputs": None},
        {"outputs": [None, {}, {"metadata": None}, {"metadata": {"jupyter_remote": 3}}]},
        {"outputs": [{"metadata": {"jupyter_remote": {}}}]},
    ]
    path = write(tmp_path / "odd.ipynb", *odd)
    assert kept.of_file(path) == []
    assert "odd.ipynb has no receipts" in repr(_listed(path, []))


def test_a_damaged_receipt_is_a_row_that_says_so_and_the_others_are_listed(tmp_path):
    good = {"receipt": 1, "id": "a" * 36, "kind": "cell", "status": "completed"}
    cells = [
        {"execution_count": n, "outputs": [{"metadata": {"jupyter_remote": {"receipt": data}}}]}
        for n, data in enumerate([good, {**good, "id": 5}, "text"], start=1)
    ]
    path = write(tmp_path / "damaged.ipynb", *cells)
    found = kept.of_file(path)
    assert [one.cell for one in found] == [1, 2, 3]
    listed = repr(_listed(path, found))
    assert "aaaaaaaa" in listed
    assert "this receipt is damaged: its id" in listed
    assert "this is no receipt" in listed
    assert kept.of_cell(path, "1").id == "a" * 36
    with pytest.raises(UsageError, match="damaged"):
        kept.of_cell(path, "2")
