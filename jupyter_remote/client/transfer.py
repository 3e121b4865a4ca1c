"""Sending what the backend lacks, and fetching what a job gave back.

On the backend's own machine both sides map the same files; else segments travel over HTTP, and of
large ones only the chunks that the other side lacks. Where blobs are in S3, large segments of
which little is there go straight to it and come straight from it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from jupyter_remote import errors, mapping, straight
from jupyter_remote.client.link import Link
from jupyter_remote.http import Http
from jupyter_remote.wire import Assemble, BlobView, MissingSegment, Segment

Buffer: TypeAlias = Any  # whatever memoryview() takes: bytes, bytearray, mmap, an array
Told = Callable[[int, int], None]  # (bytes sent, bytes to send)

CONNECTIONS = 4  # at a time for one submit
SPOOL_BYTES = 64 * 1024  # smaller ones are sooner there in a request


class Outgoing:
    """Bytes of the segments of one submit, by digest."""

    def __init__(self) -> None:
        self.contents: dict[str, Buffer] = {}
        self.segments: dict[str, Segment] = {}

    def add(self, segments: Iterable[Segment], contents: Mapping[str, Buffer]) -> None:
        """Remember what may be asked for. Without a copy."""
        self.contents.update(contents)
        self.segments.update((s.digest, s) for s in segments if s.data is None)


def send(
    link: Link, missing: list[MissingSegment], outgoing: Outgoing, told: Told | None = None
) -> None:
    """Send what a submit's reply says is missing; ``told`` hears how far it is.

    Raises NotFound if something is missing that this client does not have either.
    """
    spool = spool_of(link)
    pieces = _Pieces(link, outgoing, told)
    whole: list[Callable[[], None]] = []
    for lacking in missing:
        segment = outgoing.segments.get(lacking.digest)
        if segment is None:
            raise errors.NotFound(
                f"the backend lacks {lacking.digest[:12]}…, and so does this client",
                hint="submit again",
            )
        whole += pieces.plan(segment, lacking.chunks, spool)
    pieces.run(whole)


class _Pieces:
    """Uploads side by side, and the assembling of chunked segments behind them."""

    def __init__(self, link: Link, outgoing: Outgoing, told: Told | None) -> None:
        self._link = link
        self._outgoing = outgoing
        self._told = told
        self._total = 0
        self._sent = 0
        self._after: list[Callable[[], None]] = []

    def plan(
        self, segment: Segment, chunks: list[str], spool: Path | None
    ) -> list[Callable[[], None]]:
        view = mapping.flat(self._outgoing.contents[segment.digest])
        if spool is not None and segment.size_bytes > SPOOL_BYTES:
            self._total += segment.size_bytes
            return [lambda: self._spool(segment.digest, view, spool)]
        if self._goes_straight(segment, chunks):
            self._total += segment.size_bytes
            return [lambda: self._straight(segment, view)]
        if not segment.chunks:
            self._total += segment.size_bytes
            return [lambda: self._upload(segment.digest, view)]
        self._after.append(lambda: self._assemble(segment))
        return self._chunks(segment, set(chunks), view)

    def _goes_straight(self, segment: Segment, lacking: list[str]) -> bool:
        """If most of it is new: of others the new chunks are less to send."""
        sizes = dict(segment.chunks)
        new = sum(sizes.get(digest, 0) for digest in lacking) if sizes else segment.size_bytes
        least = self._link.info.links_bytes
        return bool(least) and new >= max(least, segment.size_bytes // 2)

    def _straight(self, segment: Segment, view: memoryview) -> None:
        try:
            if straight.upload(self._link.call, segment.digest, view, segment.chunks, self._tell):
                return
        except straight.Unreachable:  # from here, that is
            pass
        self._upload(segment.digest, view)

    def _chunks(
        self, segment: Segment, lacking: set[str], view: memoryview
    ) -> list[Callable[[], None]]:
        jobs: list[Callable[[], None]] = []
        at = 0
        for digest, size in segment.chunks:
            if digest in lacking:
                lacking.discard(digest)  # the same chunk may occur twice
                self._total += size
                piece = view[at : at + size]
                jobs.append(partial(self._upload, digest, piece))
            at += size
        return jobs

    def run(self, uploads: list[Callable[[], None]]) -> None:
        if len(uploads) < 2:
            for upload in uploads:
                upload()
        else:
            with ThreadPoolExecutor(CONNECTIONS, "jupyter_remote upload") as pool:
                for _ in pool.map(lambda upload: upload(), uploads):
                    pass
        for assemble in self._after:
            assemble()

    def _upload(self, digest: str, view: memoryview) -> None:
        self._link.twice(lambda http: http.upload(f"/v1/blobs/{digest}", view))
        self._tell(view.nbytes)

    def _assemble(self, segment: Segment) -> None:
        body = Assemble(size_bytes=segment.size_bytes, chunks=segment.chunks)
        self._link.call("POST", f"/v1/blobs/{segment.digest}", body, reply=BlobView)

    def _spool(self, digest: str, view: memoryview, folder: Path) -> None:
        try:
            name = mapping.spool({digest: view}, folder)[digest]
        except OSError as error:
            raise errors.StorageFull(
                f"could not write {view.nbytes:,} bytes beside the backend: {error.strerror}",
                hint="make room on that disk",
            ) from error
        try:
            written = (folder / name).stat()
            headers = {"x-spool": name}
            self._link.twice(lambda http: http.upload(f"/v1/blobs/{digest}", b"", headers))
            mapping.trust(written, digest)
        finally:
            (folder / name).unlink(missing_ok=True)  # there is nothing left when it was taken over
        self._tell(view.nbytes)

    def _tell(self, size: int) -> None:
        self._sent += size
        if self._told is not None:
            self._told(self._sent, self._total)


def spool_of(link: Link) -> Path | None:
    """The backend's spool folder if it is on this machine and we may write there."""
    spool = link.info.spool
    return Path(spool) if spool and os.access(spool, os.W_OK | os.X_OK) else None


def fetch(link: Link, segment: Segment) -> Buffer:
    """The bytes of a segment: inline, mapped on the backend's machine, or downloaded.

    A mapping is verified here, everything by :func:`values.unpack` before it is used.
    """
    if segment.data is not None:
        return segment.data
    if link.info.blobs:
        path = mapping.blob_path(link.info.blobs, segment.digest)
        if os.access(path, os.R_OK):
            return mapping.map_blob(path, segment.digest, segment.size_bytes)
    return _download(link, segment)


def _download(link: Link, segment: Segment) -> bytearray:
    whole = bytearray(segment.size_bytes)
    least = link.info.links_bytes
    if least and segment.size_bytes >= least:
        try:
            if straight.download(link.call, segment.digest, _writer(whole, segment)):
                return whole
        except straight.Unreachable:  # from here, that is
            pass
    return link.twice(lambda http: _streamed(http, segment, whole))


def _writer(whole: bytearray, segment: Segment) -> straight.Write:
    def write(at: int, piece: memoryview) -> None:
        if at + len(piece) > len(whole):
            raise _other_size(segment)
        whole[at : at + len(piece)] = piece

    return write


def _streamed(http: Http, segment: Segment, whole: bytearray) -> bytearray:
    at = 0
    for piece in http.download(f"/v1/blobs/{segment.digest}"):
        if at + len(piece) > len(whole):
            raise _other_size(segment)
        whole[at : at + len(piece)] = piece
        at += len(piece)
    if at != len(whole):
        raise _other_size(segment)
    return whole


def _other_size(segment: Segment) -> errors.DigestMismatch:
    return errors.DigestMismatch(
        f"{segment.digest[:12]}… came with another size than {segment.size_bytes:,} bytes",
        hint="ask for the result again; if it stays so, the backend's disk is damaged",
    )
