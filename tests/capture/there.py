"""The other side in small: another process that runs a cell on what was captured."""

from __future__ import annotations

import ast
import asyncio
import inspect
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from jupyter_remote import values
from jupyter_remote.client.names import plain_transform
from jupyter_remote.wire import JobSpec, Parcel
from jupyter_remote.worker.channel import Run
from jupyter_remote.worker.namespace import CellNamespace

Contents = dict[str, bytes]


def opened(parcel: Parcel, contents: Contents, namespace: dict[str, Any], **how: Any) -> Any:
    return values.unpack(
        parcel, lambda s: bytearray(contents[s.digest]), namespace=namespace, **how
    )


def run(source: str, encoded: bytes, contents: Contents) -> tuple[bytes, Contents]:
    """What a worker does: open, run, find what changed, pack."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    spec = msgspec.json.decode(encoded, type=JobSpec)
    numbered: values.Numbered = {}
    inputs = {}
    if spec.inputs is not None:
        inputs = opened(spec.inputs, contents, namespace, numbered=numbered)
    cell = CellNamespace(spec, namespace, inputs, numbered)
    execute(source, namespace)
    with tempfile.TemporaryDirectory() as folder:
        paths = dict.fromkeys(contents, "")
        home = cell.home(
            Run(job="j", epoch=1, spec=spec, folder=folder, paths=paths, spool=folder), {}
        )
        new = {s.segment.digest: Path(folder, s.file).read_bytes() for s in home.spooled if s.file}
    return msgspec.json.encode(home.result), {**contents, **new}


def execute(source: str, namespace: dict[str, Any]) -> None:
    """As a notebook runs a cell, without its output."""
    python = plain_transform()(source)
    code = compile(python, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, namespace))
    else:
        exec(code, namespace)
