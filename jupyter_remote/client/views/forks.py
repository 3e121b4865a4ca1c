"""Forked processes: they have none of the threads of the one that they come from, and must not use
its connections."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from jupyter_remote import errors


class Leaves(Protocol):
    """What has connections."""

    def leave(self) -> None:
        """Close them in a forked process: nobody there lets go of a lock that is held."""
        ...


_known: weakref.WeakSet[Leaves] = weakref.WeakSet()


def leave_in_child(owner: Leaves) -> None:
    """From now on."""
    _known.add(owner)


def check(pid: int) -> None:
    """Raises UsageError in another process than this."""
    if os.getpid() != pid:
        raise errors.UsageError(
            "this client is of the process that this one was forked from",
            hint="make a client of this process: jr.Client()",
        )


def _leave() -> None:
    for owner in list(_known):
        owner.leave()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing is forked
    os.register_at_fork(after_in_child=_leave)
