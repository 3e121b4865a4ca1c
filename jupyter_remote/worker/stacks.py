"""Stacks as ``faulthandler`` writes them, as people want to see them."""

from __future__ import annotations

import faulthandler
import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

_FRAME = re.compile(r'  File "(?P<file>[^"]*)", line (?P<rest>.*)')
_OURS = re.compile(r"/(IPython|ipykernel|asyncio|jupyter_remote/worker)/|runpy")
_BEGINS = re.compile(r"^(?=(?:Current thread|Thread|Stack) .*most recent call first)", re.MULTILINE)
_EXTENSIONS = "Extension modules:"


def readable(text: str, names: Mapping[str, str], folder: str = "") -> str:
    """``text`` without frames of what runs user code; with cells by their ``names`` (of their
    files), and files in ``folder`` as they are beside the notebook."""
    parts = _BEGINS.split(text)
    return parts[0] + "".join(_stack(part, names, folder) for part in parts[1:])


def _stack(text: str, names: Mapping[str, str], folder: str) -> str:
    """One of them; nothing if it is of a thread of ours."""
    lines, ours, users = list[str](), False, False
    for line in text.splitlines(keepends=True):
        frame = _FRAME.match(line)
        if frame is None:
            lines.append("" if line.startswith(_EXTENSIONS) else line)
        elif frame["file"] in names:
            lines.append(f"  Cell {names[frame['file']]}, line {frame['rest']}\n")
            users = True
        elif _OURS.search(frame["file"]):
            ours = True
        else:
            lines.append(line.replace(folder + os.sep, "") if folder else line)
            users = users or not frame["file"].endswith("/threading.py")
    return "" if ours and not users else "".join(lines)


def install(names: Mapping[str, str], is_shown: Callable[[Any], bool]) -> None:
    """``faulthandler.dump_traceback`` to a file that ``is_shown`` leaves our frames out."""
    dump = faulthandler.dump_traceback

    def dump_traceback(file: Any = None, all_threads: bool = True) -> None:
        file = sys.stderr if file is None else file
        if not is_shown(file):
            dump(file, all_threads)
            return
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as written:
            dump(written, all_threads)
            written.seek(0)
            file.write(readable(written.read(), names))

    faulthandler.dump_traceback = dump_traceback
