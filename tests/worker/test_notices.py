"""Notices of a machine that is taken away, from a metadata service on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from jupyter_remote.clock import FakeClock, SystemClock
from jupyter_remote.worker.notices import ENDPOINT, LEAST_S, LONGEST_S, Notices
from tests.worker.metadata import ACTION, REBALANCE, Metadata, metadata

LIMIT_S = 60.0


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Metadata]:
    with metadata() as running:
        monkeypatch.setenv(ENDPOINT, running.url)
        monkeypatch.setattr("jupyter_remote.worker.notices.LIMIT_S", LIMIT_S)
        yield running


async def told(service: Metadata, at: int, change: Callable[[], None]) -> float:
    """What is told; ``change`` is made when the service was asked so often."""
    heard: list[float] = []
    clock = FakeClock()
    service.now = clock.now
    run = asyncio.create_task(Notices(clock, heard.append, 0.01).run())
    async with asyncio.timeout(LIMIT_S):
        while len(service.asked) < at and not run.done():
            await asyncio.sleep(0.005)
        change()
        await run
    (left_s,) = heard
    return left_s


async def test_a_notice_is_told_once_with_the_time_that_is_left(service: Metadata) -> None:
    assert await told(service, 8, lambda: service.notice(90)) == 90
    assert service.tokens == 1


async def test_a_token_that_has_expired_is_renewed(
    service: Metadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change() -> None:
        monkeypatch.setattr("tests.worker.metadata.TOKEN", "another")
        service.notice(60)

    assert await told(service, 6, change) == 60
    assert service.tokens == 2


@pytest.mark.parametrize(("in_s", "least", "most"), [(-500, LEAST_S, LEAST_S), (9e6, 120, 120)])
async def test_a_clock_that_is_wrong_makes_no_notice_longer_than_they_are(
    service: Metadata, in_s: float, least: float, most: float
) -> None:
    assert least <= await told(service, 0, lambda: service.notice(in_s)) <= most


async def test_a_notice_without_a_time_that_can_be_read_is_one(service: Metadata) -> None:
    service.documents[ACTION] = '{"action": "stop", "time": "soon"}'
    assert await told(service, 0, lambda: None) == LONGEST_S


@pytest.mark.parametrize("text", ["<html>", '{"action": "dance"}', "[]", ""])
async def test_what_is_no_notice_is_passed_over(service: Metadata, text: str) -> None:
    service.documents[ACTION] = text
    assert await told(service, 6, lambda: service.notice(60)) == 60


async def test_a_recommendation_is_a_hint_in_the_log_alone(
    service: Metadata, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    service.documents[REBALANCE] = '{"noticeTime": "2026-01-01T00:00:00Z"}'
    await told(service, 10, lambda: service.notice(60))
    assert caplog.text.count("recommends another machine") == 1


async def test_a_service_that_is_not_there_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    looks = Notices(SystemClock(), lambda left_s: None, 0.01)
    run = asyncio.create_task(looks.run())
    with metadata() as service:
        service.notice(60)
        await asyncio.sleep(0)
        looks._endpoint = service.url
        async with asyncio.timeout(LIMIT_S):
            await run
