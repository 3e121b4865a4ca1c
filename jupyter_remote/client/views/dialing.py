"""The first words of a connection to the kernel of a session."""

from __future__ import annotations

import socket
from collections.abc import Callable

from jupyter_remote import calls, errors
from jupyter_remote.pickling.versions import MAGIC, PYTHON

CONNECT_S = 10.0

Dial = Callable[[], socket.socket]


def here(address: str) -> Dial:
    """To a kernel of this computer."""

    def dial() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(CONNECT_S)
            sock.connect(calls.where(address))
            if not calls.is_of_this_user(sock):  # the kernel is gone, and another took its name
                raise ConnectionRefusedError("somebody else listens there")
        except BaseException:
            sock.close()
            raise
        return sock

    return dial


def greeted(sock: socket.socket, hi: calls.Hi) -> socket.socket:
    try:
        sock.settimeout(CONNECT_S)
        sock.sendall(calls.packed(hi))
        welcome = _first(sock)
    except BaseException:
        sock.close()
        raise
    if welcome.refused:
        sock.close()
        raise errors.BackendUnreachable(
            f"the session refuses this client: {welcome.refused}", hint="connect again"
        )
    if welcome.magic != MAGIC:
        sock.close()
        raise errors.EnvironmentMismatch(
            f"the session runs Python {welcome.python}, this is Python {PYTHON}",
            hint="start another session from here",
        )
    return sock


def _first(sock: socket.socket) -> calls.Welcome:
    pieces = calls.Pieces(calls.FromSession)
    while True:
        data = sock.recv(1)  # what comes behind it is not for here
        if not data:
            raise EOFError("the session hung up")
        for message in pieces.add(data):
            if isinstance(message, calls.Welcome):
                return message
