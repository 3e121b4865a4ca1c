"""The other side in small: another process that runs a cell on what was captured."""

from __future__ import annotations

import ast
import asyncio
import inspect
from typing import Any

import msgspec

from jupyter_remote import values
from jupyter_remote.client.names import plain_transform
from jupyter_remote.reach import inputs_inside
from jupyter_remote.wire import Parcel, Result

Contents = dict[str, bytes]


def opened(parcel: Parcel, contents: Contents, namespace: dict[str, Any]) -> Any:
    return values.unpack(parcel, lambda s: bytearray(contents[s.digest]), namespace=namespace)


def run(
    source: str, encoded: bytes, contents: Contents, assigned: list[str], deleted: list[str]
) -> tuple[bytes, Contents]:
    """What a worker does: open, run, find what changed, pack."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    parcel = msgspec.json.decode(encoded, type=Parcel | None)
    inputs = {} if parcel is None else opened(parcel, contents, namespace)
    namespace.update(inputs)
    before = values.fingerprints(inputs, namespace)
    execute(source, namespace)
    same = {n: v for n, v in inputs.items() if n in namespace and namespace[n] is v}
    after = values.fingerprints(same, namespace)
    changed = [n for n in same if after[n] != before[n]]
    rebound = [n for n in inputs if n in namespace and n not in same]
    home = [n for n in dict.fromkeys([*assigned, *changed, *rebound]) if n in namespace]
    home += inputs_inside({n: namespace[n] for n in home}, same, namespace)
    packed = values.pack({n: namespace[n] for n in home}, namespace=namespace, known=set(inputs))
    result = Result(
        value=packed.parcel,
        deleted=[n for n in (*inputs, *deleted) if n not in namespace],
        in_place=[n for n in home if n in same],
    )
    return msgspec.json.encode(result), {d: bytes(v) for d, v in packed.contents.items()}


def execute(source: str, namespace: dict[str, Any]) -> None:
    """As a notebook runs a cell, without its output."""
    python = plain_transform()(source)
    code = compile(python, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, namespace))
    else:
        exec(code, namespace)
