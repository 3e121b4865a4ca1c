"""S3 for tests: moto behind a server of this process, which sees requests and can answer itself."""

from __future__ import annotations

import contextlib
import functools
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

Environ = dict[str, Any]
BUCKET = "blobs-of-tests"
REGION = "us-east-1"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "CANARY-of-aws",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
}


class Seen(NamedTuple):
    method: str
    path: str
    query: str
    headers: dict[str, str]


class Store:
    """The server. ``faults`` are asked first: (status, code of S3), or None to go on."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.faults: list[Callable[[Seen], tuple[int, str] | None]] = []
        self._uploads: dict[str, str] = {}
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.port}"

    def __call__(self, environ: Environ, respond: Any) -> Iterable[bytes]:
        names = [n for n in environ if n.startswith("HTTP_") or n == "CONTENT_LENGTH"]
        headers = {n.removeprefix("HTTP_").lower(): str(environ[n]) for n in names}
        seen = Seen(
            environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"], headers
        )
        self.seen.append(seen)
        for fault in self.faults:
            if (told := fault(seen)) is not None:
                return self._refuse(environ, respond, *told)
        [upload] = parse_qs(seen.query).get("uploadId", [""])
        known = self._uploads.get(upload, seen.path)
        if upload and known != seen.path:  # moto does not look at the key
            return self._refuse(environ, respond, 404, "NoSuchUpload")
        answer = b"".join(self._app(environ, respond))
        begun = re.search(rb"<UploadId>(\w+)</UploadId>", answer)
        if begun and (seen.method, seen.query) == ("POST", "uploads"):
            self._uploads[begun[1].decode()] = seen.path
        return [answer]

    def _refuse(self, environ: Environ, respond: Any, status: int, code: str) -> list[bytes]:
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        respond(f"{status} {code}", [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>made up</Message></Error>".encode()]

    @functools.cached_property
    def _client(self) -> Any:
        return boto3.client("s3", endpoint_url=self.endpoint, region_name=REGION)

    def client(self) -> Any:
        return self._client

    def names(self) -> list[str]:
        found = self.client().list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return [each["Key"] for each in found]

    def uploads(self) -> list[Any]:
        """Uploads of parts that are neither completed nor aborted."""
        found: list[Any] = self.client().list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        return found

    @contextlib.contextmanager
    def opened(self, patch: pytest.MonkeyPatch) -> Iterator[None]:
        """For one test: credentials in the environment, and an empty bucket."""
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        self.client().create_bucket(Bucket=BUCKET)
        self.seen.clear()
        try:
            yield
        finally:
            self.faults.clear()
            for name, value in CREDENTIALS.items():
                patch.setenv(name, value)
            _empty(self)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def _empty(store: Store) -> None:
    """moto keeps all buckets of a process in one place."""
    client = store.client()
    for upload in store.uploads():
        client.abort_multipart_upload(Bucket=BUCKET, Key=upload["Key"], UploadId=upload["UploadId"])
    for name in store.names():
        client.delete_object(Bucket=BUCKET, Key=name)
    client.delete_bucket(Bucket=BUCKET)
