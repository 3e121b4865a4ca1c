"""``--compare``: one table, live, in real kernels with a real backend."""

from __future__ import annotations

import re
import threading

import nbformat

from jupyter_remote.client.receipts import METADATA
from tests.notebook.kernels import executed, printed, raised

TWO = "--compare g4dn.xlarge,g5.xlarge"
CELL = f"%%remote_run {TWO}"


def run(*sources: str, allow_errors: bool = False) -> list[nbformat.NotebookNode]:
    cells = ["%load_ext jupyter_remote", *sources]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    return executed(notebook, timeout=120, allow_errors=allow_errors).cells[1:]


def value(cell: nbformat.NotebookNode) -> str:
    return cell.outputs[-1].data["text/plain"]


def table(cell: nbformat.NotebookNode) -> list[str]:
    shown = next(o for o in cell.outputs if o.output_type == "display_data")
    return shown.data["text/plain"].splitlines()


def test_values_of_the_cheapest_come_home_once_with_one_table_and_one_output():
    cells = run(
        "seen = []",
        f"%%remote_run {TWO} -n jobs --max-cost 0.2\nseen.append(1)\nprint('said')\nx = 7\nseen",
        "seen, x, [j.machine for j in jobs]",
        "jobs[1].stdout",
    )
    shown = table(cells[1])
    assert [line.split()[0] for line in shown[2:4]] == ["g4dn.xlarge", "g5.xlarge"]
    assert shown[2].endswith("kept")
    assert shown[3].endswith("identical")
    assert "may cost $0.1000, an equal share" in shown[4]
    assert shown[5].endswith("those of g4dn.xlarge, the cheapest; the same output on all")
    kinds = [o.output_type for o in cells[1].outputs]
    assert (kinds[0], kinds[-1], {*kinds[1:-1]}) == ("display_data", "execute_result", {"stream"})
    assert "".join(o.text for o in cells[1].outputs[1:-1]) == "said\n"
    assert value(cells[1]) == "[1]"
    assert value(cells[2]) == "([1], 7, ['g4dn.xlarge', 'g5.xlarge'])"
    assert value(cells[3]) == repr("said\n")
    kept = cells[1].outputs[0].metadata[METADATA]["receipts"]
    assert [receipt["machine"] for receipt in kept] == ["g4dn.xlarge", "g5.xlarge"]


def test_a_failure_on_one_machine_is_a_row_and_the_other_comes_home():
    cells = run(
        f"{CELL}\nimport jupyter_remote as jr\n"
        "assert jr.job.purse.usd_per_h > 0.3, 'too <small>'\nz = jr.job.purse.usd_per_h",
        "z",
    )
    assert "failed: AssertionError: too <small>" in table(cells[0])[2]
    assert "too &lt;small&gt;" in cells[0].outputs[0].data["text/html"]
    assert table(cells[0])[-1].endswith("those of g5.xlarge: no other completed")
    assert value(cells[1]) == "0.44"


def test_if_all_fail_the_cell_fails_with_the_users_own_error():
    (cell,) = run(f"{CELL}\n1 / 0", allow_errors=True)
    assert cell.outputs[-1].ename == "ZeroDivisionError"
    assert table(cell)[-1] == "none completed: there is no value"


def test_an_expression_is_compared_too_and_gives_its_value():
    (cell,) = run(f"%remote run {TWO} 6 * 7")
    assert table(cell)[3].endswith("identical")
    assert value(cell) == "42"


def test_a_plan_of_each_is_shown_and_nothing_runs():
    (cell, jobs) = run(f"{CELL} --plan\nprint('ran')", "%remote jobs")
    assert [o.data["text/plain"].split()[1] for o in cell.outputs] == ["g4dn.xlarge,", "g5.xlarge,"]
    assert "print('ran')" not in value(jobs)


def test_what_cannot_go_together_is_told_before_anything_runs():
    cells = run(
        *(f"{CELL} {more}\n1" for more in ("-m local", "--bg", "-s kept-out")),
        "%remote sessions",
        allow_errors=True,
    )
    told = [cell.outputs[-1].evalue for cell in cells[:3]]
    assert "says the machines itself" in told[0]
    assert "waits for all" in told[1]
    assert "one machine" in told[2]
    assert "kept-out" not in value(cells[3])


def test_the_table_is_live_and_the_stop_button_stops_all(kernel):
    stopped = threading.Event()

    def stop(message):
        text = message["content"].get("data", {}).get("text/plain", "")
        if text.count("running: executing") == 2 and not stopped.is_set():
            stopped.set()
            kernel.interrupt()

    messages = kernel.run(
        f"%%remote_run {TWO} -n jobs\nimport time\nwhile True:\n    time.sleep(0.05)", stop
    )
    assert stopped.is_set()
    assert raised(messages)["ename"] in ("KeyboardInterrupt", "JobCancelled")
    said = printed(kernel.run("print([j.status for j in jobs])"))
    assert said == "['cancelled', 'cancelled']\n"
    last = [m for m in messages if m["msg_type"] == "update_display_data"][-1]
    assert last["content"]["data"]["text/plain"].count("cancelled") == 2


def test_bars_are_told_as_a_percentage_beside_the_status(kernel, tmp_path):
    told: list[str] = []
    gate = tmp_path / "gate"

    def look(message):
        text = message["content"].get("data", {}).get("text/plain", "")
        if re.search(r"running: executing, [1-9]0 %", text):
            told.append(text)
            gate.touch()

    kernel.run(
        "%%remote_run --compare local\nimport os, time\nfrom tqdm import tqdm\n"
        "for i in tqdm(range(10)):\n    time.sleep(0.2)\n"
        f"    while i == 5 and not os.path.exists({str(gate)!r}): time.sleep(0.01)",
        look,
    )
    assert told


def test_a_comparison_takes_the_place_of_the_notebooks_machine_and_uses_no_cache():
    cells = run(
        "%remote use -m g6.xlarge --cache",
        f"{CELL}\nx = 1",
        f"{CELL}\nx = 1",
        "%remote cache stats",
    )
    for cell in cells[1:3]:
        assert [line.split()[0] for line in table(cell)[2:4]] == ["g4dn.xlarge", "g5.xlarge"]
        assert "cache" not in "".join(table(cell))
    told = ["".join(o.text for o in c.outputs if o.output_type == "stream") for c in cells[1:3]]
    assert [text.count("nothing is taken from the cache") for text in told] == [1, 0]
