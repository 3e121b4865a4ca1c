"""Amazon's S3 and what speaks its language: addresses, credentials, and its errors in words.

The only file of blobs with boto3, which is imported when it is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from jupyter_remote.errors import (
    Conflict,
    JupyterRemoteError,
    NotAuthorized,
    NotFound,
    StorageFull,
    UsageError,
)

SCHEME = "s3://"
TRIES = 6  # of one request, with growing pauses: throttling and passing faults
CONNECT_S = 10.0
READ_S = 60.0
CONNECTIONS = 32
RIGHTS = (
    "s3:ListBucket and s3:ListBucketMultipartUploads on the bucket; s3:GetObject, s3:PutObject, "
    "s3:DeleteObject, s3:AbortMultipartUpload and s3:ListMultipartUploadParts on its objects"
)

_CREDENTIALS = {
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
}
_ABSENT = {"NoSuchKey", "404", "NotFound", "NoSuchUpload"}
_ELSEWHERE = {"PermanentRedirect", "301", "AuthorizationHeaderMalformed", "IllegalLocation"}
_FORBIDDEN = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled", "AccountProblem"}


class Place(NamedTuple):
    """``s3://bucket/path``."""

    bucket: str
    path: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.path}".rstrip("/")


class Refused(Conflict):
    """A condition of a request did not hold: what is there stays as it is."""


def place_of(address: str) -> Place:
    """Raises UsageError for what is no ``s3://BUCKET/…``."""
    bucket, _, path = address.removeprefix(SCHEME).partition("/")
    if not address.startswith(SCHEME) or not bucket or any(c in bucket for c in " ?#@:\\"):
        raise UsageError(f"{address!r} is no address in S3.", hint="Write s3://BUCKET/PATH.")
    return Place(bucket, path)


def connect(
    *, region: str = "", profile: str = "", endpoint: str = "", signed: bool = True
) -> tuple[Any, str]:
    """A client of boto3 (thread-safe), and the region that is set; boto3's own where empty.

    Raises UsageError without boto3 or without such a profile.
    """
    try:
        import boto3
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise UsageError(
            "S3 needs boto3, which is not installed.",
            hint="pip install 'jupyter-remote-run[aws]'",
        ) from error
    config = Config(
        signature_version="s3v4" if signed else UNSIGNED,
        retries={"mode": "standard", "max_attempts": TRIES},
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        max_pool_connections=CONNECTIONS,
        s3={"addressing_style": "path" if endpoint or _in_place() else "virtual"},
        # Addresses are used without boto3, which would have to add such sums; BLAKE3 has the say.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        session = boto3.Session(profile_name=profile or None, region_name=region or None)
        known = session.region_name or ""
        client = session.client(
            "s3",
            config=config,
            endpoint_url=endpoint or None,
            region_name=known or "us-east-1",
        )
    except BotoCoreError as error:
        raise UsageError(
            f"S3 cannot be used: {error}.",
            hint="Mend ~/.aws/config, or the settings ec2_profile and ec2_region.",
        ) from error
    return client, known


def _in_place() -> bool:
    """Does the environment tell boto3 of an API in place of Amazon's?"""
    return bool(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))


@contextmanager
def explaining(place: Place, doing: str) -> Iterator[None]:
    """Errors of boto3 in words, without its request: that may hold a signed address.

    Raises Refused, NotFound, NotAuthorized, StorageFull.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        raise _said(error.response, place, doing) from None
    except BotoCoreError as error:
        raise _failed(error, place, doing) from None


def _said(response: Any, place: Place, doing: str) -> Exception:
    """What an answer of S3 means."""
    code = str(response.get("Error", {}).get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in ("PreconditionFailed", "ConditionalRequestConflict") or status in (409, 412):
        return Refused(code)
    if code == "NoSuchBucket":
        return NotFound(
            f"There is no bucket {place.bucket}.",
            hint=f"Make it with `aws s3 mb s3://{place.bucket}`, or name another one.",
        )
    if code in _CREDENTIALS:
        return NotAuthorized(
            f"S3 does not accept these credentials while {doing} ({code}).",
            hint="Renew them (`aws sso login`, `aws configure`), or choose another AWS_PROFILE.",
        )
    if code in _FORBIDDEN or status == 403:
        return NotAuthorized(
            f"{place} does not allow these credentials {doing} ({code}).",
            hint=f"The IAM rights that are needed: {RIGHTS}.",
        )
    if code in _ELSEWHERE or status == 301:
        return UsageError(
            f"The bucket {place.bucket} is in another region.",
            hint="Set ec2_region to that of the bucket, or use a bucket of this region.",
        )
    if code in _ABSENT or status == 404:
        return NotFound(f"{place} is not there ({doing}).")
    return StorageFull(
        f"S3 failed while {doing} in {place} ({code or status}).",
        hint="Try again; status.aws.amazon.com says whether S3 has a fault.",
    )


def _failed(error: Exception, place: Place, doing: str) -> JupyterRemoteError:
    """No answer of S3 at all."""
    name = type(error).__name__
    if "Credential" in name or name in ("TokenRetrievalError", "SSOTokenLoadError"):
        return NotAuthorized(
            f"There are no AWS credentials for {place}.",
            hint="Run `aws configure` or `aws sso login`, or set AWS_PROFILE.",
        )
    if name == "UnauthorizedSSOTokenError":
        return NotAuthorized(
            "The AWS login has expired.", hint="Run `aws sso login`, then try again."
        )
    if name == "ParamValidationError":
        return UsageError(
            f"{place} is no address in S3.", hint="Write s3://BUCKET/PATH with a bucket's name."
        )
    return StorageFull(
        f"S3 does not answer while {doing} in {place} ({name}).",
        hint="Check the network, and s3_endpoint if that is set.",
    )
