"""The metadata service of one instance, version 2 as EC2 has it."""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ACCOUNT = "123456789012"
LONGEST_TOKEN_S = 21_600


class Metadata:
    """What an instance can learn of itself. ``instance`` is moto's record of it."""

    def __init__(self, instance: Any, user_data: bytes) -> None:
        self.instance = instance
        self.user_data = user_data
        self.interrupted_at: datetime | None = None  # a spot notice: when it will be taken away
        self.rebalance_at: datetime | None = None  # a recommendation: since when

    @property
    def token_required(self) -> bool:
        return str(self.instance.metadata_options.http_tokens) == "required"

    def read(self, path: str) -> str | bytes | None:
        """What stands at a path behind ``/latest``; None: nothing."""
        if path == "/user-data":
            return self.user_data or None
        if path == "/dynamic/instance-identity/document":
            return json.dumps(self._document())
        if path != "/meta-data" and not path.startswith("/meta-data/"):
            return None
        key, data = path.removeprefix("/meta-data").strip("/"), self._data()
        if key in data:
            return data[key]
        inside = [name.removeprefix(key).lstrip("/") for name in data if _is_under(name, key)]
        return "\n".join(sorted({name.split("/")[0] for name in inside})) or None

    def _data(self) -> dict[str, str]:
        instance = self.instance
        zone = instance.availability_zone
        data = {
            "instance-id": instance.id,
            "instance-type": instance.instance_type,
            "instance-life-cycle": instance.lifecycle or "on-demand",
            "ami-id": instance.image_id,
            "local-ipv4": instance.private_ip,
            "hostname": instance.private_dns_name,
            "placement/availability-zone": zone,
            "placement/region": zone[:-1],
        }
        if self.interrupted_at is not None:
            at = f"{self.interrupted_at:%Y-%m-%dT%H:%M:%SZ}"
            data["spot/instance-action"] = json.dumps({"action": "terminate", "time": at})
            data["spot/termination-time"] = at
        if self.rebalance_at is not None:
            at = f"{self.rebalance_at:%Y-%m-%dT%H:%M:%SZ}"
            data["events/recommendations/rebalance"] = json.dumps({"noticeTime": at})
        if instance.iam_instance_profile:
            data |= _credentials()
        return data

    def _document(self) -> dict[str, str]:
        zone = self.instance.availability_zone
        return {
            "accountId": ACCOUNT,
            "instanceId": self.instance.id,
            "instanceType": self.instance.instance_type,
            "imageId": self.instance.image_id,
            "privateIp": self.instance.private_ip,
            "region": zone[:-1],
            "availabilityZone": zone,
            "version": "2017-09-30",
        }


def _is_under(name: str, folder: str) -> bool:
    return not folder or name.startswith(f"{folder}/")


def _credentials() -> dict[str, str]:
    folder, expires = "iam/security-credentials", datetime.now(UTC) + timedelta(hours=6)
    keys = {
        "Code": "Success",
        "Type": "AWS-HMAC",
        "AccessKeyId": "ASIASIMULATED",
        "SecretAccessKey": "simulated",
        "Token": "simulated",
        "Expiration": f"{expires:%Y-%m-%dT%H:%M:%SZ}",
    }
    return {folder: "worker", f"{folder}/worker": json.dumps(keys)}


class MetadataService(ThreadingHTTPServer):
    """Answers on a socket that was bound where the instance finds it."""

    daemon_threads = True

    def __init__(self, bound: socket.socket, metadata: Metadata) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = bound
        self.socket.listen(64)
        self.metadata = metadata
        self.tokens: dict[str, float] = {}
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: MetadataService

    def log_message(self, *_: object) -> None:
        pass

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/latest/api/token":
            return self._answer(404)
        if self.headers.get("X-Forwarded-For"):
            return self._answer(403)
        lifetime = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
        if not lifetime.isdigit() or not 1 <= int(lifetime) <= LONGEST_TOKEN_S:
            return self._answer(400)
        token = secrets.token_urlsafe(40)
        self.server.tokens[token] = time.monotonic() + int(lifetime)
        return self._answer(200, token)

    def do_GET(self) -> None:
        metadata, token = self.server.metadata, self.headers.get("X-aws-ec2-metadata-token")
        valid = self.server.tokens.get(token or "", 0.0) > time.monotonic()
        if not valid and (token or metadata.token_required):
            return self._answer(401)
        found = metadata.read(self.path.partition("?")[0].rstrip("/").removeprefix("/latest"))
        return self._answer(404) if found is None else self._answer(200, found)

    def _answer(self, status: int, body: str | bytes = b"") -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
