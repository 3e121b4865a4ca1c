"""Blobs as objects of S3: ``PREFIX/objects/<digest>``.

An object is there whole or not at all: a large one is a multipart upload, which is completed when
the digest of what was sent is known to be right. ``PREFIX/backend`` says whose blobs these are, so
that no backend sweeps away those of another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from blake3 import blake3

from jupyter_remote.blobs import joining
from jupyter_remote.blobs.base import Links
from jupyter_remote.blobs.bucket import Place, Refused, connect, explaining, place_of
from jupyter_remote.blobs.joining import Part, Piece
from jupyter_remote.blobs.presigned import PresignedLinks
from jupyter_remote.errors import (
    DigestMismatch,
    InvalidRequest,
    NotAuthorized,
    NotFound,
    TooLarge,
    UsageError,
)

T = TypeVar("T")

READ_BYTES = joining.PART_BYTES  # asked for at once
READ_AHEAD = 3  # such pieces of one reader
AT_ONCE = 4  # parts of one upload under way, and in memory
THREADS = 24
LEFTOVER_S = 3600.0  # see Blobs.left_over
ABANDONED_S = 86_400.0  # age of uploads that nobody will complete any more
OBJECTS, INCOMING, MARK = "objects/", "incoming/", "backend"

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Bucket:
    """Requests of one bucket, below one path. Thread-safe; each is one call in a thread."""

    def __init__(self, place: Place, client: Any) -> None:
        path = place.path.strip("/")
        self.place = Place(place.bucket, f"{path}/" if path else "")
        self.client = client
        self._threads = ThreadPoolExecutor(THREADS, "s3")

    def now(self, doing: str, verb: str, /, **given: Any) -> Any:
        """One request of boto3 in this thread. Raises what :func:`explaining` says."""
        with explaining(self.place, doing):
            return getattr(self.client, verb)(Bucket=self.place.bucket, **given)

    async def call(self, doing: str, verb: str, /, **given: Any) -> Any:
        return await self.run(lambda: self.now(doing, verb, **given))

    async def run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def read(self, key: str, offset: int, size: int) -> bytes:
        """A run of bytes that is there. Raises NotFound, DigestMismatch."""

        def get() -> bytes:
            given = {"Key": key, "Range": f"bytes={offset}-{offset + size - 1}"}
            reply = self.now("reading", "get_object", **given)
            with explaining(self.place, "reading"):
                data: bytes = reply["Body"].read()
            if len(data) != size:
                raise DigestMismatch("An object is shorter than it should be.")
            return data

        return await self.run(get) if size else b""

    async def size(self, key: str) -> int | None:
        try:
            reply = await self.call("looking", "head_object", Key=key)
        except NotFound:
            return None
        size: int = reply["ContentLength"]
        return size

    async def delete(self, key: str) -> None:
        await self.call("deleting", "delete_object", Key=key)


def open_s3(
    address: str,
    *,
    region: str = "",
    profile: str = "",
    endpoint: str = "",
    id_file: Path | None = None,
) -> S3Blobs:
    """The blobs at ``s3://BUCKET/PREFIX``, after a look whether they can be used.

    Parameters
    ----------
    id_file: where this backend remembers under which name it marked the place as its own.

    Raises UsageError, NotAuthorized, NotFound, StorageFull; each says the next step.
    """
    client, known = connect(region=region, profile=profile, endpoint=endpoint)
    bucket = Bucket(place_of(address), client)
    _check_region(bucket, known)
    if id_file is not None:
        _claim(bucket, id_file)
    return S3Blobs(bucket)


def _check_region(bucket: Bucket, known: str) -> None:
    """The bucket is there, is ours to list, and is where the backend's machines are."""
    name = bucket.place.bucket
    try:
        reply = bucket.now("looking for the bucket", "head_bucket")
    except NotFound as error:
        raise NotFound(
            f"There is no bucket {name}.",
            hint=f"Make it with `aws s3 mb s3://{name}`, or name another one in the setting blobs.",
        ) from error
    headers = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = reply.get("BucketRegion") or headers.get("x-amz-bucket-region", "")
    if region and known and region != known:
        raise UsageError(
            f"The bucket {name} is in {region}, and the region that is set is {known}.",
            hint=f"Set ec2_region to {region}, or use a bucket in {known}: between regions each "
            "transfer costs time and money.",
        )


def _claim(bucket: Bucket, id_file: Path) -> None:
    """Write the mark if there is none; it shows the right to write, too."""
    mine = id_file.read_text() if id_file.exists() else uuid.uuid4().hex
    key = bucket.place.path + MARK
    with contextlib.suppress(Refused):
        bucket.now("writing", "put_object", Key=key, Body=mine.encode(), IfNoneMatch="*")
    reply = bucket.now("reading", "get_object", Key=key)
    with explaining(bucket.place, "reading"):
        found = reply["Body"].read().decode(errors="replace")
    if found != mine:
        raise UsageError(
            f"{bucket.place} holds the blobs of another backend.",
            hint=f"Use another prefix. If that backend is gone for good, delete {MARK} there.",
        )
    id_file.write_text(mine)


class S3Blobs:
    """Implements :class:`jupyter_remote.blobs.base.Blobs` on a bucket."""

    folder = None
    spool = None

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._path = bucket.place.path
        self._presigned = PresignedLinks(bucket, self._key, self._path + INCOMING, self._publish)

    @property
    def links(self) -> Links:
        return self._presigned

    async def put(self, digest: str, body: AsyncIterator[bytes], limit_bytes: int) -> int:
        async with _Upload(self._bucket, self._key(digest)) as upload:
            async for piece in body:
                if upload.size + len(piece) > limit_bytes:
                    raise TooLarge(f"The blob is larger than {limit_bytes} bytes.")
                await upload.write(piece)
            await upload.publish(digest)
        return upload.size

    async def adopt(self, digest: str, spooled: str) -> int:
        raise InvalidRequest("There is no spool folder: blobs are in S3.")

    async def assemble(self, digest: str, pieces: Iterable[Piece]) -> int:
        own = [(self._key(source), offset, size) for source, offset, size in pieces]
        return await self._publish(digest, own)

    async def _publish(self, digest: str, pieces: Iterable[Piece]) -> int:
        """A blob of pieces of objects. All is read for its digest; what is large, S3 copies."""
        async with _Upload(self._bucket, self._key(digest)) as upload:
            for part in joining.parts_of(pieces):
                await self._take(upload, part)
            await upload.publish(digest)
        return upload.size

    async def _take(self, upload: _Upload, part: Part) -> None:
        for key, offset, size in part.pieces:
            async for piece in self._stream(key, offset, offset + size):
                await (upload.hear(piece) if part.copied else upload.write(piece, cut=False))
        if part.copied:
            await upload.copy(*part.pieces[0])
        else:
            await upload.flush()

    async def open(self, digest: str, offset: int = 0) -> tuple[int, AsyncIterator[bytes]]:
        key = self._key(digest)
        size = await self._bucket.size(key)
        if size is None:
            raise NotFound(f"There is no blob {digest[:12]}….")
        if not 0 <= offset <= size:
            raise InvalidRequest(f"The blob has {size} bytes; it cannot be read from {offset}.")
        return size, self._stream(key, offset, size)

    async def _stream(self, key: str, at: int, end: int) -> AsyncIterator[bytes]:
        """In order, a few pieces ahead of whoever reads."""
        coming: deque[asyncio.Task[bytes]] = deque()
        try:
            while at < end or coming:
                while at < end and len(coming) < READ_AHEAD:
                    size = min(READ_BYTES, end - at)
                    coming.append(asyncio.create_task(self._bucket.read(key, at, size)))
                    at += size
                yield await coming.popleft()
        finally:
            await _dropped(coming)

    async def size(self, digest: str) -> int | None:
        return await self._bucket.size(self._key(digest))

    async def delete(self, digest: str) -> None:
        await self._bucket.delete(self._key(digest))

    async def left_over(self) -> list[str]:
        now = time.time()
        await self._bucket.run(lambda: self._clean(now - ABANDONED_S))
        return await self._bucket.run(lambda: self._older(OBJECTS, now - LEFTOVER_S))

    def _clean(self, before: float) -> None:
        """Abort uploads, and delete what was uploaded, that nobody waits for."""
        bucket = self._bucket
        given: dict[str, Any] = {"Prefix": self._path}
        while True:
            page = bucket.now("looking", "list_multipart_uploads", **given)
            for upload in page.get("Uploads", []):
                if upload["Initiated"].timestamp() < before:
                    _abort(bucket, upload["Key"], upload["UploadId"])
            if not page.get("IsTruncated"):
                break
            given["KeyMarker"] = page["NextKeyMarker"]
            given["UploadIdMarker"] = page["NextUploadIdMarker"]
        for name in self._older(INCOMING, before):
            bucket.now("deleting", "delete_object", Key=self._path + INCOMING + name)

    def _older(self, folder: str, before: float) -> list[str]:
        """Names in a folder, without it."""
        found: list[str] = []
        given: dict[str, Any] = {"Prefix": self._path + folder}
        while True:
            page = self._bucket.now("looking", "list_objects_v2", **given)
            for each in page.get("Contents", []):
                name = each["Key"].removeprefix(given["Prefix"])
                wanted = folder != OBJECTS or _DIGEST.fullmatch(name)
                if wanted and each["LastModified"].timestamp() < before:
                    found.append(name)
            if not page.get("IsTruncated"):
                return found
            given["ContinuationToken"] = page["NextContinuationToken"]

    def _key(self, digest: str) -> str:
        if not _DIGEST.fullmatch(digest):
            raise InvalidRequest("A blob is named by 64 lower-case hex digits.")
        return f"{self._path}{OBJECTS}{digest}"


def _abort(bucket: Bucket, key: str, upload: str) -> None:
    with contextlib.suppress(NotFound, Refused):
        bucket.now("aborting", "abort_multipart_upload", Key=key, UploadId=upload)


async def _dropped(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """None of them is under way any more."""
    every = list(tasks)
    for task in every:
        task.cancel()
    await asyncio.gather(*every, return_exceptions=True)


class _Upload:
    """One object on its way in. Small ones are one request, which needs no upload."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self.size = 0
        self._bucket = bucket
        self._key = key
        self._hasher = blake3()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._id = ""
        self._room = asyncio.Semaphore(AT_ONCE)
        self._parts: list[asyncio.Task[dict[str, Any]]] = []
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> _Upload:
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        """What was not published leaves nothing: no part comes after the upload was aborted."""
        await asyncio.gather(*self._parts, return_exceptions=True)
        if self._id:
            with contextlib.suppress(NotAuthorized):  # the first error counts
                await self._bucket.run(lambda: _abort(self._bucket, self._key, self._id))

    async def write(self, piece: bytes, *, cut: bool = True) -> None:
        """The next bytes; with ``cut`` they go as soon as they are a part."""
        await self.hear(piece)
        self._waiting.append(piece)
        self._waiting_bytes += len(piece)
        if cut and self._waiting_bytes >= joining.part_bytes(len(self._parts)):
            await self.flush()

    async def hear(self, piece: bytes) -> None:
        """Bytes that S3 has already, for the digest."""
        self.size += len(piece)
        if len(piece) < joining.MIB:
            self._hasher.update(piece)
        else:
            await asyncio.to_thread(self._hasher.update, piece)

    async def flush(self) -> None:
        data = self._taken()
        await self._part("upload_part", Body=data)

    async def copy(self, key: str, offset: int, size: int) -> None:
        source = {"Bucket": self._bucket.place.bucket, "Key": key}
        run = f"bytes={offset}-{offset + size - 1}"
        await self._part("upload_part_copy", CopySource=source, CopySourceRange=run)

    def _taken(self) -> bytes:
        data = b"".join(self._waiting)
        self._waiting, self._waiting_bytes = [], 0
        return data

    async def _part(self, verb: str, **given: Any) -> None:
        """Begin to send a part as soon as there is room. Raises what an earlier one met."""
        if not self._id:
            made = await self._bucket.call("writing", "create_multipart_upload", Key=self._key)
            self._id = made["UploadId"]
        await self._room.acquire()
        for part in self._parts:
            if part.done():
                part.result()
        number = next(self._numbers)
        if number > joining.PARTS:
            raise TooLarge("The blob is larger than S3 takes in 10,000 parts.")
        self._parts.append(asyncio.create_task(self._send(verb, number, given)))

    async def _send(self, verb: str, number: int, given: dict[str, Any]) -> dict[str, Any]:
        try:
            names = {"Key": self._key, "UploadId": self._id, "PartNumber": number}
            reply = await self._bucket.call("writing", verb, **names, **given)
        finally:
            self._room.release()
        found = reply.get("CopyPartResult", reply)
        return {"ETag": found["ETag"], "PartNumber": number}

    async def publish(self, digest: str) -> None:
        """Make it visible, if it is what its digest says. Raises DigestMismatch."""
        if self._hasher.hexdigest() != digest:
            raise DigestMismatch(
                f"The bytes of {digest[:12]}… are not what their digest says; they were not stored."
            )
        if self._id:
            if self._waiting:
                await self.flush()
            parts = {"Parts": await asyncio.gather(*self._parts)}
            given = {"UploadId": self._id, "MultipartUpload": parts}
            await self._visible("complete_multipart_upload", **given)
            self._id = ""
        else:
            await self._visible("put_object", Body=self._taken())

    async def _visible(self, verb: str, **given: Any) -> None:
        """Unless the same is there already; what is there with another size is replaced."""
        call = self._bucket.call
        try:
            await call("writing", verb, Key=self._key, IfNoneMatch="*", **given)
        except Refused:
            if await self._bucket.size(self._key) != self.size:
                await call("writing", verb, Key=self._key, **given)
            elif self._id:
                await self._bucket.run(lambda: _abort(self._bucket, self._key, self._id))
