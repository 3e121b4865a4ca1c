"""The script that makes a worker of a machine, whoever lends it: given to it as user data."""

from __future__ import annotations

import re
import shlex
from importlib import resources

import msgspec

MOST_BYTES = 16 * 1024  # that EC2 takes as user data
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}|")


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine has to know. The same facts give the same script."""

    instance: str
    url: str  # of the server, as machines reach it
    token: str  # good for this machine's boot and nothing else
    python: str  # "3.11": whose wheels the server has
    platform: str  # "linux x86_64": the same
    longest_s: float = 86_400.0  # after this long the machine ends itself
    alone_s: float = 600.0  # and when it has not heard of its server for so long
    boot_s: float = 600.0  # the server is waited for at each step until so long after the start
    user: str = "jupyter"  # who runs user code, where the worker is root; empty: it is the worker


def script(boot: Boot) -> str:
    """For ``/bin/bash`` on Linux. Raises ValueError for names that are none, or much too long."""
    if not _NAME.fullmatch(boot.instance):
        raise ValueError(f"{boot.instance!r} is not the id of an instance")
    if not _USER.fullmatch(boot.user):
        raise ValueError(f"{boot.user!r} is not the name of a user")
    facts = {
        "instance": boot.instance,
        "url": boot.url.rstrip("/"),
        "token": boot.token,
        "wanted": boot.python,
        "platform": boot.platform,
        "longest_cs": str(round(100 * boot.longest_s)),
        "alone_cs": str(round(100 * boot.alone_s)),
        "boot": str(max(1, round(boot.boot_s))),
        "tick": f"{min(10.0, max(0.1, min(boot.alone_s, boot.longest_s) / 20)):g}",
        "user": boot.user,
    }
    lines = "\n".join(f"{name}={shlex.quote(value)}" for name, value in facts.items())
    template = resources.files(__package__).joinpath("bootstrap.sh").read_text("utf-8")
    text = template.replace("@FACTS@", lines, 1)
    if len(text.encode()) > MOST_BYTES or "\0" in text:
        raise ValueError("these facts do not fit into user data")
    return text
