"""Objects of S3 that jobs read where they run: what they are, and where anybody may read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from jupyter_remote.blobs.bucket import Place, connect, explaining, place_of
from jupyter_remote.errors import JupyterRemoteError, NotAuthorized, NotFound, UsageError

GOOD_S = 7 * 86_400  # the most that S3 allows; with the credentials of a login it ends with them


class Object(NamedTuple):
    """One object as it is now."""

    source: str
    size_bytes: int
    version: str  # its ETag


class Reader:
    """Reads with the credentials of this process, or what is public without any."""

    def __init__(self, *, profile: str = "") -> None:
        """Raises UsageError without boto3."""
        self._profile = profile
        self._client, self._region = connect(profile=profile)
        self._signed = self._has_credentials()
        if not self._signed:
            self._client, _ = connect(profile=profile, signed=False)
        self._clients = {self._region: self._client}
        self._regions: dict[str, str] = {}

    def _has_credentials(self) -> bool:
        signer: Any = self._client._request_signer
        return signer._credentials is not None

    def objects(self, address: str) -> Iterator[Object]:
        """An object, or all whose keys begin with an address that ends with ``/``.

        Raises NotFound, NotAuthorized, UsageError.
        """
        place = place_of(address)
        if not place.path:
            raise UsageError(
                f"{address} is a whole bucket.",
                hint="Name an object, or a part of it: s3://B/DATA/.",
            )
        if place.path.endswith("/"):
            yield from self._below(place)
            return
        with self._explained(place):
            found = self._of(place).head_object(Bucket=place.bucket, Key=place.path)
        yield Object(str(place), found["ContentLength"], found["ETag"])

    def _below(self, place: Place) -> Iterator[Object]:
        pages = self._of(place).get_paginator("list_objects_v2")
        any = False
        with self._explained(place):
            for page in pages.paginate(Bucket=place.bucket, Prefix=place.path):
                for each in page.get("Contents", []):
                    if not each["Key"].endswith("/"):
                        any = True
                        source = str(Place(place.bucket, each["Key"]))
                        yield Object(source, each["Size"], each["ETag"])
        if not any:
            raise NotFound(f"There is nothing below {place}/.", hint="Check bucket and key.")

    def address(self, source: str) -> str:
        """Where anybody can read it for a while."""
        place = place_of(source)
        client = self._of(place)
        with self._explained(place):
            url: str = client.generate_presigned_url(
                "get_object", Params={"Bucket": place.bucket, "Key": place.path}, ExpiresIn=GOOD_S
            )
        return url

    def _of(self, place: Place) -> Any:
        """A client of the bucket's region: an address of another one would lead nowhere."""
        if place.bucket not in self._regions:
            self._regions[place.bucket] = self._region_of(place) or self._region
        region = self._regions[place.bucket]
        if region not in self._clients:
            made = connect(profile=self._profile, region=region, signed=self._signed)
            self._clients[region] = made[0]
        return self._clients[region]

    def _region_of(self, place: Place) -> str:
        """Also who may not list a bucket is told."""
        from botocore.exceptions import ClientError

        with self._explained(place):
            try:
                reply = self._client.head_bucket(Bucket=place.bucket)
            except ClientError as error:
                reply = error.response
                if reply.get("Error", {}).get("Code") in ("404", "NoSuchBucket"):
                    raise NotFound(f"There is no bucket {place.bucket}.") from None
        headers: dict[str, str] = reply.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return headers.get("x-amz-bucket-region", "")

    def _explained(self, place: Place) -> Any:
        return _explained(place, signed=self._signed)


class _explained:
    """Errors in words: what is not allowed may be absent, too."""

    def __init__(self, place: Place, *, signed: bool) -> None:
        self._place = place
        self._signed = signed
        self._inner: Any = explaining(place, "reading")

    def __enter__(self) -> None:
        self._inner.__enter__()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        try:
            return bool(self._inner.__exit__(kind, error, trace))
        except NotFound:
            raise NotFound(
                f"{self._place} is not there.", hint="Check bucket and key: `aws s3 ls` lists them."
            ) from None
        except NotAuthorized as refused:
            raise self._refused(refused) from None

    def _refused(self, refused: NotAuthorized) -> JupyterRemoteError:
        if self._signed:
            renew = "aws sso login" in refused.hint
            return NotAuthorized(
                f"{self._place} cannot be read with the AWS credentials here, or is not there.",
                hint=refused.hint if renew else "It takes the right s3:GetObject on it.",
            )
        return NotAuthorized(
            f"{self._place} is not public, and there are no AWS credentials here.",
            hint="Run `aws configure` or `aws sso login`, or set AWS_PROFILE.",
        )
