"""A whole notebook as a job: sent, shown, and written to a file when it has run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from jupyter_remote.cards import words as say
from jupyter_remote.client.jobs import Job
from jupyter_remote.errors import UsageError
from jupyter_remote.notebook.commands import Given, one_word
from jupyter_remote.notebook.options import run_options
from jupyter_remote.notebook.prepare import configured
from jupyter_remote.notebook.show import Shown, raise_end

if TYPE_CHECKING:
    from jupyter_remote.notebook.context import Context

SUFFIX = ".executed.ipynb"


def run(context: Context, given: Given, words: list[str]) -> None:
    """The executed notebook is written beside the file, also when a cell failed."""
    path = Path(one_word(words, "notebook file"))
    if not path.is_file():
        raise UsageError(f"there is no file {path}", hint="say the path of an .ipynb file")
    target = Path(given.pop("to", None) or path.with_suffix(SUFFIX))
    if not target.parent.is_dir():  # not found out only after the run
        raise UsageError(f"there is no folder {target.parent}", hint="make it, or leave --to out")
    if not _has_code(path):
        print(f"nothing to do: {path} has no code cells")
        return
    options = run_options(given, context.defaults)
    named = {"description": options.description} if options.description else {}
    job = configured(context, options).run_notebook(path, files=options.files, **named)
    done = Shown(context, job, blocking=True).wait()
    write(job, target)
    raise_end(context, done)


class _Cell(msgspec.Struct):
    cell_type: str = ""


class _Cells(msgspec.Struct):
    cells: list[_Cell]


def _has_code(path: Path) -> bool:
    """Also where that cannot be told: the client says what is wrong with such a file."""
    try:
        cells = msgspec.json.decode(path.read_bytes(), type=_Cells).cells
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError):
        return True
    return any(cell.cell_type == "code" for cell in cells)


def write(job: Job, target: Path | None = None) -> None:
    """Writes what a job made of its notebook, if it came so far, and says where it is."""
    executed: Any = job.value_now()
    if executed is None:
        return
    import nbformat

    target = target or _beside(job)
    nbformat.write(executed, target)  # type: ignore[no-untyped-call]
    print(f"executed notebook: {target}")


def _beside(job: Job) -> Path:
    """Where the notebook of a job of another kernel is written."""
    name = Path(job.description).name
    known = name.endswith(".ipynb")
    return Path(name).with_suffix(SUFFIX) if known else Path(f"{say.short(job.id)}{SUFFIX}")
