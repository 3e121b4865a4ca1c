"""Notebooks in files: read and written as front ends do, and brought up to date by their jobs."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from jupyter_remote.cards.words import short
from jupyter_remote.client.homecoming import (
    UNSAVED_S,
    Cells,
    Home,
    NewerCard,
    NotebookCell,
    Output,
    cards_of,
    filled,
    home_of,
    is_same,
    placed,
)
from jupyter_remote.errors import (
    BackendUnreachable,
    JupyterRemoteError,
    NotAuthenticated,
    NotFound,
    ProtocolMismatch,
    UsageError,
)
from jupyter_remote.wire import JobOutputs, JobView

ONE_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
FORMAT = 4  # of nbformat; older ones have no place for a card
TITLE = 60  # characters


class Source(Protocol):
    """A backend, see :class:`jupyter_remote.client.api.Client`."""

    def jobs_since(self, notebook: str, at: float) -> Iterator[JobView]: ...

    def outputs_of(self, id: str) -> JobOutputs: ...


class Brought(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one job."""

    job: str
    cell: str  # as people call it
    what: Literal["output", "card", "nothing"]  # what of it the cell shows now
    text: str
    is_trouble: bool = False

    @property
    def line(self) -> str:
        return f"{self.cell}: {self.text}"


class Synced(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a file."""

    path: str
    is_changed: bool
    jobs: list[Brought]

    @property
    def lines(self) -> list[str]:
        name = Path(self.path).name
        head = f"{name} is up to date" if self.is_changed else f"{name}: nothing new"
        return [*(one.line for one in self.jobs), head]


class NotebookFile:
    """A notebook of format 4, as it was when it was read. Raises UsageError for others."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.realpath(path))
        self.names = {str(self.path), os.path.abspath(path), os.path.normpath(_here() / path)}
        try:
            self._bytes = self.path.read_bytes()
            status = self.path.stat()
        except OSError as error:
            raise UsageError(
                f"{str(path)!r} cannot be read: {error.strerror}", hint="check the path"
            ) from None
        self.saved_at = status.st_mtime
        self._mode = stat.S_IMODE(status.st_mode)
        self.notebook = _notebook_of(self._bytes, str(path))

    @property
    def cells(self) -> list[Any]:
        found: list[Any] = self.notebook["cells"]
        return found

    def check_writable(self) -> None:
        """Raises UsageError."""
        if not self._mode & stat.S_IWUSR or not os.access(self.path, os.W_OK):
            raise UsageError(
                f"{self.path.name} is read-only: what came is not written into it",
                hint=f"make it writable (chmod u+w {self.path.name}) and sync it again",
            )

    def save(self) -> None:
        """All at once, or not at all. Raises UsageError."""
        self.check_writable()
        from nbformat.v4 import writes_json

        text: str = writes_json(self.notebook) + "\n"  # type: ignore[no-untyped-call]
        try:
            self._replace(text.encode(errors="surrogatepass"))
        except OSError as error:
            raise UsageError(
                f"{self.path.name} cannot be written: {error.strerror}; it is as it was",
                hint="sync it again when that is mended: nothing is lost",
            ) from None
        _trust_again(self._bytes, self.notebook)

    def _replace(self, data: bytes) -> None:
        handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, self._mode)
            if self.path.read_bytes() != self._bytes:
                raise UsageError(
                    f"{self.path.name} was saved by somebody else just now", hint="sync it again"
                )
            os.replace(name, self.path)
        except BaseException:
            os.unlink(name)
            raise


def _here() -> Path:
    """The current folder as people came to it, who may have followed a link."""
    told = os.environ.get("PWD", "")
    with contextlib.suppress(OSError):
        if os.path.samefile(told, os.curdir):
            return Path(told)
    return Path.cwd()


def _notebook_of(data: bytes, path: str) -> Any:
    import nbformat.reader

    try:
        notebook: Any = nbformat.reader.reads(data.decode())  # type: ignore[no-untyped-call]
        cells = notebook.get("cells")
    except Exception:  # whatever JSON it may be
        notebook = cells = None
    version = notebook.get("nbformat") if notebook is not None else None
    if isinstance(version, int) and version != FORMAT:
        raise UsageError(
            f"{path!r} is a notebook of format {version}",
            hint="open it in Jupyter and save it: that makes it one of format 4",
        )
    if not isinstance(cells, list) or not all(map(_is_cell, cells)):
        raise UsageError(f"{path!r} is not a notebook", hint="it must be an .ipynb file")
    return notebook


def _is_cell(cell: Any) -> bool:
    if not isinstance(cell, dict):
        return False
    outputs = cell.get("outputs", [])
    is_code = cell.get("cell_type") == "code"
    return isinstance(cell.get("source", ""), str) and (
        not is_code or (isinstance(outputs, list) and all(isinstance(o, dict) for o in outputs))
    )


def _trust_again(before: bytes, notebook: Any) -> None:
    """Outputs of one's own jobs take no trust away from a notebook that has it."""
    import nbformat.reader
    from nbformat.sign import NotebookNotary

    with contextlib.suppress(OSError):  # of the file of its secret
        notary = NotebookNotary()  # type: ignore[no-untyped-call]
        with contextlib.closing(notary.store):
            old = nbformat.reader.reads(before.decode())  # type: ignore[no-untyped-call]
            if notary.check_signature(old):  # type: ignore[no-untyped-call]
                notary.sign(notebook)  # type: ignore[no-untyped-call]


# --- bringing up to date -------------------------------------------------------------------------
def sync(path: str | os.PathLike[str], source: Source, now: float | None = None) -> Synced:
    """Brings a file up to now. Waits for no job. Raises UsageError, and what the backend raises."""
    file = NotebookFile(path)
    bringing = _Bringing(file, source, time.time() if now is None else now)
    jobs = list(bringing.all())
    if bringing.is_changed:
        file.save()
    return Synced(path=str(file.path), is_changed=bringing.is_changed, jobs=jobs)


class _Asked(NamedTuple):
    job: JobView
    home: Home


class _Bringing:
    """One look at all cells of a file."""

    def __init__(self, file: NotebookFile, source: Source, now: float) -> None:
        self.is_changed = False
        self._file = file
        self._source = source
        self._now = now
        self._cells = Cells(file.cells)
        self._known: dict[str, _Asked | JupyterRemoteError] = {}

    def all(self) -> Iterator[Brought]:
        unshown = self._cells.unshown(self._jobs(), self._file.saved_at)
        for n, cell in self._cells:
            if n in unshown:
                yield from self._fill(cell, unshown[n])
            else:
                yield from self._mend(n, cell)

    def _jobs(self) -> Iterator[JobView]:
        """By all names that its kernel may know it by."""
        for name in self._file.names:
            yield from self._source.jobs_since(name, self._file.saved_at - UNSAVED_S)

    def _ask(self, id: str) -> _Asked | JupyterRemoteError:
        if id not in self._known:
            try:
                told = self._source.outputs_of(id)
                self._known[id] = _Asked(told.job, home_of(told, self._now))
            except (BackendUnreachable, NotAuthenticated, ProtocolMismatch):
                raise  # nothing is written then: the file's age tells what it lacks
            except JupyterRemoteError as error:
                self._known[id] = error
        return self._known[id]

    def _fill(self, cell: Any, job: JobView) -> Iterator[Brought]:
        """A cell that was saved before it ran."""
        asked = self._ask(job.id)
        if isinstance(asked, JupyterRemoteError):
            yield _trouble(cell, job.id, asked)
            return
        self._set(cell, filled(cell, asked.home))
        yield _brought(cell, asked.job, whole=True, is_own=True)

    def _mend(self, n: int, cell: Any) -> Iterator[Brought]:
        """A cell whose jobs went on."""
        seen: set[str] = set()
        for card in cards_of(cell):
            if isinstance(card, NewerCard):
                yield Brought(
                    job="",
                    cell=_name(cell),
                    what="nothing",
                    text="the card of a newer version is left as it is; upgrade jupyter-remote-run",
                    is_trouble=True,
                )
            elif not card.is_final and card.job not in seen:
                seen.add(card.job)
                yield self._update(n, cell, card.job)

    def _update(self, n: int, cell: Any, id: str) -> Brought:
        asked = self._ask(id) if ONE_ID.fullmatch(id) else NotFound(id)
        if isinstance(asked, JupyterRemoteError):
            return _trouble(cell, id, asked)
        is_own = self._cells.is_own(n, asked.job.cell, asked.job.cell_code)
        before = cell["outputs"]
        after = placed(cell, asked.job, asked.home, is_own=is_own)
        if not _is_as_before(before, after.outputs, asked.home.card):
            self._set(cell, after.outputs)
        return _brought(cell, asked.job, whole=after.whole, is_own=is_own)

    def _set(self, cell: Any, outputs: list[Output]) -> None:
        from nbformat import from_dict

        cell["outputs"] = from_dict(outputs)  # type: ignore[no-untyped-call]
        self.is_changed = True


def _is_as_before(before: list[Output], after: list[Output], card: Output) -> bool:
    if len(before) != len(after):
        return False
    return all(a == b or (b is card and is_same(a, b)) for a, b in zip(before, after, strict=True))


def _name(cell: NotebookCell) -> str:
    """``In [3] fit(x)``."""
    lines = [line.strip() for line in str(cell.get("source", "")).splitlines()]
    telling = [line for line in lines if line and not line.startswith(("%%", "#", "import ", "@"))]
    first = next(iter([*telling, *lines]), "")
    first = first if len(first) <= TITLE else first[: TITLE - 1] + "…"
    return f"In [{cell.get('execution_count') or ' '}] {first}".rstrip()


def unknown(id: str) -> str:
    return f"the backend does not know job {short(id)}: it was forgotten, or is another's"


def _trouble(cell: NotebookCell, id: str, error: JupyterRemoteError) -> Brought:
    text = unknown(id) if isinstance(error, NotFound) else f"job {short(id)}: {error.message}"
    return Brought(job=id, cell=_name(cell), what="nothing", text=text, is_trouble=True)


def _brought(cell: NotebookCell, job: JobView, *, whole: bool, is_own: bool) -> Brought:
    how = job.status if job.ended_at is not None else f"{job.status}, brought up to now"
    why = "" if whole else _why(job, is_own)
    return Brought(
        job=job.id,
        cell=_name(cell),
        what="output" if whole else "card",
        text=f"{how}{why}",
    )


def _why(job: JobView, is_own: bool) -> str:
    there = "the cell shows output of local code, too" if is_own else "the cell was edited"
    if not is_own and not job.cell_code:
        there = "the cell shows its card alone"
    return f"; {there}, so its output is in %remote logs {short(job.id)}"
