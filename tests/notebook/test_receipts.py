"""Receipts: in the notebook's file, as a table, and from elsewhere."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import nbformat
import pytest

from jupyter_remote.cards.render import card_json, html_of, text_of
from jupyter_remote.cards.state import render, state_of
from jupyter_remote.client import receipts as known
from jupyter_remote.errors import UsageError
from jupyter_remote.notebook import receipts
from jupyter_remote.wire import (
    RECEIPT,
    Advice,
    Done,
    GpuMetrics,
    Metrics,
    Money,
    NameInfo,
    Receipt,
    ReceiptAttempt,
    ReceiptCost,
    ReceiptEnvironment,
    ReceiptPrice,
)
from tests.notebook.kernels import executed
from tests.notebook.test_card import HOSTILE, JOB, event, view

GIB = 1024**3


def receipt(**fields: Any) -> Receipt:
    base: dict[str, Any] = {
        "receipt": RECEIPT,
        "id": JOB,
        "kind": "cell",
        "status": "completed",
        "machine": "g5.xlarge",
        "submitted_at": 1000.0,
        "started_at": 1001.0,
        "ended_at": 1100.0,
        "ran_s": 99.0,
    }
    return Receipt(**{**base, **fields})


def run(*sources: str) -> list[nbformat.NotebookNode]:
    cells = ["%load_ext jupyter_remote", *sources]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    return executed(notebook, timeout=60).cells[1:]


def kept(cell: nbformat.NotebookNode) -> list[Receipt]:
    found = [o.get("metadata", {}) for o in cell.outputs]
    return [known.read(m) for m in found if known.METADATA in m]


def said(cell: nbformat.NotebookNode) -> str:
    return "".join(o.text for o in cell.outputs if o.output_type == "stream")


# -- in the file
def test_the_file_keeps_the_receipt_of_each_cell_blocking_background_and_quiet():
    cells = run(
        "%%remote_run -n first -m g5.xlarge\nx = [1, 2]",
        "%%remote_run --bg -n second\nprint(len(x))",
        "second.result(30); None",
        "%%remote_run -q -n third\nx + [3]",
        "%%remote_run --bg -q -n fourth\nx + [4]",
        "fourth.result(30); None",
        "import json; print(json.dumps([j.receipt for j in (first, second, third, fourth)]))",
    )
    told = json.loads(said(cells[6]))
    for cell, receipt in zip([cells[0], cells[1], cells[3], cells[4]], told, strict=True):
        assert [r.id for r in kept(cell)] == [receipt["uuid"]]
        assert known.read(receipt) == kept(cell)[0]
    (first,) = kept(cells[0])
    assert (first.machine, first.price.usd_per_h, first.simulated) == ("g5.xlarge", 0.44, True)
    assert [n.name for n in kept(cells[1])[0].inputs] == ["x"]


def test_a_quiet_cell_that_shows_nothing_keeps_nothing_and_its_job_has_the_receipt():
    cells = run("%%remote_run -q -n job\ny = 1", "print(job.receipt['status'])")
    assert cells[0].outputs == []
    assert said(cells[1]) == "completed\n"


def test_show_is_a_table_and_json_of_the_receipt():
    cells = run("%%remote_run\nz = 1", "%remote show", "%remote show --json")
    table = cells[1].outputs[0].data["text/plain"]
    assert "ended by" in table
    assert "Python 3." in table
    assert json.loads(said(cells[2]))["id"] == kept(cells[0])[0].id


def test_a_job_that_goes_on_has_no_receipt_yet_but_what_is_known():
    cells = run(
        "%%remote_run --bg -n job\nimport time\nwhile True: time.sleep(0.05)",
        "import time\nwhile job.status != 'running': time.sleep(0.05)\n"
        "print(job.whole_receipt, job.receipt['machine'], 'segments' in job.receipt)",
        "job.cancel(); job.wait(30); print(job.receipt['ended_by'])",
    )
    assert said(cells[1]) == "None local False\n"
    assert said(cells[2]) == "user\n"


# -- on the card
ADVISED = receipt(advice=Advice("g4dn.xlarge", "peak 3.1 of 24 GB: g4dn.xlarge", 48))


def ended(of: Receipt):
    done = Done(job=view(status="completed", started_at=1.0, ended_at=2.0), receipt=of)
    return render(state_of(view()), event("done", done))


def test_the_card_says_in_one_line_that_another_machine_would_have_done():
    state = ended(ADVISED)
    assert text_of(state, 3.0).splitlines()[-1] == "  peak 3.1 of 24 GB: g4dn.xlarge"
    assert "peak 3.1 of 24 GB: g4dn.xlarge</div>" in html_of(state, 3.0)
    assert card_json(state, 3.0)["texts"]["left"] == "peak 3.1 of 24 GB: g4dn.xlarge"
    assert "receipt" not in card_json(state, 3.0)


def test_without_advice_the_card_is_as_it_was():
    assert len(text_of(ended(receipt()), 3.0).splitlines()) == 1


@pytest.mark.parametrize("text", HOSTILE)
def test_advice_is_text_on_the_card(text):
    page = html_of(ended(receipt(advice=Advice("m", text, 1))), 3.0)
    assert "<script" not in page
    assert "<img" not in page
    assert "<iframe" not in page


# -- as a table
def test_everything_that_is_known_is_in_the_table():
    made = receipt(
        status="failed",
        detail="killed by SIGKILL",
        inputs=[NameInfo(f"x{i}", "int", 28) for i in range(10)],
        inputs_bytes=2048,
        inputs_digest="f" * 64,
        environment=ReceiptEnvironment(python="3.11.7", packages={"numpy": "2.4.5"}),
        price=ReceiptPrice(usd_per_h=0.44, priced_on="2025-11-15", source="a list", spot=True),
        attempts=[
            ReceiptAttempt(
                epoch=1,
                worker="w1",
                how="lost",
                signal="SIGKILL",
                claimed_at=0.0,
                started_at=1.0,
                ended_at=13.0,
                lost_ucredits=500_000,
            ),
            ReceiptAttempt(epoch=2, worker="w2", how="revoked", claimed_at=20.0),
        ],
        use=Metrics(
            at=0.0,
            cpu_percent=0.0,
            memory_bytes=0,
            peak_memory_bytes=3 * GIB,
            measured_s=9.0,
            mean_cpu_percent=40.0,
            peak_cpu_percent=99.0,
            gpus=[
                GpuMetrics(
                    "A10G",
                    mean_percent=11.0,
                    peak_percent=50.0,
                    peak_memory_bytes=3 * GIB,
                    memory_total_bytes=24 * GIB,
                )
            ],
        ),
        cost=ReceiptCost(total_ucredits=12_000_000, run_ucredits=12_000_000, lost_ucredits=500_000),
    )
    rows = dict(receipts.table(made).rows)
    assert rows["status"] == "failed: killed by SIGKILL"
    assert rows["inputs"].endswith("x7 (int, 28 B) and 2 more: 2 kB, together ffffffffffffffff")
    assert rows["environment"] == "Python 3.11.7, numpy 2.4.5"
    assert rows["price"] == "$0.44/h (spot) of 2025-11-15, a list"
    assert rows["attempt 1"] == "lost (SIGKILL) after 12 s on w1: $0, $0.0050 not charged"
    assert rows["attempt 2"] == "revoked on w2, not started"
    assert rows["peak memory"] == "3 GB"
    assert rows["CPU"] == "40 % on average, 99 % at most"
    assert rows["A10G"] == "11 % on average, 50 % at most, memory 3 GB of 24 GB at most"
    assert rows["cost"] == "$0.1200 (run $0.1200); $0.0050 lost and not charged"


def test_what_did_not_run_or_was_cancelled_is_said_once():
    given = dict(receipts.table(receipt(cached_from="0fcfc191-5c76", started_at=None)).rows)
    assert given["ran"] == "no: it was given the result of job 0fcfc191"
    cancelled = receipt(status="cancelled", reason="cancelled", detail="cancelled")
    assert dict(receipts.table(cancelled).rows)["status"] == "cancelled"
    shared = receipts.table(receipt(visibility="private"), "public: http://x/results/1")
    assert dict(shared.rows)["visibility"] == "public: http://x/results/1"


def test_a_cell_of_a_session_that_costs_is_not_called_free():
    in_session = {"session": "0fcfc191-5c76", "machine": "g5.xlarge", "kind": "cell"}
    assert dict(receipts.table(receipt(**in_session)).rows)["price"] == "paid by its session"
    unpriced = Money(rate_ucredits_per_h=0, hold_ucredits=0, cost_ucredits=0)
    state = state_of(view(money=unpriced, **in_session))
    assert "paid by its session" in text_of(state, 1100.0)
    assert card_json(state, 1100.0)["texts"]["unpriced"] == "paid by its session"
    here = {**in_session, "machine": "local"}
    assert dict(receipts.table(receipt(**here)).rows)["price"] == "free"
    assert "free" in text_of(state_of(view(money=unpriced, **here)), 1100.0)


def test_what_was_not_measured_is_said_and_what_is_free_costs_nothing():
    rows = dict(receipts.table(receipt()).rows)
    assert rows["use"] == "not measured: it was over too soon"
    assert rows["cost"] == "nothing"
    assert rows["inputs"] == "none"


# -- from elsewhere
def test_a_receipt_is_read_from_metadata_and_from_the_dict_of_a_job():
    made = receipt(segments=[("a" * 64, 3)], advice=Advice("m", "text", 5))
    assert known.read(known.metadata(made)) == made
    assert known.read(json.loads(msgspec.json.encode(made))) == made
    assert known.read(known.plain(made)) == made
    assert known.newer(made) == ""


def test_a_newer_receipt_is_read_as_far_as_known_and_told():
    newer = known.metadata(receipt(version="9.0"))
    fields = newer[known.METADATA]["receipt"]
    fields |= {"receipt": RECEIPT + 1, "carbon": {"grams": 3}, "cost": "in words", "ran_s": 5.0}
    read = known.read(newer)
    assert (read.id, read.ran_s, read.cost) == (JOB, 5.0, ReceiptCost())
    assert "version 2 of jupyter-remote 9.0; this program knows 1" in known.newer(read)
    assert known.newer(read) in repr(receipts.table(read))


@pytest.mark.parametrize("data", [None, 5, [], {}, {"uuid": "x"}, {"jupyter_remote": {}}])
def test_what_is_no_receipt_is_told(data):
    with pytest.raises(UsageError, match="no receipt"):
        known.read(data)


def test_a_damaged_receipt_is_told_with_the_field():
    with pytest.raises(UsageError, match="damaged: its id"):
        known.read({"receipt": 1, "id": 5, "kind": "cell", "status": "completed"})
