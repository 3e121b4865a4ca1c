"""Files and local modules that go along."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_remote import values
from jupyter_remote.client import modules, sources
from jupyter_remote.client.capture import capture_call, capture_cell, capture_files
from jupyter_remote.client.modules import local_modules
from jupyter_remote.errors import CaptureError, UsageError


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def labels(paths: list[str | Path], folder: Path) -> list[str]:
    return [file.ref.path for file in capture_files(paths, folder)]


def test_files_folders_and_patterns_keep_their_relative_paths(tmp_path: Path) -> None:
    for name in ("a.csv", "data/b.csv", "data/deep/c.csv", "data/.hidden", "data/__pycache__/x"):
        write(tmp_path / name)
    assert labels(["a.csv"], tmp_path) == ["a.csv"]
    assert labels(["data"], tmp_path) == ["data/b.csv", "data/deep/c.csv"]
    assert labels(["**/*.csv"], tmp_path) == ["a.csv", "data/b.csv", "data/deep/c.csv"]
    assert labels(["data/.hidden", tmp_path / "a.csv"], tmp_path) == ["data/.hidden", "a.csv"]
    assert labels(["./data/../a.csv", "a.csv"], tmp_path) == ["a.csv"]


def test_content_and_mode_are_those_of_the_file(tmp_path: Path) -> None:
    script = write(tmp_path / "run.sh", "echo")
    script.chmod(0o700)
    (file,) = capture_files(["run.sh"], tmp_path)
    assert bytes(file.content) == b"echo"
    assert file.ref.content.digest == values.digest_of(b"echo")
    assert file.ref.mode == 0o755
    assert not file.ref.module


def test_a_large_file_is_mapped_and_not_cut_before_a_network_needs_it(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(os.urandom(3_000_000))
    (file,) = capture_files(["big"], tmp_path)
    assert file.ref.content.data is None
    assert not file.ref.content.chunks
    assert values.digest_of(file.content) == file.ref.content.digest


def test_many_small_files_do_not_all_travel_inside_the_message(tmp_path: Path) -> None:
    for i in range(20):
        write(tmp_path / f"{i}", "x" * 50_000)
    inside = [f.ref.content.data for f in capture_files(["*"], tmp_path)]
    assert 0 < sum(data is not None for data in inside) < 20


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("dat.csv", "(?s)no 'dat.csv'.*Did you mean data.csv"),
        ("*.parquet", "nothing matches"),
        ("../outside.csv", "lies outside"),
        ("/etc/hostname", "lies outside"),
        ("dangling", "link to nothing"),
        ("pipe", "not a plain file"),
        ("folder", "leads out"),
        ("empty", "no file in empty"),
    ],
)
def test_what_cannot_be_sent_is_refused(given: str, says: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root / "data.csv")
    outside = write(tmp_path / "outside.csv")
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    (root / "folder").mkdir()
    (root / "folder" / "link").symlink_to(outside)
    (root / "empty").mkdir()
    with pytest.raises(UsageError, match=says):
        capture_files([given], root)


def test_a_link_that_is_named_itself_is_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link.csv").symlink_to(write(tmp_path / "outside.csv", "content"))
    (file,) = capture_files(["link.csv"], root)
    assert (file.ref.path, bytes(file.content)) == ("link.csv", b"content")


# --- modules ---------------------------------------------------------------------------------
@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with local modules, importable as those beside a notebook are."""
    write(tmp_path / "jr_helpers.py", "import jr_low, json\ndef f(x): return jr_low.g(x)\n")
    write(tmp_path / "jr_low.py", "LIMIT = 2\ndef g(x): return x * LIMIT\nclass Thing: ...\n")
    write(tmp_path / "jr_pkg/__init__.py", "")
    write(tmp_path / "jr_pkg/sub/mod.py", "from jr_pkg import data\nimport jr_lazy\n")
    write(tmp_path / "jr_pkg/data.py")
    write(tmp_path / "jr_pkg/table.csv", "1,2")
    write(tmp_path / "jr_pkg/__pycache__/data.pyc")
    write(tmp_path / "jr_pkg/.secret")
    write(tmp_path / "jr_lazy.py", "raise RuntimeError('imported')")
    write(tmp_path / "jr_space/inner/mod.py", "")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield tmp_path
    for name in [n for n in sys.modules if n.startswith("jr_")]:
        del sys.modules[name]


def sent(source: str, namespace: dict[str, object] | None = None) -> set[str]:
    space = {"__name__": "__main__", **(namespace or {})}
    return {file.ref.path for file in capture_cell(source, space).files}


def test_modules_beside_the_notebook_travel_with_what_they_import(beside: Path) -> None:
    assert sent("import jr_helpers, os, numpy") == {"jr_helpers.py", "jr_low.py"}
    assert "jr_helpers" not in sys.modules


def test_a_package_travels_whole_without_caches_and_hidden_files(beside: Path) -> None:
    package = {"__init__.py", "sub/mod.py", "data.py", "table.csv"}
    expected = {f"jr_pkg/{name}" for name in package} | {"jr_lazy.py"}
    assert sent("from jr_pkg.sub import mod") == expected


def test_namespace_packages_travel(beside: Path) -> None:
    assert sent("import jr_space.inner.mod") == {"jr_space/inner/mod.py"}


def test_modules_of_values_travel_and_pickle_by_reference(beside: Path) -> None:
    low = importlib.import_module("jr_low")
    helpers = importlib.import_module("jr_helpers")
    assert sent("x", {"x": [low.Thing()]}) == {"jr_low.py"}
    assert sent("h.f(1)", {"h": helpers}) == {"jr_helpers.py", "jr_low.py"}
    call = capture_call(helpers.f, (1,), {})
    assert {file.ref.path for file in call.files} == {"jr_helpers.py", "jr_low.py"}
    assert all(file.ref.module for file in call.files)
    assert call.function.parcel.size_bytes < 200


def test_installed_and_standard_modules_and_this_package_stay() -> None:
    names = ["json", "numpy", "numpy.linalg", "jupyter_remote.client", "nowhere_to_be_found", "sys"]
    assert local_modules(names, None).files == []


def test_a_module_that_is_not_as_its_file_says_is_told(beside: Path) -> None:
    low = importlib.import_module("jr_low")
    assert capture_cell("low.g(1)", {"low": low}).notices == []
    vars(low)["LIMIT"] = 3
    vars(low)["other"] = 4
    assert [n for n in capture_cell("low.g(1)", {"low": low}).notices if "jr_low.LIMIT." in n]


def test_what_a_cell_assigns_in_a_local_module_is_told(beside: Path) -> None:
    low = importlib.import_module("jr_low")
    told = capture_cell("low.LIMIT = 5\nx.y = 1", {"low": low, "x": low.Thing()}).notices
    assert told == ["low.LIMIT is assigned over there only: modules do not come home."]
    assert len(capture_cell("import jr_low\njr_low.LIMIT = 5", {}).notices) == 1
    assert capture_cell("import numpy\nnumpy.LIMIT = 5", {}).notices == []


def test_values_that_a_module_may_change_at_its_import_are_not_compared(tmp_path: Path) -> None:
    text = "A = 1\nB = 2\nB = 3\nC: int = 4\nD = []\ndef f():\n    global E\n    E = 6\nE = 5\n"
    found = sources.read(write(tmp_path / "m.py", text))
    assert found.literals == (("A", 1), ("C", 4))


def test_what_pip_put_into_a_folder_of_its_own_is_installed(beside: Path) -> None:
    (beside / "jr_low-1.0.dist-info").mkdir()
    assert sent("import jr_helpers") == set()


def test_a_module_in_the_notebooks_folder_needs_no_path(tmp_path: Path) -> None:
    write(tmp_path / "jr_only_here.py")
    assert [f.ref.path for f in local_modules(["jr_only_here"], tmp_path).files] == [
        "jr_only_here.py"
    ]


def test_large_data_stays_with_a_notice(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "DATA_BYTES", 2)
    found = local_modules(["jr_pkg"], None)
    assert "jr_pkg/table.csv" not in {f.ref.path for f in found.files}
    assert any("table.csv" in notice for notice in found.notices)


def test_a_package_too_large_is_refused(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "PACKAGE_FILES", 2)
    with pytest.raises(CaptureError, match="jr_pkg is too large"):
        local_modules(["jr_pkg"], None)
