"""The proxy between machines and their server: each thing that it does to a connection."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.cloud.asking import served
from tests.cloud.proxy import Proxy

WORD = b"word"


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with served(tmp_path) as port, closing(Proxy(port)) as proxy:
        yield proxy


def get(proxy: Proxy, limit_s: float = 60.0) -> bytes:
    connection = http.client.HTTPConnection(proxy.host, proxy.port, timeout=limit_s)
    with closing(connection):
        connection.request("GET", "/word")
        return connection.getresponse().read()


def test_what_is_asked_is_answered(proxy):
    assert get(proxy) == WORD
    assert proxy.connections == 1


def test_each_piece_can_be_late(proxy):
    proxy.delay_s = 0.2
    began = time.monotonic()
    assert get(proxy) == WORD
    assert time.monotonic() - began >= 0.4  # there and back


def test_a_connection_can_end_after_so_many_bytes(proxy):
    proxy.cut_after_bytes = 20
    assert get(proxy) == b""  # within the headers
    proxy.cut_after_bytes = None
    assert get(proxy) == WORD


def test_an_answer_can_be_lost_once(proxy):
    proxy.swallow("GET /word")
    with pytest.raises((http.client.HTTPException, OSError)):
        get(proxy)
    assert get(proxy) == WORD


def test_other_requests_are_answered_though_one_is_to_be_lost(proxy):
    swallow = proxy.swallow("POST")
    assert get(proxy) == WORD
    assert swallow.times == 1


def test_a_partition_lets_nothing_through_until_it_is_healed(proxy):
    proxy.partition()
    with pytest.raises(TimeoutError):
        get(proxy, limit_s=0.3)
    proxy.heal()
    assert get(proxy) == WORD


def test_a_server_that_is_away_refuses_through_the_proxy(tmp_path):
    with served(tmp_path) as port:
        proxy = Proxy(port)
    with closing(proxy), pytest.raises((http.client.HTTPException, OSError)):
        get(proxy)
