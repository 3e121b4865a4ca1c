"""User code on a machine of its own is run by a user who may do nothing else there.

It reads neither the agent's token nor its memory. Only where the agent is root.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

OF_SOMEBODY = ("HOME", "LOGNAME", "MAIL", "SHELL", "USER", "XDG_RUNTIME_DIR")


class User(NamedTuple):
    """Who runs user code."""

    name: str
    uid: int
    gid: int
    groups: list[int]  # further ones
    home: str

    def environ(self, environ: dict[str, str]) -> dict[str, str]:
        """Of a process of theirs."""
        others = {k: v for k, v in environ.items() if k not in OF_SOMEBODY and k[:5] != "SUDO_"}
        return others | {"HOME": self.home, "USER": self.name, "LOGNAME": self.name}

    def own(self, path: Path) -> None:
        """Give them a file or folder that was just made. Raises OSError."""
        os.chown(path, self.uid, self.gid, follow_symlinks=False)


def user_called(name: str) -> User | None:
    """None: user code is run by whoever runs the agent. Raises LookupError for an unknown one."""
    if not name or sys.platform == "win32" or os.geteuid() != 0:
        return None
    import pwd

    found = pwd.getpwnam(name)
    groups = [g for g in os.getgrouplist(name, found.pw_gid) if g != found.pw_gid]
    return User(name, found.pw_uid, found.pw_gid, groups, found.pw_dir)


_BECOME = """import os, sys
uid, gid, *groups = map(int, sys.argv[1].split(","))
os.setgroups(groups)
os.setgid(gid)
os.setuid(uid)
os.execv(sys.argv[2], sys.argv[2:])"""


def as_user(user: User | None, command: Sequence[str]) -> list[str]:
    """A command, with the path of its program, that becomes theirs: uvloop cannot start it so."""
    if user is None:
        return list(command)
    ids = ",".join(map(str, (user.uid, user.gid, *user.groups)))
    return [sys.executable, "-I", "-S", "-c", _BECOME, ids, *command]


@contextlib.contextmanager
def acting(user: User | None) -> Iterator[None]:
    """In this thread alone, files are opened and made as this user would: where user code may write
    it may have put a link to anything."""
    if user is None:
        yield
        return
    _files_as(user.uid, user.gid)
    try:
        yield
    finally:
        _files_as(os.geteuid(), os.getegid())


def _files_as(uid: int, gid: int) -> None:
    import ctypes

    libc: Any = ctypes.CDLL(None, use_errno=True)
    for change, id in ((libc.setfsgid, gid), (libc.setfsuid, uid)):
        change(id)
        if change(-1) != id:  # it answers what was so before, and changes nothing for -1
            raise PermissionError(f"this thread cannot open files as user {uid}")
