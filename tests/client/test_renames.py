"""Which notebook a path meant when a job said it, after any renames."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_remote.client import listing
from jupyter_remote.client.renames import Log, Name, Rename, names_of, now_of
from jupyter_remote.wire import JobList, JobView, Money

HISTORY = [Rename(10, "/w/Untitled.ipynb", "/w/train.ipynb"), Rename(20, "/w", "/books")]


def test_a_path_is_followed_from_when_it_was_said():
    assert now_of("/w/Untitled.ipynb", 5, HISTORY) == "/books/train.ipynb"
    assert now_of("/w/Untitled.ipynb", 15, HISTORY) == "/books/Untitled.ipynb"
    assert now_of("/w/Untitled.ipynb", 25, HISTORY) == "/w/Untitled.ipynb"
    assert now_of("/wide.ipynb", 5, HISTORY) == "/wide.ipynb"


def test_a_notebook_is_known_by_all_its_names_and_only_while_it_had_them():
    now, with_its_folder, first = names_of("/books/train.ipynb", HISTORY)
    assert [now.path, with_its_folder.path, first.path] == [
        *("/books/train.ipynb", "/w/train.ipynb", "/w/Untitled.ipynb")
    ]
    assert now.was_at(21)
    assert not now.was_at(19)
    assert with_its_folder.was_at(15)
    assert not with_its_folder.was_at(9)
    assert first.was_at(9)
    assert not first.was_at(11)


def test_another_notebook_with_the_name_of_one_that_was_renamed_begins_then():
    assert names_of("/w/Untitled.ipynb", HISTORY[:1]) == [
        Name("/w/Untitled.ipynb", 10, float("inf"))
    ]


@dataclasses.dataclass
class Disk:
    """Notebooks by their paths, as a server renames them, and jobs as their kernels name them."""

    files: dict[str, int]
    renames: list[Rename]
    jobs: list[tuple[str, float, int]]


PATHS = ["/a/x", "/a/y", "/b/x", "/b/y"]


def do(disk: Disk, at: float, step: tuple[Any, ...]) -> None:
    kind, one, other = step
    if kind == "new":
        disk.files.setdefault(one, int(at))
    elif kind == "run" and one in disk.files:
        disk.jobs.append((one, at, disk.files[one]))
    elif kind == "rename":
        moved = {p: r for p in disk.files if (r := Rename(at, one, other).after(p)) is not None}
        if moved and not any(Rename(at, other, "").after(p) is not None for p in disk.files):
            disk.renames.append(Rename(at, one, other))
            disk.files = {moved.get(p, p): n for p, n in disk.files.items()}


steps = st.one_of(
    st.tuples(st.sampled_from(["new", "run"]), st.sampled_from(PATHS), st.none()),
    st.tuples(
        st.just("rename"),
        *itertools.repeat(st.sampled_from([*PATHS, "/a", "/b", "/c", "/c/x"]), 2),
    ).filter(lambda step: step[1].count("/") == step[2].count("/")),
)


@given(st.lists(steps, max_size=40))
def test_every_job_is_of_the_notebook_that_sent_it_whatever_was_renamed(history):
    disk = Disk({}, [], [])
    for at, step in enumerate(history, start=1):
        do(disk, at, step)
    for path, notebook in disk.files.items():
        names = names_of(path, disk.renames)
        for said, at, sender in disk.jobs:
            is_its = any(name.path == said and name.was_at(at) for name in names)
            assert is_its == (sender == notebook)
            assert (now_of(said, at, disk.renames) == path) == (sender == notebook)


def test_a_log_is_read_on_and_lines_that_are_no_renames_are_passed_over(tmp_path: Path):
    log, other = Log(tmp_path / "home" / "renames"), Log(tmp_path / "home" / "renames")
    assert list(log.all()) == []
    other.add(HISTORY[0])
    assert list(log.all()) == HISTORY[:1]
    with (tmp_path / "home" / "renames").open("ab") as file:
        file.write(b'damaged\n{"at":')
        file.flush()
        assert list(log.all()) == HISTORY[:1]
        file.write(b'20,"old":"/w","new":"/books"}\n')
    assert list(log.all()) == HISTORY
    with (tmp_path / "home" / "renames").open("ab") as file:
        file.write(b'{"at":30,"old":"/x')  # there was no room for the rest
    other.add(HISTORY[0])
    assert list(log.all()) == [*HISTORY, HISTORY[0]]
    (tmp_path / "home" / "renames").unlink()
    assert list(log.all()) == []
    other.add(HISTORY[1])
    assert list(log.all()) == HISTORY[1:]


def job_at(at: float, notebook: str) -> JobView:
    money = Money(rate_ucredits_per_h=0, hold_ucredits=0, cost_ucredits=0)
    about = {"kind": "cell", "status": "completed", "money": money}
    return JobView(id=f"{at:g}", submitted_at=at, notebook=notebook, **about)


def test_jobs_are_found_behind_many_of_another_notebook_that_has_the_name_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    log = Log(tmp_path / "renames")
    log.add(HISTORY[0])
    monkeypatch.setattr("jupyter_remote.client.renames.log", lambda: log)
    old, new = HISTORY[0].old, HISTORY[0].new
    sent = [job_at(at, new if 10 < at < 12 else old) for at in range(40, 0, -1)]

    def ask(params: dict[str, Any]) -> JobList:
        its = [job for job in sent if job.notebook == params["notebook"]]
        before = params.get("before")
        begin = [job.id for job in its].index(before) + 1 if before else 0
        page = its[begin : begin + params["limit"]]
        return JobList(page, page[-1].id if len(page) == params["limit"] else "")

    def found(notebook: str, limit: int) -> list[float]:
        return [job.submitted_at for job in listing.of_notebook(ask, notebook, limit)]

    assert found(new, 5) == [11, 10, 9, 8, 7]
    assert found(new, 100) == list(range(11, 0, -1))
    assert found(old, 5) == [40, 39, 38, 37, 36]
    assert found(old, 100) == list(range(40, 11, -1))
