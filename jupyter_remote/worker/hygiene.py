"""A kernel process is the same for every job: what a job changed around itself is put back."""

from __future__ import annotations

import importlib
import linecache
import os
import signal
import sys
import time
import warnings
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from jupyter_remote.wire import FileRef

SECRETS = ("JUPYTER_REMOTE_TOKEN", "JUPYTER_REMOTE_URL", "JUPYTER_TOKEN", "JPY_API_TOKEN")


def clean_environment(environ: dict[str, str]) -> dict[str, str]:
    """``environ`` without what user code has no business with."""
    return {k: v for k, v in environ.items() if k not in SECRETS}


def module_roots(files: Iterable[FileRef]) -> list[str]:
    """Folders, relative to the job's, from which shipped modules are imported.

    The root of a module is the first folder above it that is not itself a package.
    """
    paths = {PurePosixPath(f.path) for f in files if f.module}
    roots = dict[str, None]()
    for path in sorted(paths):
        folder = path.parent
        while folder / "__init__.py" in paths:
            folder = folder.parent
        roots[str(folder)] = None
    return list(roots)


class Surroundings:
    """Working folder, environment, module path, warning filters, local modules, children.

    See ``process_state`` for the rest.
    """

    def __init__(self) -> None:
        self._environ = _environ().copy()
        self._path = list(sys.path)
        self._argv = sys.argv[:] = [""]
        self._filters = list(warnings.filters)
        self._modules: frozenset[tuple[str, str]] = frozenset()
        self._loaded = 0  # how many modules there were when their sources were last looked at
        self._imported_from: set[str] = set()  # folders of jobs, since modules were last forgotten

    def enter(self, folder: str, files: list[FileRef]) -> None:
        """Before a job: its folder is the working folder and its modules can be imported."""
        modules = frozenset((f.path, f.content.digest) for f in files if f.module)
        if modules != self._modules:
            for earlier in self._imported_from:
                forget_modules_below(earlier)
            self._imported_from.clear()
            self._loaded = 0
        if files:
            importlib.invalidate_caches()
        self._modules = modules
        self._imported_from.add(folder)
        os.chdir(folder)
        roots = [str(Path(folder, root)) for root in module_roots(files)]
        sys.path[:] = [*dict.fromkeys([folder, *roots]), *(p for p in self._path if p)]

    def add(self, folder: str, files: list[FileRef]) -> None:
        """Before a cell of a session, which goes on in the working folder that it chose."""
        if files:
            importlib.invalidate_caches()
        for root in module_roots(files):
            if (path := str(Path(folder, root))) not in sys.path:
                sys.path.insert(0, path)

    @property
    def folders(self) -> Collection[str]:
        """Of this job, and of earlier ones whose modules this process still has."""
        return self._imported_from

    def keep_sources(self) -> None:
        """Before the end of a job is told, after which its folder goes."""
        if len(sys.modules) != self._loaded:
            self._loaded = len(sys.modules)
            self._imported_from = {f for f in self._imported_from if keep_sources_below(f)}

    def leave(self) -> None:
        """After a job that this process outlives."""
        if _environ() != self._environ:
            os.environb.clear()
            os.environb.update(self._environ)
        sys.path[:] = self._path
        sys.argv[:] = self._argv
        if warnings.filters != self._filters:
            warnings.filters[:] = self._filters  # type: ignore[index]
            warnings._filters_mutated()  # type: ignore[attr-defined]
        os.chdir("/")
        if has_children():
            kill_children()


def show_gpus(numbers: Sequence[int]) -> None:
    """Let CUDA see these alone; without any, what it sees already. It counts them as NVML does."""
    if numbers:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, numbers))
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")


def _environ() -> dict[bytes, bytes]:
    """What is in ``os.environ``, as it is there: to be compared without decoding all of it."""
    known: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]
    return known


def forget_modules_below(folder: str) -> None:
    """Imported again, modules of this folder are read from where they are then."""
    gone = {id(module) for module in modules_below(folder)}
    for name in [name for name, module in sys.modules.items() if id(module) in gone]:
        del sys.modules[name]


def keep_sources_below(folder: str) -> bool:
    """Tracebacks through modules of this folder show their lines also when it is gone. Are there
    any?"""
    found = modules_below(folder)
    for module in found:
        filename = str(module.__file__)
        if lines := linecache.getlines(filename):
            size_bytes = sum(map(len, lines))
            linecache.cache[filename] = (size_bytes, None, lines, filename)
    return bool(found)


def modules_below(folder: str) -> list[ModuleType]:
    prefix = folder.rstrip(os.sep) + os.sep
    loaded = list(sys.modules.values())
    return [m for m in loaded if str(getattr(m, "__file__", None) or "").startswith(prefix)]


def children() -> list[int]:
    """Processes that this one is the parent of; orphans of its descendants are among them."""
    try:
        found = []
        for thread in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{thread}/children") as file:
                found += [int(pid) for pid in file.read().split()]
        return found
    except OSError:
        import psutil

        return [child.pid for child in psutil.Process().children()]


def has_children() -> bool:
    """Is there a child process, alive or dead?"""
    if not hasattr(os, "waitid"):
        return bool(children())
    try:  # one system call
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def kill_children(keep: Iterable[int] = (), limit_s: float = 5.0) -> None:
    """End every descendant but the children in ``keep``.

    What a killed process leaves behind becomes a child of this process (a subreaper), so this
    goes on until there is none. One that cannot die (in a system call that hangs) is left after
    ``limit_s``.
    """
    kept, end = set(keep), time.monotonic() + limit_s
    while found := [pid for pid in children() if pid not in kept]:
        for pid in found:
            _kill(pid)
        reaped = [_reap(pid) for pid in found]
        if not all(reaped):
            if time.monotonic() > end:
                return
            time.sleep(0.001)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _reap(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def become_subreaper() -> None:
    """Linux: orphans of our descendants become our children (see prctl(2)); elsewhere nothing."""
    _prctl(36, 1)


def die_with_parent() -> None:
    """Linux: SIGKILL when the parent process dies; elsewhere nothing."""
    _prctl(1, int(signal.SIGKILL))


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        libc: Any = ctypes.CDLL(None, use_errno=True)
        libc.prctl(option, value, 0, 0, 0)


def prefer_for_out_of_memory() -> None:
    """Linux: if memory runs out, the kernel of a job ends, not the agent."""
    try:
        Path("/proc/self/oom_score_adj").write_text("500")
    except OSError:
        return
