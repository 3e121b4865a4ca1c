"""What stands before moto, and makes of it an API that can be launched against: calls that are
idempotent, that fail, whose effect is seen late; prices; consoles."""

from __future__ import annotations

import base64
import io
import json
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from tests.cloud import calls
from tests.cloud.calls import Answer, Call
from tests.cloud.faults import Faults
from tests.cloud.fleet import Fleet
from tests.cloud.prices import Prices

StartResponse = Callable[..., Any]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]

MISMATCH = (
    "Arguments on this idempotent request are inconsistent with arguments used in previous "
    "request(s)."
)
PUBLIC_PARAMETERS = "/aws/service/"  # of SSM: moto has few of them, and none can be made


class Front:
    """A WSGI application around moto's. What is not EC2 goes through, but for what moto lacks."""

    def __init__(self, moto: Application, fleet: Fleet, faults: Faults, prices: Prices) -> None:
        self.calls: list[Call] = []
        self.image = ""  # id of the image that public parameters name
        self._moto = moto
        self._fleet = fleet
        self._faults = faults
        self._prices = prices
        self._launches: dict[str, tuple[dict[str, str], Answer]] = {}  # by ClientToken
        self._own: dict[str, Callable[[Call, dict[str, Any]], Answer]] = {
            "RunInstances": self._run,
            "TerminateInstances": self._terminate,
            "DescribeInstances": self._describe,
            "DescribeSpotPriceHistory": self._spot_prices,
            "GetConsoleOutput": self._console,
        }

    def __call__(self, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        kind, target = environ.get("CONTENT_TYPE", ""), environ.get("HTTP_X_AMZ_TARGET", "")
        if target in ("AmazonSSM.GetParameter", "AWSPriceListService.GetProducts"):
            return self._other(target, environ, start)
        if environ["REQUEST_METHOD"] != "POST" or "x-www-form-urlencoded" not in kind:
            return self._moto(environ, start)
        parameters = calls.parsed(_body_of(environ))
        action = parameters.get("Action", "")
        call = Call(action, parameters, self._fleet.zone_of(parameters))
        return self._answered(call, environ, start)

    def _answered(
        self, call: Call, environ: dict[str, Any], start: StartResponse
    ) -> Iterator[bytes]:
        """An iterator, so that what is after its one item happens once that was sent."""
        self.calls.append(call)
        self._faults.tell("called", call)
        fault = self._faults.take(call)
        answer = fault.refusal() if fault else None
        if answer is None:
            with self._fleet.moto:
                self._fleet.forget_old()
                answer = self._own.get(call.action, self._by_moto)(call, environ)
            self._faults.tell("executed", call)
        if fault is not None:
            time.sleep(fault.delay_s)
            if fault.cut:
                _hang_up(environ)
        start(answer.status, answer.headers)
        yield answer.body
        self._faults.tell("answered", call)

    def _by_moto(self, call: Call, environ: dict[str, Any]) -> Answer:
        told: list[Any] = []
        body = b"".join(self._moto(environ, lambda *line: told.append(line)))
        status, headers = told[0][:2]
        return Answer(status, headers, body)

    def _run(self, call: Call, environ: dict[str, Any]) -> Answer:
        before = self._launches.get(call.token)
        if call.token and before is not None:
            same = before[0] == call.parameters
            return before[1] if same else calls.error("IdempotentParameterMismatch", MISMATCH)
        answer = self._by_moto(call, environ)
        if answer.good:
            for instance in calls.launched(answer):
                self._fleet.launched(instance, call.token)
            if call.token:
                self._launches[call.token] = (call.parameters, answer)
        return answer

    def _terminate(self, call: Call, environ: dict[str, Any]) -> Answer:
        if hidden := self._fleet.hidden() & set(call.instances):
            return calls.not_found(hidden)
        with self._fleet.ending(call.instances):
            return self._by_moto(call, environ)

    def _describe(self, call: Call, environ: dict[str, Any]) -> Answer:
        hidden = self._fleet.hidden()
        if asked := hidden & set(call.instances):
            return calls.not_found(asked)
        answer = self._by_moto(call, environ)
        return calls.without(answer, hidden) if hidden and answer.good else answer

    def _spot_prices(self, call: Call, environ: dict[str, Any]) -> Answer:
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        items = [
            f"<item><instanceType>{type}</instanceType><productDescription>Linux/UNIX"
            f"</productDescription><spotPrice>{usd:.6f}</spotPrice><timestamp>{now}</timestamp>"
            f"<availabilityZone>{zone}</availabilityZone></item>"
            for type, zone, usd in self._prices.spot(call.many("InstanceType"))
        ]
        told = f"<spotPriceHistorySet>{''.join(items)}</spotPriceHistorySet>"
        return calls.response(call.action, told)

    def _console(self, call: Call, environ: dict[str, Any]) -> Answer:
        [instance] = call.instances
        text = base64.b64encode(self._fleet.console(instance)).decode()
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        told = f"<instanceId>{instance}</instanceId><timestamp>{now}</timestamp>"
        return calls.response(call.action, f"{told}<output>{text}</output>")

    def _other(self, target: str, environ: dict[str, Any], start: StartResponse) -> Iterable[bytes]:
        asked = json.loads(_body_of(environ))
        if target == "AWSPriceListService.GetProducts":
            told: dict[str, Any] = {"FormatVersion": "aws_v1", "PriceList": self._prices.products()}
        elif asked["Name"].startswith(PUBLIC_PARAMETERS):
            told = {"Parameter": {"Name": asked["Name"], "Type": "String", "Value": self.image}}
        else:
            return self._moto(environ, start)
        kind = "application/x-amz-json-1.1"
        answer = calls.of_bytes(json.dumps(told).encode(), kind=kind)
        start(answer.status, answer.headers)
        return [answer.body]


def _body_of(environ: dict[str, Any]) -> bytes:
    """The body, which can be read again."""
    body: bytes = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _hang_up(environ: dict[str, Any]) -> None:
    """The connection breaks; werkzeug takes it as the client's doing."""
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError
