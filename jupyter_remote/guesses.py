"""Digests of large buffers that were hashed before, known again by a sample of their bytes.

For plans alone: a gigabyte is hashed in a quarter of a second by cores that are idle, and a plan
must not keep anybody waiting. What is sent is always hashed whole.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from blake3 import blake3

from jupyter_remote.mapping import MIB, clean_digest, digest_of, extent

LEAST_BYTES = 32 * MIB  # hashed in the time that a plan has
STRIDE = 4093  # a prime: of numbers of any size every byte is among the samples
ENDS = 64
KEPT = 64  # buffers

_hashed: OrderedDict[tuple[int, int], tuple[bytes, str]] = OrderedDict()  # by address and size
_lock = threading.Lock()
_guessed: ContextVar[list[str] | None] = ContextVar("guessed", default=None)


@contextmanager
def guessing(allowed: bool = True) -> Iterator[list[str]]:
    """Within it digests may be guessed; gives those that were."""
    found: list[str] = []
    token = _guessed.set(found if allowed else None)
    try:
        yield found
    finally:
        _guessed.reset(token)


def named(view: memoryview) -> str:
    """The digest of a buffer; within :func:`guessing` that of the same memory with, by a sample,
    the same content."""
    if (clean := clean_digest(view)) is not None:
        return clean
    if view.nbytes < LEAST_BYTES:
        return digest_of(view)
    where, sample = extent(view), _sample(view)
    guessed = _guessed.get()
    with _lock:
        before, digest = _hashed.get(where, (b"", ""))
    if guessed is not None and before == sample:
        guessed.append(digest)
        return digest
    digest = digest_of(view)
    with _lock:
        _hashed[where] = sample, digest
        _hashed.move_to_end(where)
        while len(_hashed) > KEPT:
            _hashed.popitem(last=False)
    return digest


def _sample(view: memoryview) -> bytes:
    flat = view.cast("B") if view.format != "B" else view
    return blake3(b"".join((flat[:ENDS], bytes(flat[::STRIDE]), flat[-ENDS:]))).digest()
