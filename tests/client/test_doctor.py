"""What the doctor says of providers of machines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from jupyter_remote.client.doctor import Finding, examine
from jupyter_remote.errors import LaunchRefused
from jupyter_remote.settings import Settings
from tests.scheduler.cloud import FakeCloud
from tests.server.conftest import Running

HINT = "`aws configure` makes some."


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud()


@pytest.fixture
def server(tmp_path: Path, cloud: FakeCloud) -> Iterator[Running]:
    cloud.broken = LaunchRefused("No credentials for AWS were found.", hint=HINT)
    running = Running(tmp_path, elsewhere={"fake": cloud})
    yield running
    running.stop()


def told(settings: Settings) -> list[Finding]:
    return [f for f in examine(settings) if "the provider" in f.text or f.text.startswith("fake")]


def test_why_a_provider_does_not_answer_and_what_to_do(server: Running) -> None:
    [found] = told(server.settings)
    assert found == Finding("error", "fake: No credentials for AWS were found.", HINT)


def test_what_a_provider_has(tmp_path: Path, cloud: FakeCloud) -> None:
    running = Running(tmp_path, elsewhere={"fake": cloud})
    elsewhere = Settings(url=running.url, token=running.token)
    for settings in (running.settings, elsewhere):
        assert told(settings) == [Finding("ok", "fake has 3 types of machines to rent.")]
    running.stop()


def test_a_backend_that_was_started_before_the_setting(tmp_path: Path) -> None:
    running = Running(tmp_path)
    [found] = told(msgspec.structs.replace(running.settings, providers="ec2"))
    assert (found.level, "without the provider ec2" in found.text) == ("warn", True)
    assert "jupyter remote stop" in found.step
    running.stop()


def test_what_the_first_job_will_start(tmp_path: Path) -> None:
    settings = Settings(home=str(tmp_path), runtime=str(tmp_path / "run"), providers="ec2")
    assert "starts one, which rents from ec2." in examine(settings)[-1].text
