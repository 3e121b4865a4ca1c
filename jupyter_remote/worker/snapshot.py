"""What a session holds: kept when its machine is taken away, and put back on another one."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jupyter_remote import values
from jupyter_remote.amounts import size
from jupyter_remote.errors import CaptureError
from jupyter_remote.pickling import tensors
from jupyter_remote.sizes import name_info, size_of
from jupyter_remote.values import Packed

MIB = 1 << 20
FIRST_BYTES = 64 * MIB  # the small ones are safe before the large ones are begun
MOST_BYTES = 8 * 1024 * MIB  # of all, about: there are two minutes
MOST_FILES_BYTES = 16 * MIB  # of modules
MOST_TOLD = 10
# _, __, _3, _i, _i3, _ih, _oh, _dh, __name__: IPython's and Python's own
_NOT_THE_USERS = re.compile(r"_+|_i+|_i?\d+|_[iod]h|__\w+__")
_ABSENT = object()


class Lost(NamedTuple):
    """A variable that is not kept."""

    name: str
    kind: str
    why: str

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}): {self.why}"


class Files:
    """Modules in a session's folder. They are there again before anything that needs them is."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents = contents

    def __reduce__(self) -> tuple[Callable[..., Files], tuple[dict[str, bytes]]]:
        return placed, (self.contents,)


def placed(contents: dict[str, bytes]) -> Files:
    """Written into the current folder, which they are imported from."""
    folder = Path.cwd()
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if contents and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return Files(contents)


class Snapshot:
    """One pickle, so that two names for one object, or what objects share, stay that."""

    def __init__(
        self,
        files: Files,
        variables: dict[str, Any],
        brought: list[str],
        lost: list[Lost],
        checkpoint: Any = None,
    ) -> None:
        """``brought``: globals that functions of callers brought along.
        ``checkpoint``: what functions of ``on_checkpoint`` gave."""
        self.files, self.variables, self.brought = files, variables, brought
        self.lost, self.checkpoint = lost, checkpoint

    def __reduce__(self) -> tuple[type[Snapshot], tuple[Any, ...]]:  # files first
        parts = self.files, self.variables, self.brought, self.lost, self.checkpoint
        return Snapshot, parts


class Keeper:
    """Of one session.

    Parameters
    ----------
    hidden: names that the shell has for itself, with their values.
    brought: is what has this name brought by a function of a caller?
    """

    def __init__(
        self,
        namespace: dict[str, Any],
        hidden: Mapping[str, Any],
        brought: Callable[[str], bool],
        folder: str,
    ) -> None:
        self._namespace = namespace
        self._hidden = hidden
        self._brought = brought
        self._folder = Path(folder)

    def packings(self, checkpoint: Any = None) -> Iterator[tuple[Packed, list[Lost], bool]]:
        """What is to be kept, what is lost, and whether more is to come, in the place of this."""
        fitting, lost, first = self._chosen()
        if 0 < len(first) < len(fitting):
            yield *self._packed(first, lost, checkpoint), True
        yield *self._packed(fitting, lost, checkpoint), False

    def _chosen(self) -> tuple[dict[str, Any], list[Lost], dict[str, Any]]:
        """The smallest first, so that most survive."""
        here = [(n, v) for n, v in list(self._namespace.items()) if self._is_the_users(n, v)]
        fitting, lost, first, total = dict[str, Any](), list[Lost](), dict[str, Any](), 0
        for bytes_, (name, value) in sorted(
            ((size_of(v), (n, v)) for n, v in here), key=lambda each: each[0]
        ):
            total += bytes_
            if total > MOST_BYTES:
                why = f"{size(bytes_)} are too much: {size(MOST_BYTES)} are kept in all"
                lost.append(Lost(name, type(value).__name__, why))
                continue
            fitting[name] = value
            if total <= FIRST_BYTES:
                first[name] = value
        return fitting, lost, first

    def _is_the_users(self, name: str, value: Any) -> bool:
        return not _NOT_THE_USERS.fullmatch(name) and self._hidden.get(name, _ABSENT) is not value

    def _packed(
        self, names: dict[str, Any], lost: list[Lost], checkpoint: Any
    ) -> tuple[Packed, list[Lost]]:
        with tensors.gpu(lambda: True):
            try:
                return self._pack(names, lost, checkpoint), lost
            except CaptureError:
                why = {n: values.why_not(v, self._namespace) for n, v in names.items()}
                more = [Lost(n, type(names[n]).__name__, w) for n, w in why.items() if w]
                kept = {n: v for n, v in names.items() if not why[n]}
                lost = [*lost, *more]
                return self._pack(kept, lost, checkpoint), lost

    def _pack(self, names: dict[str, Any], lost: list[Lost], checkpoint: Any) -> Packed:
        brought = [name for name in names if self._brought(name)]
        return values.pack(
            Snapshot(self._files(), names, brought, lost, checkpoint),
            namespace=self._namespace,
            names=[name_info(n, v) for n, v in names.items()],
            chunked=False,
            known=set(names),
            inline_bytes=0,
        )

    def _files(self) -> Files:
        found, total = dict[str, bytes](), 0
        for path in sorted(self._folder.rglob("*.py")):
            total += path.stat().st_size
            if total > MOST_FILES_BYTES:
                break
            found[str(path.relative_to(self._folder))] = path.read_bytes()
        return Files(found)


def not_kept(lost: list[Lost]) -> str:
    """In words; empty: nothing is lost."""
    if not lost:
        return ""
    more = len(lost) - MOST_TOLD
    rest = [f"{more} more"] if more > 0 else []
    return f"lost: {'; '.join([*map(str, lost[:MOST_TOLD]), *rest])}"


def account(snapshot: Snapshot) -> str:
    """What is there again, and what is not, for whoever uses the session."""
    there = [f"{n} ({type(v).__name__})" for n, v in snapshot.variables.items()]
    more = len(there) - MOST_TOLD
    shown = ", ".join([*there[:MOST_TOLD], *([f"{more} more"] if more > 0 else [])])
    kept = f"saved: {shown}" if there else "it held no variables"
    lost = not_kept(snapshot.lost)
    return f"{kept}; {lost}" if lost else kept
