"""Values and files on their way."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from jupyter_remote.wire.base import MOST_BYTES


class Segment(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run of bytes named by its content: the pickle itself or one out-of-band buffer."""

    digest: str  # BLAKE3, 64 hex digits, of the raw bytes
    size_bytes: int
    data: bytes | None = None  # the bytes themselves when the whole parcel is small
    chunks: list[tuple[str, int]] = []  # (digest, size) of content-defined chunks, in order


class Parcel(msgspec.Struct, frozen=True, omit_defaults=True, weakref=True):
    """A value on its way: segment 0 is the pickle, the others its out-of-band buffers."""

    segments: list[Segment]
    python: str = ""  # "3.11" of the sender
    magic: str = ""  # hex of importlib.util.MAGIC_NUMBER of the sender
    versions: dict[str, str] = {}  # cloudpickle, numpy, pandas, torch where loaded
    format: Literal["pickle5", "raw"] = "pickle5"  # raw: segment 0 is the value, bytes
    names: list[NameInfo] = []  # what is inside, for people

    @property
    def size_bytes(self) -> int:
        return sum(s.size_bytes for s in self.segments)


class NameInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """A variable as people see it."""

    name: str
    type: str
    size_bytes: Annotated[int, msgspec.Meta(ge=0, le=MOST_BYTES)] = 0


class MissingSegment(msgspec.Struct, frozen=True, omit_defaults=True):
    """A segment that the server lacks; ``chunks`` names the chunks of it that it lacks."""

    digest: str
    chunks: list[str] = []


class FileRef(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file to be placed in the job's folder. ``path`` is relative, without ``..``."""

    path: str
    content: Segment
    mode: int = 0o644
    module: bool = False  # part of a local module: its root goes on sys.path
    source: str = ""  # "s3://BUCKET/KEY": read from there by the worker; ``content`` is empty then,
    source_bytes: int = 0  # and its digest is that of source and version
    version: str = ""  # ETag of what the source was at submit; empty: any


class SourceLink(msgspec.Struct, frozen=True):
    """An address from which a file's ``source`` can be read for a while. A secret: it is in no log,
    error or database, nor in a ``repr``."""

    source: str
    url: str

    def __repr__(self) -> str:
        return f"SourceLink({self.source!r})"
