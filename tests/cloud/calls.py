"""Calls of the EC2 API as they come over the wire, and answers to them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
STATUS = {  # of error codes that are not "400 Bad Request"
    "UnauthorizedOperation": "403 Forbidden",
    "AuthFailure": "401 Unauthorized",
    "InsufficientInstanceCapacity": "500 Internal Server Error",
    "InternalError": "500 Internal Server Error",
    "RequestLimitExceeded": "503 Service Unavailable",
    "Unavailable": "503 Service Unavailable",
}


@dataclass(frozen=True)
class Call:
    """One request. ``zone`` is where a launch is to be, if it says so."""

    action: str
    parameters: dict[str, str]
    zone: str = ""

    @property
    def instances(self) -> list[str]:
        return self.many("InstanceId")

    @property
    def type(self) -> str:
        return self.parameters.get("InstanceType", "")

    @property
    def spot(self) -> bool:
        return self.parameters.get("InstanceMarketOptions.MarketType") == "spot"

    @property
    def token(self) -> str:
        return self.parameters.get("ClientToken", "")

    def many(self, name: str) -> list[str]:
        """The values of a list: ``InstanceId.1``, ``InstanceId.2``, …"""
        numbered = re.compile(rf"{re.escape(name)}(\.\d+)?")
        return [value for key, value in self.parameters.items() if numbered.fullmatch(key)]


@dataclass(frozen=True)
class Answer:
    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def good(self) -> bool:
        return self.status.startswith("2")


def parsed(body: bytes) -> dict[str, str]:
    return dict(parse_qsl(body.decode(), keep_blank_values=True))


def xml(body: str, status: str = "200 OK") -> Answer:
    content = f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode()
    return of_bytes(content, status)


def of_bytes(content: bytes, status: str = "200 OK", kind: str = "text/xml") -> Answer:
    headers = [("Content-Type", f"{kind};charset=UTF-8"), ("Content-Length", str(len(content)))]
    return Answer(status, headers, content)


def response(action: str, inside: str) -> Answer:
    name = f"{action}Response"
    return xml(f'<{name} xmlns="{NAMESPACE}"><requestId>simulated</requestId>{inside}</{name}>')


def error(code: str, message: str) -> Answer:
    inside = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    status = STATUS.get(code, "400 Bad Request")
    told = f"<Response><Errors>{inside}</Errors><RequestID>simulated</RequestID></Response>"
    return xml(told, status)


def not_found(instances: Iterable[str]) -> Answer:
    ids = ", ".join(instances)
    return error("InvalidInstanceID.NotFound", f"The instance IDs '{ids}' do not exist")


def without(answer: Answer, hidden: Iterable[str]) -> Answer:
    """A DescribeInstances answer that leaves some instances out."""
    root, left_out = ET.fromstring(answer.body), set(hidden)
    for instances in root.iterfind(".//{*}instancesSet"):
        for item in list(instances):
            if item.findtext("{*}instanceId", "") in left_out:
                instances.remove(item)
    return of_bytes(ET.tostring(root, encoding="UTF-8", xml_declaration=True))


def launched(answer: Answer) -> list[str]:
    """Ids in a RunInstances answer."""
    found = ET.fromstring(answer.body).iterfind(".//{*}instanceId")
    return [element.text or "" for element in found]
