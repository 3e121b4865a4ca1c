"""Files of notebooks are brought up to date by what their jobs showed meanwhile."""

from __future__ import annotations

import json
import os
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from msgspec.structs import replace
from nbformat.sign import NotebookNotary

from jupyter_remote import cli, errors, wire
from jupyter_remote.client import notebook_files
from jupyter_remote.client.homecoming import home_of, left_alone
from jupyter_remote.client.notebook_files import sync
from jupyter_remote.wire import BESIDE_WIDGET, CARD_TYPE, WIDGET_TYPE, cell_code_of

NOW = 1_000_000.0
SAVED_AT = NOW - 100.0
CODE = "%%remote_run\nprint('a'); print('b')"
CALL = "fit(3)"


def text(said: str, name: str = "stdout") -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": said}


def display(said: str, **more: Any) -> dict[str, Any]:
    data = {"text/plain": said, **more}
    return {"output_type": "display_data", "data": data, "metadata": {}}


class Backend:
    """Tells of jobs what it was told."""

    def __init__(self) -> None:
        self.jobs: dict[str, wire.JobOutputs] = {}
        self.asked = 0

    def job(
        self, *outputs: dict[str, Any], cell: str = "c0", code: str = CODE, **fields: Any
    ) -> str:
        id = str(uuid.uuid4())
        fields = {
            "kind": "cell",
            "status": "completed",
            "submitted_at": SAVED_AT - 10.0,
            "started_at": SAVED_AT,
            "ended_at": SAVED_AT + 50.0,
            "notebook": "",
            **fields,
        }
        view = wire.JobView(
            id=id,
            cell=cell,
            cell_code=cell_code_of(code),
            money=wire.Money(0, 0, 0),
            **fields,
        )
        self.jobs[id] = wire.JobOutputs(job=view, cursor=1, outputs=list(outputs))
        return id

    def card(self, id: str, **changes: Any) -> dict[str, Any]:
        """As it was when the file was saved: the job was running."""
        told = self.jobs[id]
        before = replace(told.job, status="running", ended_at=None, **changes)
        return home_of(wire.JobOutputs(job=before, cursor=0), SAVED_AT).card

    def jobs_since(self, notebook: str, at: float) -> Iterator[wire.JobView]:
        found = [told.job for told in self.jobs.values() if told.job.notebook == notebook]
        newest = sorted(found, key=lambda job: -job.submitted_at)
        return iter([job for job in newest if job.submitted_at > at])

    def outputs_of(self, id: str) -> wire.JobOutputs:
        self.asked += 1
        if id not in self.jobs:
            raise errors.NotFound("no such job")
        return self.jobs[id]


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "train.ipynb"


def save(
    path: Path, *cells: tuple[str, list[dict[str, Any]]], minor: int = 5, runs: bool = False
) -> None:
    """``cells``: their text and outputs; their ids are c0, c1, …; ``runs``: they run just now."""
    made = []
    for n, (code, outputs) in enumerate(cells):
        cell = nbformat.v4.new_code_cell(code, outputs=nbformat.from_dict(outputs), id=f"c{n}")
        cell.execution_count = None if runs else n + 1
        made.append(cell)
    notebook = nbformat.v4.new_notebook(cells=made)
    notebook.nbformat_minor = minor
    for cell in notebook.cells if minor < 5 else []:
        del cell["id"]
    nbformat.write(notebook, path)
    os.utime(path, (SAVED_AT, SAVED_AT))


def outputs(path: Path, n: int = 0) -> list[Any]:
    """Below the card of a cell."""
    [card, *found] = nbformat.read(path, as_version=nbformat.NO_CONVERT).cells[n].outputs
    assert CARD_TYPE in card["data"]
    return found


def status(path: Path, n: int = 0) -> str:
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    return notebook.cells[n].outputs[0]["data"][CARD_TYPE]["status"]


# --- rules ---------------------------------------------------------------------------------------
def test_all_that_came_meanwhile_is_in_the_cell_and_once(backend, path):
    id = backend.job(text("a\nb\n"), display("figure"), text("c\n"))
    save(path, (CODE, [backend.card(id), text("a\n")]))
    synced = sync(path, backend, NOW)
    assert outputs(path) == backend.jobs[id].outputs
    assert status(path) == "completed"
    [one] = synced.jobs
    assert (one.what, one.line) == ("output", "In [1] print('a'); print('b'): completed")
    before, asked = path.read_bytes(), backend.asked
    assert not sync(path, backend, NOW + 1).is_changed
    assert path.read_bytes() == before
    assert backend.asked == asked  # a card that says how it ended is not asked for again


def test_a_job_that_goes_on_is_brought_up_to_now(backend, path):
    id = backend.job(text("a\n"), status="running", ended_at=None)
    save(path, (CODE, [backend.card(id)]))
    assert sync(path, backend, NOW).jobs[0].text == "running, brought up to now"
    assert outputs(path) == [text("a\n")]
    backend.jobs[id].outputs.append(display("figure"))
    sync(path, backend, NOW + 1)
    assert outputs(path) == [text("a\n"), display("figure")]


def test_a_job_that_waits_leaves_the_file_alone(backend, path):
    id = backend.job(status="queued", started_at=None, ended_at=None)
    save(path, (CODE, [home_of(backend.jobs[id], SAVED_AT).card]))
    before = path.read_bytes()
    assert not sync(path, backend, NOW).is_changed
    assert path.read_bytes() == before


def test_a_card_whose_last_output_was_on_its_way_is_not_the_end(backend, path):
    id = backend.job(text("a\nb\n"))
    card = home_of(backend.jobs[id], SAVED_AT).card
    card["data"][CARD_TYPE]["relaying"] = True
    save(path, (CODE, [card, text("a\n")]))
    sync(path, backend, NOW)
    assert outputs(path) == [text("a\nb\n")]
    assert not sync(path, backend, NOW).is_changed


def test_an_edited_cell_gets_no_output(backend, path):
    id = backend.job(text("a\nb\n"))
    save(path, (CODE + "  # edited", [backend.card(id), text("a\n")]))
    [one] = sync(path, backend, NOW).jobs
    assert (outputs(path), status(path)) == ([text("a\n")], "completed")
    assert one.what == "card"
    assert f"the cell was edited, so its output is in %remote logs {id[:8]}" in one.text


def test_output_of_a_deleted_cell_goes_nowhere_else(backend, path):
    backend.job(text("a\n"), cell="deleted", code="other", notebook=str(path))
    id = backend.job(text("b\n"), cell="c1", code="other")
    save(path, (CODE, []), ("edited", [backend.card(id)]))
    sync(path, backend, NOW)
    assert outputs(path, 1) == []
    assert nbformat.read(path, as_version=4).cells[0].outputs == []


@pytest.mark.parametrize("cell", ["of-a-console", "8c1f7f0e-1f4b-4f83-9d5e-2b0c0a7b3f10"])
def test_output_of_a_console_with_this_kernel_is_not_of_a_cell_with_the_same_text(
    backend, path, cell
):
    backend.job(text("a\n"), cell=cell, submitted_at=NOW, notebook=str(path))
    save(path, (CODE, []))
    assert not sync(path, backend, NOW).is_changed


@pytest.mark.parametrize("cell", ["", "vscode-notebook-cell:/home/ada/train.ipynb#W0sZmlsZQ=="])
def test_a_cell_that_its_front_end_calls_otherwise_than_the_file_is_known_by_its_text(
    backend, path, cell
):
    backend.job(text("a\n"), cell=cell, submitted_at=NOW, notebook=str(path))
    save(path, (CODE, []))
    sync(path, backend, NOW)
    assert outputs(path) == [text("a\n")]


def test_a_copy_of_a_cell_gets_no_output_while_its_original_is_there(backend, path):
    id = backend.job(text("a\nb\n"), cell="c0")
    save(path, (CODE, [backend.card(id)]), (CODE, [backend.card(id), text("a\n")]))
    assert [one.what for one in sync(path, backend, NOW).jobs] == ["output", "card"]
    assert outputs(path, 0) == [text("a\nb\n")]
    assert outputs(path, 1) == [text("a\n")]


def test_a_copied_notebook_is_brought_up_to_date_too(backend, path):
    id = backend.job(text("a\nb\n"), notebook="elsewhere.ipynb")
    save(path, (CODE, [backend.card(id)]))
    sync(path, backend, NOW)
    assert outputs(path) == [text("a\nb\n")]


def test_cells_without_ids_are_known_by_their_text(backend, path):
    first = backend.job(text("a\n"), cell="", code="x")
    second = backend.job(text("b\n"), cell="made up", code=CODE)
    late = backend.job(
        text("c\n"), cell="made up too", code="y", submitted_at=NOW, notebook=str(path)
    )
    save(path, ("x", [backend.card(first)]), (CODE, [backend.card(second)]), ("y", []), minor=4)
    assert sync(path, backend, NOW).is_changed
    assert [outputs(path, n) for n in range(3)] == [[text("a\n")], [text("b\n")], [text("c\n")]]
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    assert notebook.nbformat_minor == 4
    assert not any("id" in cell for cell in notebook.cells)
    assert late in backend.jobs


def test_of_two_cells_with_one_text_none_is_guessed(backend, path):
    backend.job(text("c\n"), cell="made up", submitted_at=NOW, notebook=str(path))
    save(path, (CODE, []), (CODE, []), minor=4)
    assert not sync(path, backend, NOW).is_changed


def test_below_the_last_card_of_a_cell_alone_is_output_replaced(backend, path):
    first = backend.job(text("a\nb\n"), kind="call", code=CALL)
    second = backend.job(text("c\nd\n"), kind="call", code=CALL)
    save(path, (CALL, [backend.card(first), text("a\n"), backend.card(second), text("c\n")]))
    told = sync(path, backend, NOW).jobs
    found = nbformat.read(path, as_version=4).cells[0].outputs
    statuses = [o["data"][CARD_TYPE]["status"] for o in found if "data" in o]
    assert statuses == ["completed", "completed"]
    assert [o["text"] for o in found if "text" in o] == ["a\n", "c\nd\n"]
    assert [one.what for one in told] == ["card", "output"]


def test_output_of_a_call_replaces_its_own_beginning(backend, path):
    id = backend.job(text("a\nb\nc"), display("figure"), kind="call", code=CALL)
    save(path, (CALL, [text("local\n"), backend.card(id), text("a\nb")]))
    sync(path, backend, NOW)
    found = nbformat.read(path, as_version=4).cells[0].outputs
    assert [found[0], *found[2:]] == [text("local\n"), text("a\nb\nc"), display("figure")]


@pytest.mark.parametrize(
    "there",
    [
        [text("a\nlocal\n")],
        [text("a\n"), display("local")],
        [display("local", **{"image/png": "its"})],
        [display("figure", **{"image/png": "its"}), display("figure", **{"image/png": "local"})],
        [text("a\n"), text("local\n", "stderr")],
        [{"output_type": "error", "ename": "E", "evalue": "", "traceback": []}],
    ],
)
def test_output_of_local_code_below_a_call_stays(backend, path, there):
    its = display("figure", **{"image/png": "its"})
    id = backend.job(text("a\nb\n"), its, its, kind="call", code=CALL)
    save(path, (CALL, [backend.card(id), *there]))
    [one] = sync(path, backend, NOW).jobs
    assert (outputs(path), status(path)) == (there, "completed")
    assert f"output of local code, too, so its output is in %remote logs {id[:8]}" in one.text


def test_a_display_that_the_job_updated_is_known_by_its_types(backend, path):
    id = backend.job(display("1"), display("at 100 %"), kind="call", code=CALL)
    backend.jobs[id] = replace(backend.jobs[id], updated=[1])
    save(path, (CALL, [backend.card(id), display("1"), display("at 50 %")]))
    sync(path, backend, NOW)
    assert outputs(path) == [display("1"), display("at 100 %")]


def test_below_the_card_of_a_job_that_was_only_submitted_local_output_stays(backend, path):
    id = backend.job(display("figure"), kind="call", cell="", code="fit.submit(3)")
    alone = replace(backend.jobs[id].job, cell_code="")
    backend.jobs[id] = replace(backend.jobs[id], job=alone)
    save(path, ("fit.submit(3)", [backend.card(id), display("figure"), text("local\n")]))
    [one] = sync(path, backend, NOW).jobs
    assert (outputs(path), status(path)) == ([display("figure"), text("local\n")], "completed")
    assert f"the cell shows its card alone, so its output is in %remote logs {id[:8]}" in one.text


def test_what_a_cell_that_still_ran_had_shown_stays_above_its_next_job(backend, path):
    first = backend.job(text("1\n"), kind="call", code=CALL, submitted_at=SAVED_AT - 60)
    late = {"kind": "call", "code": CALL, "submitted_at": SAVED_AT + 1, "notebook": str(path)}
    backend.job(text("2\n"), **late)
    ended = home_of(backend.jobs[first], SAVED_AT).card
    save(path, (CALL, [display("local"), ended, text("1\n")]), runs=True)
    sync(path, backend, NOW)
    found = nbformat.read(path, as_version=4).cells[0].outputs
    assert [*found[:1], *found[2:3], *found[4:]] == [display("local"), text("1\n"), text("2\n")]
    assert not sync(path, backend, NOW).is_changed


def test_a_call_that_cleared_its_cell_since_is_brought_home(backend, path):
    id = backend.job(text("round 2\n"), kind="call", code=CALL)
    backend.jobs[id] = replace(backend.jobs[id], cleared=True)
    save(path, (CALL, [backend.card(id), text("round 1\n"), display("figure 1")]))
    sync(path, backend, NOW)
    assert outputs(path) == [text("round 2\n")]


def test_a_call_that_was_left_alone_by_its_kernel_is_brought_home(backend, path):
    id = backend.job(text("a\nb\n"), text("w", "stderr"), kind="call", code=CALL)
    note = text(left_alone(id) + "\n", "stderr")
    error = {"output_type": "error", "ename": "KeyboardInterrupt", "evalue": "", "traceback": []}
    save(path, (CALL, [backend.card(id), text("a\n"), note, error]))
    sync(path, backend, NOW)
    assert outputs(path) == [text("a\nb\n"), text("w", "stderr")]


@pytest.mark.parametrize("there", ["50 %", "100 %\ndo", "0 %\r50 %", "", "100 %\ndone\n"])
def test_a_line_is_the_beginning_as_front_ends_save_it_too(backend, path, there):
    whole = text("0 %\r50 %\r100 %\ndone\n")
    id = backend.job(whole, kind="call", code=CALL)
    save(path, (CALL, [backend.card(id), *([text(there)] if there else [])]))
    sync(path, backend, NOW)
    assert outputs(path) == [whole]


def test_a_line_that_was_written_over_by_backspaces_is_known_again(backend, path):
    whole = text("5 %\b\b\b15 %\b\b\b\b\rdone\nend\n")
    id = backend.job(whole, kind="call", code=CALL)
    save(path, (CALL, [backend.card(id), text("done\ne")]))
    sync(path, backend, NOW)
    assert outputs(path) == [whole]


def test_a_slow_relay_may_have_joined_what_both_streams_said(backend, path):
    shown = [text("a"), text("x", "stderr"), text("b"), text("y", "stderr")]
    id = backend.job(*shown, kind="call", code=CALL)
    save(path, (CALL, [backend.card(id), text("ab"), text("x", "stderr")]))
    sync(path, backend, NOW)
    assert outputs(path) == shown


def test_a_file_that_was_saved_before_the_submit_gets_card_and_output(backend, path):
    late = {"submitted_at": SAVED_AT + 1, "notebook": str(path)}
    backend.job(text("older\n"), **{**late, "submitted_at": SAVED_AT + 0.5})
    backend.job(text("a\n"), **late)
    backend.job(text("of a batch\n"), **{**late, "submitted_at": NOW}, batch="b")
    backend.job(text("of another text\n"), **{**late, "submitted_at": NOW}, code="edited")
    backend.job(text("of a session\n"), **{**late, "submitted_at": NOW}, kind="session")
    save(path, (CODE, [text("of before\n")]))
    sync(path, backend, NOW)
    assert outputs(path) == [text("a\n")]
    assert not sync(path, backend, NOW).is_changed


def test_a_file_that_was_saved_before_the_card_came_gets_card_and_output(backend, path):
    backend.job(text("a\n"), submitted_at=SAVED_AT - 1, notebook=str(path))
    save(path, (CODE, []))
    assert not sync(path, backend, NOW).is_changed
    save(path, (CODE, []), runs=True)
    sync(path, backend, NOW)
    assert outputs(path) == [text("a\n")]


def test_what_was_cleared_before_the_file_was_saved_stays_cleared(backend, path):
    backend.job(text("a\n"), notebook=str(path))
    save(path, (CODE, []))
    assert not sync(path, backend, NOW).is_changed


def test_a_cell_that_ran_again_since_shows_its_newer_job(backend, path):
    older = backend.job(text("a\n"), submitted_at=SAVED_AT - 20)
    newer = backend.job(text("b\n"), submitted_at=SAVED_AT + 1, notebook=str(path))
    save(path, (CODE, [backend.card(older)]))
    sync(path, backend, NOW)
    assert outputs(path) == [text("b\n")]
    backend.job(text("c\n"), submitted_at=SAVED_AT - 1, notebook=str(path))
    save(path, (CODE, [home_of(backend.jobs[newer], NOW).card, text("b\n")]))
    assert not sync(path, backend, NOW).is_changed


def test_widgets_are_shown_as_text_and_the_last_value_has_the_number_of_the_cell(backend, path):
    view = {WIDGET_TYPE: {"model_id": "m", "version_major": 2, "version_minor": 0}}
    value = {**display("7"), "output_type": "execute_result", "execution_count": 93}
    beside = {**display("beside"), "metadata": {BESIDE_WIDGET: True, "k": 1}}
    id = backend.job(display("Slider", **view), beside, value)
    save(path, (CODE, [backend.card(id)]))
    sync(path, backend, NOW)
    expected = [display("Slider"), {**display("beside"), "metadata": {"k": 1}}]
    assert outputs(path) == [*expected, {**value, "execution_count": 1}]


def test_an_error_is_the_last_output(backend, path):
    id = backend.job(text("a\n"), status="failed", reason="user_error")
    failure = wire.RemoteFailure(ename="ValueError", evalue="no", traceback=["line", "no"])
    told = backend.jobs[id]
    backend.jobs[id] = wire.JobOutputs(
        job=told.job, cursor=1, outputs=told.outputs, error=failure, cut=True
    )
    save(path, (CODE, [backend.card(id)]))
    sync(path, backend, NOW)
    *_, cut, error = outputs(path)
    assert "%remote logs has all" in cut["text"]
    assert (error["ename"], error["evalue"]) == ("ValueError", "no")


# --- files ---------------------------------------------------------------------------------------
def test_the_rest_of_the_file_stays_as_it_was(backend, path):
    id = backend.job(text("a\n"))
    save(path, (CODE, [backend.card(id)]), ("é = 1\n\n", [text("漢")]))
    notebook = json.loads(path.read_text())
    notebook["metadata"]["mine"] = {"b": [1.50, "x"], "a": None}
    notebook["cells"][1]["attachments"] = {"a.png": {"image/png": "AAAA"}}
    path.write_text(json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    path.chmod(0o640)
    before = path.read_text()
    sync(path, backend, NOW)
    after = path.read_text()
    second = '  {\n   "attachments"'
    assert after != before
    assert after[after.index(second) :] == before[before.index(second) :]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_link_stays_a_link(backend, path, tmp_path):
    id = backend.job(text("a\n"))
    save(path, (CODE, [backend.card(id)]))
    link = tmp_path / "link.ipynb"
    link.symlink_to(path)
    sync(link, backend, NOW)
    assert link.is_symlink()
    assert outputs(path) == [text("a\n")]


def test_jobs_are_found_by_the_path_that_a_link_gives_their_notebook(
    backend, path, tmp_path, monkeypatch
):
    link = tmp_path.parent / f"{tmp_path.name}-link"
    link.symlink_to(tmp_path)
    known = str(link / path.name)  # as a server knows it whose folder is the link
    backend.job(text("a\n"), submitted_at=NOW, notebook=known)
    for given in (known, path.name):
        save(path, (CODE, []))
        monkeypatch.chdir(link)
        monkeypatch.setenv("PWD", str(link))
        assert sync(given, backend, NOW).is_changed
        assert outputs(path) == [text("a\n")]
    save(path, (CODE, []))
    monkeypatch.setenv("PWD", str(tmp_path.parent))  # left behind by whoever changed the folder
    assert not sync(path.name, backend, NOW).is_changed


def test_a_trusted_notebook_stays_trusted_and_no_other_becomes_so(backend, path):
    notary = NotebookNotary()
    for is_trusted in (True, False):
        id = backend.job(text("a\n"), display("x", **{"text/html": f"<b>{uuid.uuid4()}</b>"}))
        save(path, (CODE, [backend.card(id)]))
        if is_trusted:
            notary.sign(nbformat.read(path, as_version=4))
        sync(path, backend, NOW)
        assert notary.check_signature(nbformat.read(path, as_version=4)) == is_trusted
    notary.store.close()


def test_a_file_that_is_saved_meanwhile_is_not_overwritten(backend, path):
    id = backend.job(text("a\n"))
    save(path, (CODE, [backend.card(id)]))
    mine = path.read_text() + " "
    tell = backend.outputs_of

    def outputs_of(id):
        path.write_text(mine)
        return tell(id)

    backend.outputs_of = outputs_of
    with pytest.raises(errors.UsageError, match="saved by somebody else just now"):
        sync(path, backend, NOW)
    assert path.read_text() == mine


# --- bad input -----------------------------------------------------------------------------------
def test_what_is_no_notebook_is_said(backend, path, tmp_path):
    with pytest.raises(errors.UsageError, match="cannot be read: No such file"):
        sync(path, backend)
    with pytest.raises(errors.UsageError, match="cannot be read: Is a directory"):
        sync(tmp_path, backend)
    for data in (b"", b"\xff", b"[]", b"1", b'{"nbformat": 4}', b'{"nbformat": 4, "cells": [1]}'):
        path.write_bytes(data)
        with pytest.raises(errors.UsageError, match="not a notebook"):
            sync(path, backend)
        assert path.read_bytes() == data
    path.write_text('{"nbformat": 3, "worksheets": []}')
    with pytest.raises(errors.UsageError, match="of format 3") as raised:
        sync(path, backend)
    assert "save it" in raised.value.hint


def test_a_read_only_file_is_left_alone_and_it_is_said(backend, path):
    id = backend.job(text("a\n"))
    save(path, (CODE, [backend.card(id)]))
    path.chmod(0o444)
    before = path.read_bytes()
    with pytest.raises(errors.UsageError, match=r"train\.ipynb is read-only"):
        sync(path, backend, NOW)
    assert path.read_bytes() == before
    path.chmod(0o644)
    assert sync(path, backend, NOW).is_changed


def test_a_full_disk_leaves_the_file_as_it_was(backend, path, monkeypatch):
    id = backend.job(text("a\n"))
    save(path, (CODE, [backend.card(id)]))
    before = path.read_bytes()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(notebook_files.os, "fsync", full)
    with pytest.raises(errors.UsageError, match="No space left on device; it is as it was"):
        sync(path, backend, NOW)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_jobs_and_cards_that_nobody_knows_do_not_keep_others_away(backend, path):
    known = backend.job(text("a\n"), cell="c3")
    forgotten = backend.job(cell="c0")
    cards = [backend.card(forgotten) for _ in range(3)]
    del backend.jobs[forgotten]
    cards[1]["data"][CARD_TYPE]["v"] = 2
    cards[2]["data"][CARD_TYPE]["id"] = "../../account"
    save(path, *((CODE, [card]) for card in cards), (CODE, [backend.card(known)]))
    told = sync(path, backend, NOW)
    assert [one.is_trouble for one in told.jobs] == [True, True, True, False]
    assert f"does not know job {forgotten[:8]}: it was forgotten, or is another's" in told.lines[0]
    assert "a newer version is left as it is" in told.lines[1]
    assert outputs(path, 3) == [text("a\n")]
    assert backend.asked == 2


@pytest.mark.parametrize("card", [None, [], {"v": 1}, {"v": 1, "id": 3}, {"v": "x"}, "card"])
def test_what_is_no_card_is_left_alone(backend, path, card):
    save(path, (CODE, [display("x", **{CARD_TYPE: card})]))
    before = path.read_bytes()
    sync(path, backend, NOW)
    assert path.read_bytes() == before


def test_a_backend_that_is_away_leaves_the_file_as_it_was(backend, path):
    first, second = backend.job(text("a\n")), backend.job(text("b\n"), cell="c1")
    save(path, (CODE, [backend.card(first)]), (CODE, [backend.card(second)]))
    tell = backend.outputs_of

    def outputs_of(id):
        if id == second:
            raise errors.BackendUnreachable("gone")
        return tell(id)

    backend.outputs_of = outputs_of
    before = path.read_bytes()
    with pytest.raises(errors.BackendUnreachable):
        sync(path, backend, NOW)
    assert path.read_bytes() == before


def test_the_command_says_what_is_wrong(path, capsys, fresh_home):
    assert cli.main(["sync", str(path)]) == 1
    assert "cannot be read" in capsys.readouterr().err
    path.write_text("{}")
    assert cli.main(["sync", str(path), "--json"]) == 1
    assert "not a notebook" in json.loads(capsys.readouterr().out)["detail"]


def test_the_file_of_today_is_brought_up_to_the_time_of_the_clock(backend, path):
    id = backend.job(text("a\n"), status="running", ended_at=None)
    save(path, (CODE, [backend.card(id)]))
    sync(path, backend)
    card = nbformat.read(path, as_version=4).cells[0].outputs[0]
    assert abs(card["data"][CARD_TYPE]["now"] - time.time()) < 60
