"""EC2 as a provider: real boto3 against moto. What moto does not do (idempotent tokens, errors,
spot prices that differ) is answered in its place, see :mod:`tests.providers.aws`."""

from __future__ import annotations

import base64
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ReadTimeoutError

from jupyter_remote.errors import LaunchRefused
from jupyter_remote.model import InstanceState
from jupyter_remote.providers.base import Launch
from jupyter_remote.providers.ec2.describing import seen_of
from jupyter_remote.providers.ec2.launching import (
    BACKEND,
    INSTANCE,
    Image,
    Place,
    client_token,
    parameters,
)
from jupyter_remote.providers.ec2.provider import Ec2Provider
from jupyter_remote.settings import Settings
from tests.conformance.provider import ProviderConformance, seen
from tests.providers.aws import NOTHING, Answers, page
from tests.providers.conftest import REGION

SCRIPT = "#!/bin/sh\necho 'ümlaut' > /dev/null\n"


def intent(**fields: Any) -> Launch:
    values = {
        "id": f"ec2-{uuid.uuid4().hex[:12]}",
        "machine": "g5.xlarge.od",
        "server_url": "https://backend",
        "enrolment_token": "jr_e_secret",
        "user_data": SCRIPT,
    }
    return Launch(**(values | fields))


@pytest.fixture
def launch() -> Launch:
    return intent()


class TestEc2(ProviderConformance):
    """The conformance suite; ``provider`` is of ``conftest``."""

    @pytest.fixture
    def launch(self) -> Launch:
        return intent()

    @pytest.fixture
    async def restarted(self, settings: Settings, backend_id: str) -> AsyncIterator[Ec2Provider]:
        provider = Ec2Provider(settings, backend_id)
        yield provider
        await provider.close()


def described(ec2: Any, id: str) -> dict[str, Any]:
    (reservation,) = ec2.describe_instances(InstanceIds=[id])["Reservations"]
    found: dict[str, Any] = reservation["Instances"][0]
    return found


def running(ec2: Any, backend_id: str) -> list[str]:
    found = ec2.describe_instances(
        Filters=[
            {"Name": f"tag:{BACKEND}", "Values": [backend_id]},
            {"Name": "instance-state-name", "Values": ["pending", "running"]},
        ]
    )
    return ids_in(found)


def ids_in(answer: Any) -> list[str]:
    return [i["InstanceId"] for r in answer["Reservations"] for i in r["Instances"]]


def stranger(ec2: Any, ami: str, backend_id: str, id: str, token: str = "") -> str:
    """A machine that somebody else launched, with tags as ours have them."""
    tags = [{"Key": BACKEND, "Value": backend_id}, {"Key": INSTANCE, "Value": id}]
    started = ec2.run_instances(
        ImageId=ami,
        InstanceType="g5.xlarge",
        MinCount=1,
        MaxCount=1,
        ClientToken=token or uuid.uuid4().hex,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    name: str = started["Instances"][0]["InstanceId"]
    return name


# -- what is launched
async def test_a_machine_ends_when_it_shuts_down_and_tells_nobody_its_secrets(
    provider: Ec2Provider, ec2: Any, launch: Launch
):
    started = await provider.launch(launch)
    machine = described(ec2, started.provider_id)
    assert machine["InstanceType"] == "g5.xlarge"
    assert "KeyName" not in machine
    assert "IamInstanceProfile" not in machine
    options = machine["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 1)
    shutdown = ec2.describe_instance_attribute(
        InstanceId=started.provider_id, Attribute="instanceInitiatedShutdownBehavior"
    )
    assert shutdown["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"


async def test_its_disk_is_encrypted_of_the_set_size_and_goes_with_it(
    settings: Settings, backend_id: str, ec2: Any, launch: Launch
):
    settings = msgspec.structs.replace(settings, ec2_disk_gib=77)
    provider = Ec2Provider(settings, backend_id)
    started = await provider.launch(launch)
    await provider.close()
    (mapping,) = described(ec2, started.provider_id)["BlockDeviceMappings"]
    assert mapping["Ebs"]["DeleteOnTermination"] is True
    (volume,) = ec2.describe_volumes(VolumeIds=[mapping["Ebs"]["VolumeId"]])["Volumes"]
    assert (volume["VolumeType"], volume["Size"], volume["Encrypted"]) == ("gp3", 77, True)


def test_a_disk_is_never_smaller_than_its_image(settings: Settings, launch: Launch):
    asked = parameters(
        launch,
        backend_id="b",
        image=Image("ami-1", "/dev/sda1", 200),
        place=Place(),
        settings=msgspec.structs.replace(settings, ec2_disk_gib=20),
    )
    assert asked["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 200


async def test_machine_and_disk_are_tagged_by_the_call_that_makes_them(
    provider: Ec2Provider, backend_id: str, ec2: Any, launch: Launch
):
    tagging = Answers(provider._clients, "ec2", "CreateTags")
    started = await provider.launch(launch)
    machine = described(ec2, started.provider_id)
    disk = machine["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    (volume,) = ec2.describe_volumes(VolumeIds=[disk])["Volumes"]
    for thing in (machine, volume):
        tags = {tag["Key"]: tag["Value"] for tag in thing["Tags"]}
        assert (tags[BACKEND], tags[INSTANCE]) == (backend_id, launch.id)
        assert tags["jupyter-remote:longest-s"] == "86400"
    assert tagging.asked == []


async def test_the_bootstrap_script_arrives_as_it_is(
    provider: Ec2Provider, ec2: Any, launch: Launch
):
    started = await provider.launch(launch)
    data = ec2.describe_instance_attribute(InstanceId=started.provider_id, Attribute="userData")
    assert base64.b64decode(data["UserData"]["Value"]).decode() == SCRIPT


async def test_a_script_that_is_too_long_is_refused_before_anything_is_launched(
    provider: Ec2Provider, backend_id: str, ec2: Any
):
    with pytest.raises(LaunchRefused, match="16385 bytes; EC2 takes 16384") as refused:
        await provider.launch(intent(user_data="x" * (16 * 1024 + 1)))
    assert refused.value.kind == "setting"
    assert running(ec2, backend_id) == []
    assert (await provider.launch(intent(user_data="x" * 16 * 1024))).provider_id


async def test_a_spot_machine_is_asked_for_once_and_without_a_highest_price(
    provider: Ec2Provider, ec2: Any
):
    answers = Answers(provider._clients, "ec2", "RunInstances")
    started = await provider.launch(intent(machine="g5.xlarge", spot=True))
    machine = described(ec2, started.provider_id)
    assert (machine["InstanceType"], machine["InstanceLifecycle"]) == ("g5.xlarge", "spot")
    assert answers.asked[0]["InstanceMarketOptions"] == {
        "MarketType": "spot",
        "SpotOptions": {
            "SpotInstanceType": "one-time",
            "InstanceInterruptionBehavior": "terminate",
        },
    }


async def test_what_falls_back_from_spot_is_on_demand(provider: Ec2Provider, ec2: Any):
    started = await provider.launch(intent(machine="g5.xlarge", spot=False))
    assert described(ec2, started.provider_id).get("InstanceLifecycle") != "spot"


async def test_a_machine_is_launched_in_its_zone(provider: Ec2Provider, ec2: Any):
    started = await provider.launch(intent(zone="us-east-1c"))
    assert started.zone == "us-east-1c"
    assert described(ec2, started.provider_id)["Placement"]["AvailabilityZone"] == "us-east-1c"


async def test_the_subnet_of_the_zone_is_taken_where_subnets_are_set(
    settings: Settings, backend_id: str, ec2: Any
):
    subnets = {s["AvailabilityZone"]: s["SubnetId"] for s in ec2.describe_subnets()["Subnets"]}
    chosen = [subnets["us-east-1b"], subnets["us-east-1a"]]
    provider = Ec2Provider(
        msgspec.structs.replace(settings, ec2_subnets=", ".join(chosen)), backend_id
    )
    there = await provider.launch(intent(zone="us-east-1a"))
    anywhere = await provider.launch(intent())
    assert described(ec2, there.provider_id)["SubnetId"] == subnets["us-east-1a"]
    assert described(ec2, anywhere.provider_id)["SubnetId"] == subnets["us-east-1b"]
    assert provider.zones("g5.xlarge.od") == ["us-east-1a", "us-east-1b"]
    with pytest.raises(LaunchRefused, match=r"No subnet .* is in us-east-1d") as refused:
        await provider.launch(intent(zone="us-east-1d"))
    assert "us-east-1b, us-east-1a" in refused.value.hint
    await provider.close()


async def test_groups_and_an_instance_profile_are_those_of_the_settings(
    settings: Settings, backend_id: str, ec2: Any, launch: Launch
):
    group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    asked = parameters(
        launch,
        backend_id=backend_id,
        image=Image("ami-1", "/dev/sda1", 8),
        place=Place(),
        settings=msgspec.structs.replace(
            settings, ec2_security_groups=f" {group}, ", ec2_instance_profile="reader"
        ),
    )
    assert asked["SecurityGroupIds"] == [group]
    assert asked["IamInstanceProfile"] == {"Name": "reader"}


@pytest.mark.parametrize("prefix", ["", "resolve:ssm:"])
async def test_an_image_may_be_named_by_a_parameter(
    settings: Settings, backend_id: str, ec2: Any, ami: str, image_path: str, prefix: str
):
    settings = msgspec.structs.replace(settings, ec2_image=prefix + image_path)
    provider = Ec2Provider(settings, backend_id)
    started = await provider.launch(intent())
    await provider.close()
    assert described(ec2, started.provider_id)["ImageId"] == ami


# -- once
async def test_a_launch_whose_reply_was_lost_is_the_same_machine_when_tried_again(
    provider: Ec2Provider, backend_id: str, ec2: Any, launch: Launch
):
    Answers(provider._clients, "ec2", "RunInstances").is_lost(ReadTimeoutError(endpoint_url="u"))
    with pytest.raises(OSError, match="did not answer"):
        await provider.launch(launch)
    (alive,) = running(ec2, backend_id)
    assert (await provider.launch(launch)).provider_id == alive
    assert running(ec2, backend_id) == [alive]


async def test_a_machine_that_is_not_seen_yet_is_asked_for_with_the_same_token(
    provider: Ec2Provider, launch: Launch
):
    Answers(provider._clients, "ec2", "DescribeInstances").is_text(NOTHING)
    asked = Answers(provider._clients, "ec2", "RunInstances").asked
    await provider.launch(launch)
    await provider.launch(launch)
    first, second = asked
    assert first == second
    assert len(first["ClientToken"]) == 64


async def test_a_token_that_was_used_with_another_script_gives_the_machine_of_then(
    provider: Ec2Provider, backend_id: str, ec2: Any, ami: str, launch: Launch
):
    """A backend that is started again may write another script for its intent."""
    token = client_token(backend_id, launch.id)
    alive = stranger(ec2, ami, backend_id, launch.id, token)
    looks = Answers(provider._clients, "ec2", "DescribeInstances")
    looks.is_text(NOTHING)
    answers = Answers(provider._clients, "ec2", "RunInstances")
    answers.is_error("IdempotentParameterMismatch")
    with pytest.raises(OSError, match="asked for before"):
        await provider.launch(launch)
    answers.on("before-send", lambda **_: looks.is_itself())
    assert (await provider.launch(launch)).provider_id == alive


def test_tokens_differ_by_backend_and_intent():
    tokens = {client_token(b, i) for b in ("a", "b") for i in ("1", "2")}
    assert len(tokens) == 4
    assert client_token("a", "1") in tokens


async def test_an_id_that_cannot_be_ours_is_not_launched(provider: Ec2Provider):
    with pytest.raises(ValueError, match="not the id of an instance"):
        await provider.launch(intent(id="*"))


# -- what is seen
@pytest.mark.parametrize(
    ("state", "code", "expected", "detail", "interrupted"),
    [
        ("pending", "pending", InstanceState.PENDING, "", False),
        ("running", "", InstanceState.READY, "", False),
        (
            *("terminated", "Server.SpotInstanceTermination", InstanceState.TERMINATED),
            *("AWS took the spot machine back", True),
        ),
        (
            *("shutting-down", "Client.InstanceInitiatedShutdown", InstanceState.TERMINATING),
            *("it ended itself", False),
        ),
        (
            *("terminated", "Server.InternalError", InstanceState.TERMINATED),
            *("AWS failed while it started", False),
        ),
        ("terminated", "Server.New", InstanceState.TERMINATED, "it says why", False),
        (
            *("stopped", "Client.UserInitiatedShutdown", InstanceState.READY),
            *("somebody stopped it; its disk is still paid", False),
        ),
    ],
)
def test_states_and_reasons_are_told_in_words(
    state: str, code: str, expected: InstanceState, detail: str, interrupted: bool
):
    instance = {
        "InstanceId": "i-1",
        "State": {"Name": state},
        "StateReason": {"Code": code, "Message": f"{code}: it says why"},
        "Placement": {"AvailabilityZone": "us-east-1a"},
    }
    found = seen_of(instance, "a")
    assert (found.state, found.detail, found.interrupted) == (expected, detail, interrupted)
    assert (found.id, found.provider_id, found.zone) == ("a", "i-1", "us-east-1a")


async def test_one_call_describes_many_machines(provider: Ec2Provider, backend_id: str):
    launches = [intent() for _ in range(3)]
    for one in launches:
        await provider.launch(one)
    looks = Answers(provider._clients, "ec2", "DescribeInstances")
    found = await provider.describe([one.id for one in launches])
    assert {s.id for s in found} == {one.id for one in launches}
    assert len(looks.asked) == 1


async def test_more_machines_than_a_filter_takes_are_described(
    provider: Ec2Provider, launch: Launch
):
    await provider.launch(launch)
    ids = [f"z{number}" for number in range(450)] + [launch.id]
    assert [s.id for s in await provider.describe(ids)] == [launch.id]


async def test_machines_on_later_pages_are_described(provider: Ec2Provider, backend_id: str):
    looks = Answers(provider._clients, "ec2", "DescribeInstances")
    looks.is_text(page(backend_id, "a", more="more"), page(backend_id, "b"))
    assert [s.provider_id for s in await provider.describe(["a", "b"])] == ["i-a", "i-b"]
    assert looks.asked[1]["NextToken"] == "more"


async def test_machines_that_ended_are_not_read_with_those_that_are_there(
    provider: Ec2Provider,
):
    launches = [intent() for _ in range(3)]
    for one in launches:
        await provider.launch(one)
    for one in launches[:2]:
        await provider.terminate(one.id)
        await seen(provider, one.id, InstanceState.TERMINATED)
    read: list[str] = []
    looks = Answers(provider._clients, "ec2", "DescribeInstances")
    looks.on("after-call", lambda parsed, **_: read.extend(ids_in(parsed)))
    [there] = await provider.listed()
    assert there.id == launches[2].id
    assert read == [there.provider_id]


async def test_a_twin_is_shown_once_alive_and_ended_with_the_other(
    provider: Ec2Provider, backend_id: str, ec2: Any, ami: str, launch: Launch
):
    token = client_token(backend_id, launch.id)
    first, second = (stranger(ec2, ami, backend_id, launch.id, token) for _ in range(2))
    ec2.terminate_instances(InstanceIds=[first])
    (shown,) = await provider.describe([launch.id])
    assert (shown.provider_id, shown.state) == (second, InstanceState.READY)
    third = stranger(ec2, ami, backend_id, launch.id, token)
    await provider.terminate(launch.id)
    assert running(ec2, backend_id) == []
    assert described(ec2, third)["State"]["Name"] == "terminated"


async def test_a_machine_that_ec2_does_not_find_is_fine_to_terminate(
    provider: Ec2Provider, launch: Launch
):
    await provider.launch(launch)
    lie = Answers(provider._clients, "ec2", "TerminateInstances")
    lie.is_error("InvalidInstanceID.NotFound")
    await provider.terminate(launch.id)
    assert len(lie.asked) == 1
    lie.is_itself()
    await provider.terminate(launch.id)
    await seen(provider, launch.id, InstanceState.TERMINATED)


# -- whose it is
@pytest.mark.parametrize(
    ("id", "token"),
    [
        ("ec2-aaaa", ""),  # a copy, as the console makes them
        ("", ""),
        ("not an id", "own"),
        ("*", "own"),
        ("ec2-" + "a" * 80, "own"),
    ],
)
async def test_a_foreign_machine_with_our_tags_is_neither_shown_nor_touched(
    provider: Ec2Provider, backend_id: str, ec2: Any, ami: str, id: str, token: str
):
    if token:
        token = client_token(backend_id, id)
    foreign = stranger(ec2, ami, backend_id, id, token)
    assert await provider.listed() == []
    assert await provider.describe([id]) == []
    await provider.terminate(id)
    await provider.terminate("*")
    assert described(ec2, foreign)["State"]["Name"] == "running"


async def test_machines_of_another_backend_are_left_alone(
    provider: Ec2Provider, settings: Settings, ec2: Any, launch: Launch
):
    other = Ec2Provider(settings, uuid.uuid4().hex[:16])
    theirs = await other.launch(launch)
    assert await provider.listed() == []
    assert await provider.describe([launch.id]) == []
    await provider.terminate(launch.id)
    assert described(ec2, theirs.provider_id)["State"]["Name"] == "running"
    assert [s.provider_id for s in await other.listed()] == [theirs.provider_id]
    await other.close()


async def test_a_provider_without_a_backend_owns_nothing(settings: Settings, ec2: Any, ami: str):
    foreign = stranger(ec2, ami, "", "ec2-a", client_token("", "ec2-a"))
    nobody = Ec2Provider(settings, "")
    assert await nobody.listed() == []
    await nobody.terminate("ec2-a")
    assert described(ec2, foreign)["State"]["Name"] == "running"
    await nobody.close()


# -- what it costs to have it
def test_boto3_is_loaded_when_ec2_is_first_asked_and_not_before():
    code = (
        "import sys\n"
        "from jupyter_remote.providers.ec2 import make\n"
        "from jupyter_remote.settings import Settings\n"
        "assert make(Settings(), 'a').name == 'ec2'\n"
        "import jupyter_remote.server.app\n"
        "print([m for m in ('boto3', 'botocore') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


async def test_the_region_may_come_from_the_environment(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    provider = Ec2Provider(msgspec.structs.replace(settings, ec2_region=""), "b")
    assert await provider.listed() == []
    await provider.close()
