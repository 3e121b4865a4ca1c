"""``python -m jupyter_remote.worker.zygote FD``: imports what a kernel needs, then forks kernels.

It stays single-threaded, so that forking is safe, and runs no user code. On ``FD`` (a SEQPACKET
socket) the launcher sends ``fork`` with the kernel's descriptors; answers are lines of
``forked PID`` and ``ended PID STATUS``. What a dead kernel leaves running is reparented to this
process (a subreaper) and killed. When the launcher hangs up, everything ends.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import traceback
from typing import Any

from jupyter_remote import values
from jupyter_remote.wire import Segment
from jupyter_remote.worker import failure, hygiene, kernel, shell

WARM_AFTER_S = 0.3  # with nothing to do
MOST_FDS = 16  # with a request


class Zygote:
    """Forks kernels and watches over them."""

    def __init__(self, control: socket.socket, prepared: shell.JobKernel) -> None:
        self._control = control
        self._prepared = prepared
        self._kernels: set[int] = set()

    def serve(self) -> None:
        """Until the launcher hangs up. Then nothing that was started here is left."""
        woken, wake = os.pipe()
        for fd in (woken, wake):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake)
        ready = selectors.DefaultSelector()
        ready.register(self._control, selectors.EVENT_READ)
        ready.register(woken, selectors.EVENT_READ)
        warm = False
        while True:
            events = ready.select(None if warm else WARM_AFTER_S)
            if not events:
                _warm(self._prepared)
                warm = True
            for key, _ in events:
                if key.fileobj is self._control:
                    if not self._take_request():
                        hygiene.kill_children()
                        return
                else:
                    _empty(woken)
                    self._reap()

    def _take_request(self) -> bool:
        try:
            data, fds, _, _ = socket.recv_fds(self._control, 64, MOST_FDS)
        except ConnectionError:
            return False
        if not data:
            return False
        pid = os.fork()
        if pid == 0:
            self._be_a_kernel(fds)
        self._kernels.add(pid)
        for fd in fds:
            os.close(fd)
        self._say(f"forked {pid}")
        return True

    def _be_a_kernel(self, fds: list[int]) -> None:
        """In the forked process; does not return."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            hygiene.die_with_parent()
            _close_all_but(fds)
            for fd in fds:
                os.set_inheritable(fd, False)
            kernel.serve(socket.socket(fileno=fds[0]), self._prepared, fds[1:])
            status = 0
        except BaseException:
            traceback.print_exc()  # nobody else would say why
        finally:
            os._exit(status)

    def _reap(self) -> None:
        """Report kernels that ended; end what they left behind."""
        ended: list[tuple[int, int]] = []
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid in self._kernels:
                self._kernels.discard(pid)
                ended.append((pid, status))
        hygiene.kill_children(keep=self._kernels)
        for pid, status in ended:
            self._say(f"ended {pid} {status}")

    def _say(self, line: str) -> None:
        with contextlib.suppress(OSError):  # the launcher is gone; its socket will say so
            self._control.send(line.encode())


def _empty(fd: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(fd, 4096):
            continue


def _close_all_but(keep: list[int]) -> None:
    """Nothing of the zygote's own is open in a kernel."""
    wanted = {0, 1, 2, *keep}
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in wanted:
            with contextlib.suppress(OSError):  # the folder's own descriptor
                os.close(int(name))


def _warm(prepared: shell.JobKernel) -> None:
    """Do what every kernel would do first: what that imports and caches is shared by all.

    Not done at the start, so that the very first job does not wait for it.
    """
    importlib.import_module("tornado.platform.asyncio")
    values.unpack(values.pack((_empty, {})).parcel, _nothing_to_fetch)
    ours: Any = prepared.shell
    try:
        ours.run_cell("None", silent=True)
        raise ValueError
    except ValueError as error:
        failure.failure_of(error, failure.shown_by(ours))
    _freeze()


def _freeze() -> None:
    """Garbage collection in kernels shall not touch, and so copy, what they share."""
    gc.collect()
    gc.freeze()


def _nothing_to_fetch(segment: Segment) -> bytes:
    raise KeyError(segment.digest)


def main(fd: int) -> None:
    control = socket.socket(fileno=fd)
    hygiene.become_subreaper()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepared = shell.build()
    _freeze()
    Zygote(control, prepared).serve()


if __name__ == "__main__":
    main(int(sys.argv[1]))
