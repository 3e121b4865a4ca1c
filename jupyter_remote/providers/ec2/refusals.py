"""Errors of boto3 in words: what happened, what can be done, and whether it may pass."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from jupyter_remote.errors import LaunchRefused
from jupyter_remote.providers.ec2.quotas import how_to_ask, quota_of
from jupyter_remote.providers.ec2.words import REFUSALS, SILENT, Words

_ACTION = re.compile(r"not authorized to perform:? ([a-z0-9-]+:\w+)", re.IGNORECASE)
MOST_SAID = 500  # characters of what AWS says
_LIMIT = re.compile(r"limit of (\d+)")


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for, as far as it explains a refusal."""

    region: str = ""
    ec2_type: str = ""
    vcpus: int = 0
    spot: bool = False
    zone: str = ""
    image: str = ""

    def at(self, region: str) -> About:
        return msgspec.structs.replace(self, region=region)

    @property
    def where(self) -> str:
        return self.zone or self.region

    @property
    def machine(self) -> str:
        return self.ec2_type or "the machine"


class TokenUsed(ConnectionError):
    """The same intent was launched before, with other parameters: there is, or was, a machine."""


def told(error: Exception, about: About) -> LaunchRefused | OSError | None:
    """Our error for one of boto3's; None for any other."""
    if isinstance(error, ImportError) and error.name == "boto3":
        return LaunchRefused(
            "boto3 is not installed, which the provider ec2 needs.",
            hint="pip install 'jupyter-remote-run[aws]'",
            kind="setting",
        )
    if isinstance(error, ValueError) and str(error).startswith("Invalid endpoint"):
        hint = "JUPYTER_REMOTE_EC2_ENDPOINT is an address such as http://127.0.0.1:5000, or empty."
        return LaunchRefused(f"{error}.", hint=hint, kind="setting")
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, ClientError):
        return _answered(error, about)
    if isinstance(error, BotoCoreError):
        return _unanswered(error, about)
    return None


def code_of(error: BaseException | None) -> str:
    """The code of AWS behind an error of ours; empty where there is none."""
    response = getattr(getattr(error, "__cause__", None), "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _answered(error: Any, about: About) -> LaunchRefused | OSError:
    """AWS said no."""
    answer = error.response.get("Error", {})
    code, said = str(answer.get("Code", "")), _first(str(answer.get("Message", "")))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "IdempotentParameterMismatch":
        return TokenUsed(f"this launch was asked for before, in other words: {said}")
    if code in ("VcpuLimitExceeded", "MaxSpotInstanceCountExceeded", "InstanceLimitExceeded"):
        return _quota(code, said, about)
    if code in ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException"):
        return _rights(error, said)
    if code == "Unsupported" and about.zone:
        code = "Unsupported.Zone"
    words = REFUSALS.get(code) or REFUSALS.get(code.partition(".")[0])
    if words is None and status >= 500:
        return ConnectionError(f"AWS in {about.region} failed at {error.operation_name}: {said}")
    return _refusal(words or Words("other", "AWS refused {operation}: {said}"), error, said, about)


def _first(said: str) -> str:
    """The first line: after it AWS may repeat what was sent, with the token of a session."""
    return said.strip().partition("\n")[0][:MOST_SAID].strip()


def _refusal(words: Words, error: Any, said: str, about: About) -> LaunchRefused:
    facts = {
        "operation": getattr(error, "operation_name", "the call"),
        "said": said.rstrip("."),
        "region": about.region,
        "where": about.where,
        "machine": about.machine,
        "image": about.image or "of the setting",
        "kind": "spot" if about.spot else "on-demand",
        "room": "; on-demand machines (.od) have more room" if about.spot else ", or later",
    }
    message, hint = words.message.format(**facts), words.hint.format(**facts)
    return LaunchRefused(message, hint=hint, kind=words.kind)


def _quota(code: str, said: str, about: About) -> LaunchRefused:
    spot = about.spot or code == "MaxSpotInstanceCountExceeded"
    quota = quota_of(about.ec2_type, spot)
    limit = _LIMIT.search(said)
    allows = f"allows {limit[1]} vCPUs at a time" if limit else "is used up, or zero"
    name = f"“{quota.name}”" if quota else f"for {about.ec2_type} instances"
    vcpus = about.vcpus or 4
    other = "on-demand machines (.od)" if spot else "spot machines"
    return LaunchRefused(
        f"The quota {name} of this account {allows} in {about.region}; "
        f"{about.machine} has {vcpus}.",
        hint="Ask for more, which takes hours or days:\n"
        f"  {how_to_ask(quota, about.region, vcpus)}\n"
        f"Quotas of {other} and of other regions are separate.",
        kind="quota",
    )


def _rights(error: Any, said: str) -> LaunchRefused:
    found = _ACTION.search(said)
    service = "ssm" if error.operation_name.startswith("GetParameter") else "ec2"
    action = found[1] if found else f"{service}:{error.operation_name}"
    return LaunchRefused(
        f"These credentials may not do {action}.",
        hint=f"Allow the action {action}: docs/aws.md has a policy with all that is needed.",
        kind="rights",
    )


def _unanswered(error: Any, about: About) -> LaunchRefused | OSError:
    """No answer of AWS: before the call for a reason here, or nobody knows."""
    names = [kind.__name__ for kind in type(error).__mro__]
    if names[0] == "EndpointConnectionError" and about.region and not _is_region(about.region):
        names = ["NoSuchRegion"]
    words = next((SILENT[name] for name in names if name in SILENT), None)
    if words is not None:
        return _refusal(words, error, str(error), about)
    return ConnectionError(f"AWS in {about.region or 'the region'} did not answer: {error}")


def _is_region(name: str) -> bool:
    import boto3

    session = boto3.Session()
    partitions = session.get_available_partitions()
    return any(name in session.get_available_regions("ec2", p) for p in partitions)
