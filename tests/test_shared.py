"""Files in memory that processes hand to each other: what stays, what goes, what is swept."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from jupyter_remote import shared
from jupyter_remote.mapping import digest_of

PIECE = 1000


class Holder:
    """Something that needs what it pins."""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> shared.Folder:
    """Room for four pieces."""
    room = SimpleNamespace(f_bavail=4 * PIECE * shared.SHARE, f_frsize=1)

    def statvfs(path: str) -> SimpleNamespace:
        used = sum(file.stat().st_size for file in Path(path).iterdir())
        return SimpleNamespace(f_bavail=room.f_bavail - used, f_frsize=1)

    monkeypatch.setattr(os, "statvfs", statvfs)
    return shared.Folder(tmp_path)


def piece(number: int) -> tuple[str, bytes]:
    content = bytes([number]) * PIECE
    return digest_of(content), content


def put(folder: shared.Folder, *numbers: int, holder: object = None) -> bool:
    contents = dict(map(piece, numbers))
    return folder.put(contents, holder or Holder()) == contents.keys()


def is_there(folder: shared.Folder, number: int) -> bool:
    return shared.find(folder.path, piece(number)[0]) is not None


def test_what_was_used_least_goes_when_there_is_no_room(folder):
    assert all(put(folder, n) for n in range(4))
    assert folder.has(piece(0)[0])
    assert put(folder, 4)
    assert [is_there(folder, n) for n in range(5)] == [True, False, True, True, True]


def test_what_is_pinned_stays_until_its_holder_goes(folder):
    holder = Holder()
    assert all(put(folder, n) for n in range(4))
    folder.pin([piece(n)[0] for n in range(4)], holder)
    assert not put(folder, 4)
    del holder
    assert put(folder, 4)
    assert not is_there(folder, 0)


def test_what_another_process_put_there_counts_and_goes_too(folder):
    digest, content = piece(9)
    assert shared.write(folder.path, digest, memoryview(content))
    holder = Holder()
    folder.adopt({digest: PIECE, "f" * 64: PIECE}, holder)
    assert list(folder.held) == [digest]
    assert all(put(folder, n) for n in range(3))
    assert is_there(folder, 9)
    del holder
    assert all(put(folder, n) for n in range(3, 5))
    assert not is_there(folder, 9)


def test_folders_of_processes_that_are_gone_are_swept(tmp_path):
    dead = tmp_path / f"jupyter-remote-{os.getuid()}-{2**22 - 1}-x"
    alive = tmp_path / f"jupyter-remote-{os.getuid()}-{os.getppid()}-x"
    for one in (dead, alive):
        one.mkdir()
    folder = shared.Folder(tmp_path)
    assert not dead.exists()
    assert alive.exists()
    folder.close()
    assert not any(
        p.name.startswith(f"jupyter-remote-{os.getuid()}-{os.getpid()}") for p in tmp_path.iterdir()
    )


def test_what_is_put_together_stays_together(folder):
    assert all(put(folder, n) for n in range(4))
    holder = Holder()
    assert put(folder, 4, 5, 6, holder=holder)
    assert all(is_there(folder, n) for n in (4, 5, 6))
    assert not put(folder, *range(10, 15), holder=Holder())


def test_a_folder_that_was_removed_is_given_up(folder):
    assert put(folder, 1)
    shutil.rmtree(folder.path)
    assert not folder.has(piece(1)[0])
    assert not put(folder, 2)
    assert folder.path == ""


def test_a_folder_that_a_process_of_another_container_uses_is_not_swept(tmp_path):
    used = shared.Folder(tmp_path)
    foreign = tmp_path / f"jupyter-remote-{os.getuid()}-{2**22 - 1}-x"
    Path(used.path).rename(foreign)
    shared.Folder(tmp_path).close()
    assert foreign.exists()
    used.close()


def test_without_such_a_folder_nothing_is_put(tmp_path):
    folder = shared.Folder(tmp_path / "absent")
    assert not put(folder, 1)
    assert folder.path == ""
