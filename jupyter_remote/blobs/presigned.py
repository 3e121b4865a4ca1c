"""Addresses of objects in S3 that are good for a while without credentials."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from jupyter_remote.blobs import joining
from jupyter_remote.blobs.base import Upload
from jupyter_remote.blobs.bucket import Refused, explaining
from jupyter_remote.errors import Conflict, NotFound

if TYPE_CHECKING:
    from jupyter_remote.blobs.s3 import Bucket

GOOD_S = 3600  # less where the backend's own credentials end sooner
LEAST_BYTES = joining.PART_BYTES  # smaller blobs are as quick through the server

_NAME = re.compile(r"[0-9a-f]{32}|")


class PresignedLinks:
    """Implements :class:`jupyter_remote.blobs.base.Links`.

    What somebody sends who is not trusted lands below ``incoming``, in a folder of theirs, until
    it was read here and is what its digest says. So nobody can show an address and a digest alone
    for somebody else's bytes, nor put others in their place.
    """

    least_bytes = LEAST_BYTES

    def __init__(
        self,
        bucket: Bucket,
        key: Callable[[str], str],
        incoming: str,
        publish: Callable[[str, Iterable[joining.Piece]], Awaitable[int]],
    ) -> None:
        self._bucket = bucket
        self._key = key
        self._incoming = incoming
        self._publish = publish

    async def download(self, digest: str) -> str:
        return await self._address("get_object", Key=self._key(digest))

    async def begin(self, digest: str, size_bytes: int, owner: str, *, trusted: bool) -> Upload:
        self._key(digest)
        name = "" if trusted else uuid.uuid4().hex
        key = self._target(digest, name, owner, trusted)
        made = await self._bucket.call("writing", "create_multipart_upload", Key=key)
        return Upload(f"{name}/{made['UploadId']}", joining.part_bytes_of(size_bytes))

    async def parts(
        self, digest: str, upload: str, numbers: Sequence[int], owner: str, *, trusted: bool
    ) -> list[str]:
        names = self._names(digest, upload, owner, trusted)
        return [await self._address("upload_part", **names, PartNumber=n) for n in numbers]

    async def end(
        self, digest: str, upload: str, size_bytes: int, owner: str, *, trusted: bool
    ) -> int:
        names = self._names(digest, upload, owner, trusted)
        parts = await self._bucket.run(lambda: self._sent(names))
        if sum(part.pop("Size") for part in parts) != size_bytes or not parts:
            raise Conflict(
                f"Not all of {digest[:12]}… was sent.", hint="Send the parts that are missing."
            )
        given: dict[str, Any] = {**names, "MultipartUpload": {"Parts": parts}}
        call, complete = self._bucket.call, "complete_multipart_upload"
        try:
            await call("writing", complete, IfNoneMatch="*", **given)
        except Refused:  # the same digest came another way meanwhile
            if await self._bucket.size(names["Key"]) == size_bytes:
                await call("aborting", "abort_multipart_upload", **names)
            else:
                await call("writing", complete, **given)
        if trusted:
            return size_bytes
        try:
            return await self._publish(digest, [(names["Key"], 0, size_bytes)])
        finally:
            await self._bucket.delete(names["Key"])

    def _sent(self, names: dict[str, str]) -> list[dict[str, Any]]:
        """Parts that S3 has. Raises NotFound when that upload is over."""
        found: list[dict[str, Any]] = []
        given: dict[str, Any] = dict(names)
        while True:
            page = self._bucket.now("looking", "list_parts", **given)
            found += [
                {k: p[k] for k in ("PartNumber", "ETag", "Size")} for p in page.get("Parts", [])
            ]
            if not page.get("IsTruncated"):
                return found
            given["PartNumberMarker"] = page["NextPartNumberMarker"]

    def _names(self, digest: str, upload: str, owner: str, trusted: bool) -> dict[str, str]:
        name, _, id = upload.partition("/")
        if not id or not _NAME.fullmatch(name) or bool(name) == trusted:
            raise NotFound("There is no such upload.")
        return {"Key": self._target(digest, name, owner, trusted), "UploadId": id}

    def _target(self, digest: str, name: str, owner: str, trusted: bool) -> str:
        if trusted:
            return self._key(digest)
        self._key(digest)  # raises InvalidRequest for what is no digest
        whose = hashlib.sha256(owner.encode(errors="surrogatepass")).hexdigest()[:32]
        return f"{self._incoming}{whose}/{name}"

    async def _address(self, verb: str, **given: Any) -> str:
        given["Bucket"] = self._bucket.place.bucket

        def sign() -> str:
            with explaining(self._bucket.place, "signing an address"):
                signed: str = self._bucket.client.generate_presigned_url(
                    verb, Params=given, ExpiresIn=GOOD_S
                )
            return signed

        return await self._bucket.run(sign)
