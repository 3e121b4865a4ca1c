"""The one way to AWS: clients of boto3 from the settings, and its errors in our words."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from jupyter_remote.errors import LaunchRefused
from jupyter_remote.providers.ec2.refusals import About, told
from jupyter_remote.settings import Settings

CONNECT_S = 5.0
READ_S = 20.0
ATTEMPTS = 3  # of one call, with growing waits between them; the scheduler has its own pace beyond


class Clients:
    """Clients of one account, made when first used. Calls may come from any thread.

    Credentials, profile and region are found as boto3 finds them, where no setting names them.
    Every call raises LaunchRefused, or OSError where nobody knows what became of it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._session: Any = None
        self._made: dict[tuple[str, str], Any] = {}

    @property
    def region(self) -> str:
        with self._lock:
            name: str | None = self._opened().region_name
        if not name:
            raise LaunchRefused(
                "No region of AWS is set.",
                hint="Set JUPYTER_REMOTE_EC2_REGION, for example to us-east-1, or AWS_REGION.",
                kind="setting",
            )
        return name

    def call(
        self, service: str, operation: str, about: About | None = None, **parameters: Any
    ) -> dict[str, Any]:
        region = self.region
        with self._asking((about or About()).at(region)):
            client = self._client(service, region)
            answer: dict[str, Any] = getattr(client, operation)(**parameters)
        return answer

    def pages(
        self, service: str, operation: str, items: str, *, region: str = "", **parameters: Any
    ) -> list[Any]:
        """The ``items`` of all pages; of another region for what few regions have."""
        region = region or self.region
        with self._asking(About(region=region)):
            pages = self._client(service, region).get_paginator(operation).paginate(**parameters)
            return [item for page in pages for item in page.get(items, ())]

    def close(self) -> None:
        with self._lock:
            made, self._made, self._session = self._made, {}, None
        for client in made.values():
            client.close()

    @contextlib.contextmanager
    def _asking(self, about: About) -> Iterator[None]:
        try:
            with in_our_words(about):
                yield
        except LaunchRefused as refusal:
            if refusal.kind == "credentials":  # clients keep theirs; who signs in needs no restart
                with self._lock:
                    self._made, self._session = {}, None
            raise

    def _opened(self) -> Any:
        if self._session is None:
            settings = self._settings
            with in_our_words(About()):
                import boto3

                self._session = boto3.Session(
                    profile_name=settings.ec2_profile or None,
                    region_name=settings.ec2_region or None,
                )
        return self._session

    def _client(self, service: str, region: str) -> Any:
        with self._lock:
            client = self._made.get((service, region))
            if client is None:
                client = self._made[service, region] = self._new(service, region)
            return client

    def _new(self, service: str, region: str) -> Any:
        from botocore.config import Config

        return self._opened().client(
            service,
            region_name=region,
            endpoint_url=self._settings.ec2_endpoint or None,
            config=Config(
                connect_timeout=CONNECT_S,
                read_timeout=READ_S,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                user_agent_extra="jupyter-remote",
            ),
        )


@contextlib.contextmanager
def in_our_words(about: About) -> Iterator[None]:
    """Within it, errors of boto3 become ours."""
    try:
        yield
    except LaunchRefused:
        raise
    except Exception as error:
        ours = told(error, about)
        if ours is None:
            raise
        raise ours from error
