"""``jupyter remote reap``: machines that nobody needs end, also where no backend is left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jupyter_remote.cli import main
from jupyter_remote.errors import UsageError
from jupyter_remote.providers.ec2.launching import client_token
from jupyter_remote.providers.ec2.provider import Ec2Provider
from jupyter_remote.providers.ec2.reaping import Reaper
from jupyter_remote.providers.identity import backend_id as made_id
from jupyter_remote.settings import Settings
from tests.providers.aws import NOTHING, Answers, page
from tests.providers.conftest import REGION
from tests.providers.test_ec2 import described, intent, stranger

DAY = 86_400.0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Path:
    """State of a backend that is gone, and the settings of its user."""
    home = tmp_path / "state"
    values = {
        "home": str(home),
        "runtime": str(tmp_path),
        "ec2_region": REGION,
        "ec2_endpoint": settings.ec2_endpoint,
    }
    for name, value in values.items():
        monkeypatch.setenv(f"JUPYTER_REMOTE_{name.upper()}", value)
    return home


@pytest.fixture
async def mine(home: Path, settings: Settings) -> AsyncIterator[Ec2Provider]:
    provider = Ec2Provider(settings, made_id(home))
    yield provider
    await provider.close()


async def command(*options: str) -> int:
    return await asyncio.to_thread(main, ["reap", *options])


async def reap(capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, dict[str, Any]]:
    status = await command("--json", *options)
    return status, json.loads(capsys.readouterr().out)


def state(ec2: Any, id: str) -> str:
    name: str = described(ec2, id)["State"]["Name"]
    return name


async def test_machines_are_shown_and_kept_as_long_as_they_may_live(
    mine: Ec2Provider, ec2: Any, capsys: pytest.CaptureFixture[str]
):
    started = await mine.launch(intent())
    status, told = await reap(capsys, "--cloud")
    (machine,) = told["machines"]
    assert (status, machine["provider_id"], machine["due"], machine["ended"]) == (
        *(0, started.provider_id),
        *(False, False),
    )
    assert (machine["machine"], machine["spot"]) == ("g5.xlarge", False)
    assert machine["until"] - machine["since"] == DAY
    assert state(ec2, started.provider_id) == "running"


async def test_all_end_at_once_when_it_is_asked(
    mine: Ec2Provider, ec2: Any, capsys: pytest.CaptureFixture[str]
):
    started = [(await mine.launch(intent(spot=spot))).provider_id for spot in (True, False)]
    status, told = await reap(capsys, "--cloud", "--now")
    assert status == 0
    assert {m["provider_id"] for m in told["machines"] if m["ended"]} == set(started)
    assert {state(ec2, id) for id in started} == {"terminated"}
    assert (await reap(capsys, "--cloud", "--now"))[1]["machines"] == []


async def test_people_see_what_is_there_and_what_became_of_it(
    mine: Ec2Provider, capsys: pytest.CaptureFixture[str]
):
    started = await mine.launch(intent())
    assert await command("--cloud", "--now") == 0
    first, count, workers = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{started.provider_id}  g5.xlarge on demand  us-east-1")
    assert first.endswith("old, of at most 24 h  to be ended")
    assert count == "1 machines were there, 1 ended"
    assert workers == "0 workers ended"


async def test_a_setting_turns_it_on_and_without_it_nobody_is_asked(
    mine: Ec2Provider, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    assert "machines" not in (await reap(capsys))[1]
    monkeypatch.setenv("JUPYTER_REMOTE_PROVIDERS", "other, ec2")
    assert (await reap(capsys))[1]["machines"] == []


async def test_where_no_backend_was_there_are_no_machines(
    home: Path, capsys: pytest.CaptureFixture[str]
):
    assert (await reap(capsys, "--cloud", "--now"))[1]["machines"] == []
    assert not list(home.glob("backend_id"))
    assert await command("--cloud") == 0
    assert f"no backend on {home} had machines elsewhere" in capsys.readouterr().out


async def test_a_backend_whose_home_is_lost_is_named_by_its_tag(
    provider: Ec2Provider,
    backend_id: str,
    home: Path,
    ec2: Any,
    capsys: pytest.CaptureFixture[str],
):
    started = await provider.launch(intent())
    status, told = await reap(capsys, "--backend", backend_id, "--now")
    assert (status, told["machines"][0]["ended"]) == (0, True)
    assert state(ec2, started.provider_id) == "terminated"


async def test_foreign_machines_with_our_tags_are_not_touched(
    mine: Ec2Provider, home: Path, ec2: Any, ami: str, capsys: pytest.CaptureFixture[str]
):
    own = made_id(home)
    copy = stranger(ec2, ami, own, "ec2-copy")
    odd = stranger(ec2, ami, own, "not an id", client_token(own, "not an id"))
    other = stranger(ec2, ami, "f" * 16, "ec2-a", client_token("f" * 16, "ec2-a"))
    assert (await reap(capsys, "--cloud", "--now"))[1]["machines"] == []
    await reap(capsys, "--all-backends")
    assert {state(ec2, id) for id in (copy, odd, other)} == {"running"}


async def test_overdue_ones_of_every_backend_end_and_no_others(
    settings: Settings, ec2: Any, ami: str, monkeypatch: pytest.MonkeyPatch
):
    short = Ec2Provider(msgspec.structs.replace(settings, machine_longest_s=60.0), "a" * 16)
    long = Ec2Provider(msgspec.structs.replace(settings, machine_longest_s=9e9), "c" * 16)
    due, kept = [await p.launch(intent()) for p in (short, long)]
    copy = stranger(ec2, ami, "a" * 16, "ec2-copy")
    later = described(ec2, due.provider_id)["LaunchTime"].timestamp() + 61.0
    reaper = Reaper(settings, everybody=True, clock=lambda: later)
    found = reaper.end(reaper.found())
    ended = {left.provider_id: left.ended for left in found}
    assert ended[due.provider_id] is True
    assert ended[kept.provider_id] is False
    assert copy not in ended
    assert (state(ec2, due.provider_id), state(ec2, kept.provider_id)) == ("terminated", "running")
    await short.close()
    await long.close()


def test_machines_of_others_are_never_ended_at_once():
    with pytest.raises(UsageError, match="only when they are overdue"):
        Reaper(Settings(), everybody=True, now=True)


async def test_one_that_aws_does_not_find_is_asked_for_until_it_is_said_to_be_terminated(
    mine: Ec2Provider, home: Path, settings: Settings, ec2: Any
):
    started = await mine.launch(intent())
    reaper = Reaper(settings, backend_id=made_id(home), now=True, sleep=lambda _: lie.is_itself())
    lie = Answers(reaper._clients, "ec2", "TerminateInstances")
    lie.is_error("InvalidInstanceID.NotFound")
    (left,) = reaper.end(reaper.found())
    assert left.ended
    assert len(lie.asked) == 3  # at first, at the first look, and when the lie was over
    assert state(ec2, started.provider_id) == "terminated"
    Answers.undo_all()
    reaper.close()


async def test_one_that_is_not_shown_is_not_said_to_have_ended(
    mine: Ec2Provider, home: Path, settings: Settings
):
    await mine.launch(intent())
    time = iter(range(0, 10_000, 100))
    reaper = Reaper(
        settings,
        backend_id=made_id(home),
        now=True,
        clock=lambda: float(next(time)),
        sleep=lambda _: None,
    )
    found = reaper.found()
    looks = Answers(reaper._clients, "ec2", "DescribeInstances")
    looks.is_text(NOTHING)
    (left,) = reaper.end(found, wait_s=600.0)
    assert (left.due, left.ended) == (True, False)
    assert len(looks.asked) >= 5
    Answers.undo_all()
    reaper.close()


async def test_one_that_is_ending_is_waited_for_and_not_asked_again(
    settings: Settings, backend_id: str, aws: str
):
    slept: list[float] = []
    reaper = Reaper(settings, backend_id=backend_id, now=True, sleep=slept.append)
    ending = [page(backend_id, "a", state) for state in ("shutting-down", "shutting-down")]
    looks = Answers(reaper._clients, "ec2", "DescribeInstances")
    looks.is_text(page(backend_id, "a"), *ending, page(backend_id, "a", "terminated"))
    ends = Answers(reaper._clients, "ec2", "TerminateInstances")
    ends.is_text('<TerminateInstancesResponse xmlns="x"/>')
    (left,) = reaper.end(reaper.found())
    assert (left.due, left.ended, left.provider_id) == (True, True, "i-a")
    assert len(slept) == 2
    assert [asked["InstanceIds"] for asked in ends.asked] == [["i-a"]]
    Answers.undo_all()
    reaper.close()


async def test_what_is_not_gone_in_time_is_a_failure(
    mine: Ec2Provider, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    await mine.launch(intent())
    monkeypatch.setattr(
        "jupyter_remote.providers.ec2.instances.terminate", lambda clients, id: None
    )
    status = await command("--cloud", "--now", "--wait", "0")
    assert status == 1
    assert "is not said to be terminated yet" in capsys.readouterr().out


async def test_what_aws_refuses_is_told_with_the_next_step(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    made_id(home)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert await command("--cloud") == 1
    assert "No credentials for AWS were found.\n`aws configure`" in capsys.readouterr().err
    status, told = await reap(capsys, "--cloud")
    assert (status, told["code"]) == (1, "launch_refused")


async def test_an_aws_that_does_not_answer_is_told(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    made_id(home)
    monkeypatch.setenv("JUPYTER_REMOTE_EC2_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("jupyter_remote.providers.ec2.client.ATTEMPTS", 1)
    assert await command("--cloud") == 1
    assert "did not answer" in capsys.readouterr().err
