"""What AWS may answer, put under real boto3 in place of the network."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any, ClassVar
from xml.sax.saxutils import escape

from botocore.awsrequest import AWSResponse

from jupyter_remote.providers.ec2.client import Clients
from jupyter_remote.providers.ec2.launching import BACKEND, INSTANCE, client_token

NOTHING = '<DescribeInstancesResponse xmlns="x"><reservationSet/></DescribeInstancesResponse>'


def page(backend_id: str, id: str, state: str = "running", more: str = "") -> str:
    """What ``DescribeInstances`` answers of one machine of ours."""
    tags = "".join(
        f"<item><key>{key}</key><value>{value}</value></item>"
        for key, value in ((BACKEND, backend_id), (INSTANCE, id))
    )
    instance = (
        f"<instanceId>i-{id}</instanceId><instanceType>g5.xlarge</instanceType>"
        f"<clientToken>{client_token(backend_id, id)}</clientToken>"
        f"<launchTime>2026-01-02T00:00:00Z</launchTime>"
        f"<instanceState><name>{state}</name></instanceState><tagSet>{tags}</tagSet>"
    )
    return (
        '<DescribeInstancesResponse xmlns="x"><reservationSet><item><instancesSet><item>'
        f"{instance}</item></instancesSet></item></reservationSet>"
        f"<nextToken>{more}</nextToken></DescribeInstancesResponse>"
    )


class Body(io.BytesIO):
    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


class Answers:
    """The answers to one operation; how often it was asked, and what it was asked with."""

    _undo: ClassVar[list[Callable[[], None]]] = []

    def __init__(self, clients: Clients, service: str, operation: str, region: str = "") -> None:
        self.client = clients._client(service, region or clients.region)
        self._service = service
        self._operation = operation
        self._answer: Callable[[], tuple[int, str]] | None = None
        self.asked: list[dict[str, Any]] = []
        self.on("before-send", self._send)
        self.on("provide-client-params", self._note)

    def on(self, event: str, handler: Callable[..., Any]) -> None:
        """At this event of boto3, until the test is over."""
        name = f"{event}.{self._service}.{self._operation}"
        events = self.client.meta.events
        events.register(name, handler)
        self._undo.append(lambda: events.unregister(name, handler))

    @classmethod
    def undo_all(cls) -> None:
        while cls._undo:
            cls._undo.pop()()

    def _note(self, params: dict[str, Any], **_: Any) -> None:
        self.asked.append(params)

    def _send(self, request: Any, **_: Any) -> AWSResponse | None:
        if self._answer is None:
            return None
        status, text = self._answer()
        headers = {"content-type": "text/xml", "x-amzn-requestid": "r"}
        return AWSResponse(request.url, status, headers, Body(text.encode()))

    def is_error(self, code: str, message: str = "it says why", status: int = 400) -> Answers:
        xml = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
        text = f"<Response><Errors>{xml}</Errors><RequestID>r</RequestID></Response>"
        if self._service != "ec2":
            text = json.dumps({"__type": code, "message": message})
        self._answer = lambda: (status, text)
        return self

    def is_text(self, *texts: str) -> Answers:
        """One after the other; the last again and again."""
        left = list(texts)
        self._answer = lambda: (200, left.pop(0) if len(left) > 1 else left[0])
        return self

    def is_lost(self, error: Exception, times: int = 1) -> Answers:
        """It is done over there, and nobody hears of it."""
        left = [error] * times

        def lose(**_: Any) -> None:
            if left:
                raise left.pop()

        self.on("after-call", lose)
        return self

    def is_itself(self) -> None:
        """As moto answers."""
        self._answer = None

    def is_network_error(self, error: Exception) -> Answers:
        def fail() -> tuple[int, str]:
            raise error

        self._answer = fail
        return self
