"""Addresses at which a blob can be read or sent without the server in between.

Whoever knows one needs no token: they are in no log, error or database, nor in a ``repr``.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from jupyter_remote.wire.base import MOST_BYTES

PARTS_AT_ONCE = 100  # of an upload, whose addresses are asked for together


class BlobLink(msgspec.Struct, frozen=True, omit_defaults=True):
    """``GET /v1/blobs/{digest}/link``: an address, if the store has any and the blob is large."""

    digest: str
    size_bytes: int
    url: str = ""

    def __repr__(self) -> str:
        return f"BlobLink({self.digest!r}, {self.size_bytes})"


class UploadRequest(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``POST /v1/blobs/{digest}/upload``: where some of its parts, numbered from 1, may be put."""

    size_bytes: Annotated[int, msgspec.Meta(ge=0, le=MOST_BYTES)]
    upload: str = ""  # as in the first reply
    numbers: Annotated[
        list[Annotated[int, msgspec.Meta(ge=1, le=10_000)]],
        msgspec.Meta(max_length=PARTS_AT_ONCE),
    ] = []


class UploadLinks(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The reply: one address for each number. All parts but the last have ``part_bytes``."""

    upload: str = ""  # empty: send it through the server
    part_bytes: int = 0
    urls: list[str] = []

    def __repr__(self) -> str:
        return f"UploadLinks({len(self.urls)} parts of {self.part_bytes})"


class UploadDone(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """``POST /v1/blobs/{digest}/complete``: all parts are there. Said again it is the same."""

    upload: str
    size_bytes: Annotated[int, msgspec.Meta(ge=0, le=MOST_BYTES)]
    chunks: list[tuple[str, int]] = []  # of the segment, see Segment
