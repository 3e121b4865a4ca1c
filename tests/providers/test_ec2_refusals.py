"""What AWS refuses, in words: what happened, what to do, and whether it may pass."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from botocore.exceptions import (
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    UnauthorizedSSOTokenError,
)

from jupyter_remote.errors import LaunchRefused
from jupyter_remote.providers.base import Launch
from jupyter_remote.providers.ec2 import refusals
from jupyter_remote.providers.ec2.images import DEFAULT
from jupyter_remote.providers.ec2.provider import Ec2Provider
from jupyter_remote.settings import Settings
from tests.providers.aws import Answers
from tests.providers.test_ec2 import intent, running

NO_VCPUS = (
    "You have requested more vCPU capacity than your current vCPU limit of 0 allows for the "
    "instance bucket that the specified instance type belongs to."
)
NOT_ALLOWED = (
    "You are not authorized to perform this operation. User: arn:aws:iam::1:user/ada is not "
    "authorized to perform: {action} on resource: arn:aws:ec2:us-east-1:1:instance/* because no "
    "identity-based policy allows the {action} action."
)


async def refusal(provider: Ec2Provider, launch: Launch | None = None) -> LaunchRefused:
    with pytest.raises(LaunchRefused) as refused:
        await provider.launch(launch or intent())
    return refused.value


@pytest.fixture
async def made(settings: Settings) -> AsyncIterator[Any]:
    """Makes providers with other settings, and closes them."""
    providers: list[Ec2Provider] = []

    def make(**changes: Any) -> Ec2Provider:
        providers.append(Ec2Provider(msgspec.structs.replace(settings, **changes), "b" * 16))
        return providers[-1]

    yield make
    for provider in providers:
        await provider.close()


@pytest.fixture
def launches(provider: Ec2Provider) -> Answers:
    """What ``RunInstances`` answers."""
    return Answers(provider._clients, "ec2", "RunInstances")


# -- credentials and rights
async def test_no_credentials(made: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    refused = await refusal(made())
    assert refused.kind == "credentials"
    assert refused.message == "No credentials for AWS were found."
    assert "aws configure" in refused.hint


async def test_who_signs_in_needs_no_restart(made: Any, monkeypatch: pytest.MonkeyPatch):
    provider = made()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    await refusal(provider)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    assert (await provider.launch(intent())).provider_id


async def test_half_of_a_key(made: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    refused = await refusal(made())
    assert refused.kind == "credentials"
    assert "AWS_SECRET_ACCESS_KEY" in refused.message


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException"])
async def test_expired_credentials(provider: Ec2Provider, launches: Answers, code: str):
    launches.is_error(code, "The security token included in the request is expired")
    refused = await refusal(provider)
    assert refused.kind == "credentials"
    assert "have expired" in refused.message
    assert "aws sso login" in refused.hint


async def test_a_session_of_single_sign_on_that_is_over(provider: Ec2Provider):
    looks = Answers(provider._clients, "ec2", "DescribeInstances")
    looks.is_network_error(UnauthorizedSSOTokenError())
    refused = await refusal(provider)
    assert (refused.kind, "aws sso login" in refused.hint) == ("credentials", True)


@pytest.mark.parametrize("code", ["AuthFailure", "InvalidClientTokenId", "SignatureDoesNotMatch"])
async def test_credentials_that_aws_does_not_accept(
    provider: Ec2Provider, launches: Answers, code: str
):
    launches.is_error(code, "AWS was not able to validate the provided access credentials", 401)
    refused = await refusal(provider)
    assert refused.kind == "credentials"
    assert "get-caller-identity" in refused.hint


async def test_what_aws_repeats_of_a_call_is_not_told(provider: Ec2Provider, launches: Answers):
    said = "The signature does not match.\n\nThe Canonical String was\nx-amz-security-token:SECRET"
    launches.is_error("SignatureDoesNotMatch", said, 403)
    refused = await refusal(provider)
    assert "The signature does not match." in refused.message
    assert "SECRET" not in str(refused)


@pytest.mark.parametrize(
    "action", ["ec2:RunInstances", "ec2:CreateTags", "iam:PassRole", "kms:CreateGrant"]
)
async def test_a_missing_right_is_told_by_its_action(
    provider: Ec2Provider, launches: Answers, action: str
):
    launches.is_error("UnauthorizedOperation", NOT_ALLOWED.format(action=action), 403)
    refused = await refusal(provider)
    assert refused.kind == "rights"
    assert refused.message == f"These credentials may not do {action}."
    assert action in refused.hint
    assert "docs/aws.md" in refused.hint


async def test_a_missing_right_that_aws_does_not_name_is_that_of_the_call(provider: Ec2Provider):
    looks = Answers(provider._clients, "ec2", "DescribeInstances")
    looks.is_error("UnauthorizedOperation", "You are not authorized.", 403)
    for ask in (provider.listed(), provider.describe(["a"]), provider.terminate("a")):
        with pytest.raises(LaunchRefused, match="may not do ec2:DescribeInstances"):
            await ask


async def test_the_right_to_read_the_parameter_of_the_image(made: Any):
    provider = made(ec2_image="/some/path")
    answers = Answers(provider._clients, "ssm", "GetParameter")
    answers.is_error("AccessDeniedException", "User is not authorized")
    assert (await refusal(provider)).message == "These credentials may not do ssm:GetParameter."


async def test_the_first_spot_machine_of_an_account(provider: Ec2Provider, launches: Answers):
    code = "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
    launches.is_error(code, "no permission", 403)
    refused = await refusal(provider, intent(spot=True))
    assert refused.kind == "rights"
    assert "aws iam create-service-linked-role" in refused.hint


# -- quotas and capacity
@pytest.mark.parametrize(
    ("machine", "name", "ask"),
    [
        ("g5.xlarge.od", "Running On-Demand G and VT instances", "L-DB2E81BA --desired-value 4"),
        ("p4d.24xlarge.od", "Running On-Demand P instances", "L-417A185B --desired-value 96"),
        ("m5.large", "Running On-Demand Standard", "L-1216C47A"),
        ("u-6tb1.metal", "for u-6tb1.metal instances", "list-service-quotas"),
    ],
)
async def test_a_quota_of_zero_is_told_with_its_name_and_how_to_ask_for_more(
    provider: Ec2Provider, launches: Answers, machine: str, name: str, ask: str
):
    launches.is_error("VcpuLimitExceeded", NO_VCPUS)
    refused = await refusal(provider, intent(machine=machine))
    assert refused.kind == "quota"
    assert name in refused.message
    assert "allows 0 vCPUs at a time in us-east-1" in refused.message
    assert ask in refused.hint
    assert "--region us-east-1" in refused.hint


@pytest.mark.parametrize(
    ("machine", "name", "code"),
    [
        ("g6.xlarge", "All G and VT Spot Instance Requests", "L-3819A6DF"),
        ("p4d.24xlarge", "All P4, P3 and P2 Spot Instance Requests", "L-7212CCBC"),
        ("p5.48xlarge", "All P5 Spot Instance Requests", "L-C4BD4855"),
        ("p6-b200.48xlarge", "for p6-b200.48xlarge instances", "list-service-quotas"),
    ],
)
async def test_a_spot_quota_has_a_name_of_its_own(
    provider: Ec2Provider, launches: Answers, machine: str, name: str, code: str
):
    launches.is_error("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
    refused = await refusal(provider, intent(machine=machine, spot=True))
    assert refused.kind == "quota"
    assert name in refused.message
    assert code in refused.hint


async def test_no_capacity_may_pass(provider: Ec2Provider, launches: Answers):
    launches.is_error("InsufficientInstanceCapacity", "We currently do not have…", 500)
    refused = await refusal(provider, intent(zone="us-east-1a", spot=True))
    assert (refused.kind, refused.passes) == ("capacity", True)
    assert refused.message == "AWS has no spot g5.xlarge free in us-east-1a now."
    assert "on-demand machines (.od) have more room" in refused.hint
    refused = await refusal(provider, intent(zone="us-east-1a", spot=False))
    assert "on-demand" not in refused.hint


async def test_a_zone_without_the_type_is_no_capacity_there(
    provider: Ec2Provider, launches: Answers
):
    launches.is_error("Unsupported", "Your requested instance type is not supported in …")
    assert (await refusal(provider, intent(zone="us-east-1a"))).kind == "capacity"
    assert (await refusal(provider, intent())).kind == "machine"


@pytest.mark.parametrize("code", ["RequestLimitExceeded", "Throttling", "EC2ThrottledException"])
async def test_throttling_may_pass(provider: Ec2Provider, launches: Answers, code: str):
    launches.is_error(code, "Request limit exceeded.", 503)
    refused = await refusal(provider)
    assert (refused.kind, refused.passes) == ("throttled", True)


async def test_no_room_for_disks(provider: Ec2Provider, launches: Answers):
    launches.is_error("VolumeLimitExceeded", "You have exceeded your maximum gp3 storage limit")
    refused = await refusal(provider)
    assert (refused.kind, "L-7A658B76" in refused.hint) == ("quota", True)


# -- what is not there
async def test_a_type_that_the_region_does_not_have(provider: Ec2Provider):
    refused = await refusal(provider, intent(machine="g99.xlarge.od"))
    assert refused.kind == "machine"
    assert refused.message == "g99.xlarge is not offered in us-east-1."


async def test_an_image_that_is_not_there(made: Any):
    refused = await refusal(made(ec2_image="ami-0123456789abcdef0"))
    assert refused.kind == "image"
    assert "ami-0123456789abcdef0 is not there in us-east-1" in refused.message
    assert "JUPYTER_REMOTE_EC2_IMAGE" in refused.hint


async def test_a_parameter_that_is_not_there(made: Any):
    refused = await refusal(made(ec2_image=""))
    assert refused.kind == "image"
    assert f"{DEFAULT} is not there" in refused.message


async def test_an_image_that_went_away_after_it_was_found(
    provider: Ec2Provider, launches: Answers, ami: str
):
    launches.is_error("InvalidAMIID.Unavailable", "The image is no longer available")
    refused = await refusal(provider)
    assert (refused.kind, ami in refused.message) == ("image", True)


@pytest.mark.parametrize(
    ("setting", "value", "name"),
    [
        ("ec2_subnets", "subnet-0123", "JUPYTER_REMOTE_EC2_SUBNETS"),
        ("ec2_security_groups", "sg-0123", "JUPYTER_REMOTE_EC2_SECURITY_GROUPS"),
        ("ec2_instance_profile", "nobody", "JUPYTER_REMOTE_EC2_INSTANCE_PROFILE"),
    ],
)
async def test_what_a_setting_names_and_is_not_there(
    made: Any, setting: str, value: str, name: str
):
    refused = await refusal(made(**{setting: value}))
    assert refused.kind == "setting"
    assert name in refused.hint


async def test_a_group_of_another_network(provider: Ec2Provider, launches: Answers):
    launches.is_error("InvalidParameter", "Security group and subnet are of different networks.")
    refused = await refusal(provider)
    assert refused.kind == "setting"
    assert refused.message.endswith("Security group and subnet are of different networks.")


async def test_a_zone_that_is_none(provider: Ec2Provider):
    refused = await refusal(provider, intent(zone="us-east-1z"))
    assert refused.kind == "setting"
    assert "us-east-1z" in refused.message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ec2_region": ""}, "No region of AWS is set"),
        ({"ec2_region": "no region"}, "no region"),
        ({"ec2_profile": "nobody"}, "nobody"),
        ({"ec2_endpoint": "no address"}, "no address"),
    ],
)
async def test_settings_that_cannot_be(made: Any, changes: dict[str, str], said: str):
    refused = await refusal(made(**changes))
    assert refused.kind == "setting"
    assert said in refused.message
    assert refused.hint


async def test_a_region_that_boto3_does_not_know(made: Any):
    provider = made(ec2_region="eu-wst-1")
    looks = Answers(provider._clients, "ec2", "DescribeInstances")
    looks.is_network_error(EndpointConnectionError(endpoint_url="https://ec2.eu-wst-1"))
    refused = await refusal(provider)
    assert refused.kind == "setting"
    assert "AWS has no region eu-wst-1" in refused.message


async def test_without_boto3(made: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    refused = await refusal(made())
    assert refused.hint == "pip install 'jupyter-remote-run[aws]'"


# -- accounts
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("Blocked", "blocked"),
        ("OptInRequired", "not subscribed"),
        ("PendingVerification", "looks at this account"),
    ],
)
async def test_an_account_that_may_not_yet_or_no_more(
    provider: Ec2Provider, launches: Answers, code: str, said: str
):
    launches.is_error(code, "it says why.", 403)
    refused = await refusal(provider)
    assert (refused.kind, refused.passes) == ("other", False)
    assert said in refused.message
    assert refused.hint


async def test_what_nobody_foresaw_is_told_as_aws_says_it(provider: Ec2Provider, launches: Answers):
    launches.is_error("BrandNew", "the moon {is} full")
    refused = await refusal(provider)
    assert (refused.kind, refused.message) == (
        "other",
        "AWS refused RunInstances: the moon {is} full",
    )


# -- nobody knows
@pytest.mark.parametrize(
    "error",
    [
        ReadTimeoutError(endpoint_url="https://ec2"),
        ConnectTimeoutError(endpoint_url="https://ec2"),
        EndpointConnectionError(endpoint_url="https://ec2"),
    ],
)
async def test_a_call_without_an_answer_may_be_tried_again(
    provider: Ec2Provider, launches: Answers, error: Exception
):
    launches.is_network_error(error)
    with pytest.raises(OSError, match="AWS in us-east-1 did not answer"):
        await provider.launch(intent())
    assert len(launches.asked) == 1  # of us; boto3 tries some times with the same token
    launches.is_itself()
    assert (await provider.launch(intent())).provider_id


async def test_an_error_inside_aws_leaves_it_open_what_became_of_the_call(
    provider: Ec2Provider, launches: Answers
):
    launches.is_error("InternalError", "An internal error has occurred", 500)
    with pytest.raises(OSError, match="AWS in us-east-1 failed at RunInstances"):
        await provider.launch(intent())


async def test_nothing_is_launched_by_a_refused_call(
    provider: Ec2Provider, backend_id: str, ec2: Any, launches: Answers
):
    launches.is_error("VcpuLimitExceeded", NO_VCPUS)
    await refusal(provider)
    assert running(ec2, backend_id) == []


def test_an_error_that_is_not_of_aws_is_not_explained_away():
    assert refusals.told(KeyError("State"), refusals.About()) is None
