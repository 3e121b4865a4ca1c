"""Connections to the kernels of sessions: who is on the other side."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from jupyter_remote import calls
from jupyter_remote.client.views.dialing import here


def test_a_socket_of_another_user_is_not_spoken_to(tmp_path: Path, monkeypatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        here(str(tmp_path / "s"))().close()
        monkeypatch.setattr(calls.os, "getuid", lambda: os.geteuid() + 1)
        with pytest.raises(ConnectionRefusedError, match="somebody else"):
            here(str(tmp_path / "s"))()


def test_the_other_side_of_a_socket_is_known_by_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    user = os.getuid()
    with ours, theirs:
        assert calls.is_of_this_user(ours)
        monkeypatch.setattr(os, "getuid", lambda: user + 1)
        assert not calls.is_of_this_user(ours)
        assert calls.is_of_this_user(ours, user)
