"""Notices that a machine is about to be taken away: EC2's, of spot machines, through IMDSv2."""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from jupyter_remote.clock import Clock

EVERY_S = 5.0
ENDPOINT = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
DEFAULT_ENDPOINT = "http://169.254.169.254"
LIMIT_S = 2.0  # for one answer: it is on this machine, or it is not there
TOKEN_LIFE_S = 21_600
ACTION = "/latest/meta-data/spot/instance-action"
REBALANCE = "/latest/meta-data/events/recommendations/rebalance"
LONGEST_S = 120.0  # a notice comes two minutes ahead, whatever this machine's clock says
LEAST_S = 1.0

Told = Callable[[float], None]
"""Called once, with the seconds that are left."""

log = logging.getLogger(__name__)


class _Action(msgspec.Struct):
    action: Literal["terminate", "stop", "hibernate"]
    time: str = ""  # "2017-09-18T08:22:00Z"


class Notices:
    """Asks the machine's metadata service now and then; one that does not answer costs nothing."""

    def __init__(self, clock: Clock, told: Told, every_s: float = EVERY_S) -> None:
        self._clock = clock
        self._told = told
        self._every_s = every_s
        self._endpoint = os.environ.get(ENDPOINT) or DEFAULT_ENDPOINT
        self._token = ""
        self._at_risk = False

    async def run(self) -> None:
        """Until there is one."""
        while (left_s := await asyncio.to_thread(self._look)) is None:
            await asyncio.sleep(self._every_s)
        self._told(left_s)

    def _look(self) -> float | None:
        """Seconds until the machine is taken away; None: nothing is known of that."""
        try:
            if (body := self._get(ACTION)) is not None:
                return self._left_s(body)
            if not self._at_risk and self._get(REBALANCE) is not None:
                self._at_risk = True
                log.info("EC2 recommends another machine: this one may be taken away soon")
        except (OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
            log.debug("the metadata service did not answer: %r", error)
        return None

    def _left_s(self, body: bytes) -> float:
        action = msgspec.json.decode(body, type=_Action)
        log.warning("spot notice: %s at %s", action.action, action.time)
        try:
            at = datetime.fromisoformat(action.time.replace("Z", "+00:00"))
        except ValueError:
            return LONGEST_S
        left_s = at.replace(tzinfo=at.tzinfo or UTC).timestamp() - self._clock.now()
        return min(LONGEST_S, max(LEAST_S, left_s))

    def _get(self, path: str) -> bytes | None:
        """None: it is not there. Raises OSError, HTTPException."""
        status, body = self._ask("GET", path)
        if status == 401:  # no token yet, or it has expired
            _, token = self._ask("PUT", "/latest/api/token")
            self._token = token.decode("ascii", "replace").strip()
            status, body = self._ask("GET", path)
        return body if status == 200 else None

    def _ask(self, method: str, path: str) -> tuple[int, bytes]:
        parts = urlsplit(self._endpoint)
        headers = (
            {"X-aws-ec2-metadata-token": self._token}
            if method == "GET"
            else {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_LIFE_S)}
        )
        connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port or 80, timeout=LIMIT_S
        )
        try:
            connection.request(method, path, headers=headers)
            reply = connection.getresponse()
            return reply.status, reply.read(1 << 16)
        finally:
            connection.close()
