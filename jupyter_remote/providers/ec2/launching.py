"""What EC2 is asked for: pure."""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any

import msgspec

from jupyter_remote.errors import LaunchRefused
from jupyter_remote.providers.base import Launch
from jupyter_remote.settings import Settings

BACKEND = "jupyter-remote:backend"  # tag: id of the backend
INSTANCE = "jupyter-remote:instance"  # tag: id of the intent
LONGEST = "jupyter-remote:longest-s"  # tag: after so many seconds it has ended itself
MOST_USER_DATA_BYTES = 16 * 1024
ON_DEMAND = ".od"  # end of the id of a machine type
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Image(msgspec.Struct, frozen=True):
    id: str
    device: str  # of its root disk
    gib: int  # that the root disk has at least


class Place(msgspec.Struct, frozen=True):
    """A subnet, or a zone of which the default subnet is taken; neither: anywhere."""

    subnet: str = ""
    zone: str = ""


def is_id(text: str) -> bool:
    """Can it be the id of an instance of ours?"""
    return _ID.fullmatch(text) is not None


def ec2_type(machine: str) -> str:
    """EC2's name of a machine type of the catalogue."""
    return machine.removesuffix(ON_DEMAND)


def client_token(backend_id: str, id: str) -> str:
    """With the same token EC2 launches once, however often it is asked. It is also seen in
    ``DescribeInstances``, and shows that a machine with our tags is not a copy of one of ours."""
    return hashlib.sha256(f"{backend_id}/{id}".encode()).hexdigest()


def tags(backend_id: str, launch: Launch, settings: Settings) -> list[dict[str, str]]:
    named = {
        BACKEND: backend_id,
        INSTANCE: launch.id,
        LONGEST: str(math.ceil(settings.machine_longest_s)),
        "Name": f"jupyter-remote {ec2_type(launch.machine)}",
    }
    return [{"Key": key, "Value": value} for key, value in named.items()]


def parameters(
    launch: Launch, *, backend_id: str, image: Image, place: Place, settings: Settings
) -> dict[str, Any]:
    """Of ``RunInstances``: one machine that ends for good when it is shut down."""
    asked: dict[str, Any] = {
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": client_token(backend_id, launch.id),
        "ImageId": image.id,
        "InstanceType": ec2_type(launch.machine),
        "UserData": _checked(launch.user_data),
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,  # containers and proxies do not get at it
        },
        "BlockDeviceMappings": [_disk(image, settings.ec2_disk_gib)],
        "TagSpecifications": [
            {"ResourceType": kind, "Tags": tags(backend_id, launch, settings)}
            for kind in ("instance", "volume")
        ],
    }
    if launch.spot:
        asked["InstanceMarketOptions"] = {
            "MarketType": "spot",
            # without a highest price: the on-demand price is it, and lower ones end sooner
            "SpotOptions": {
                "SpotInstanceType": "one-time",
                "InstanceInterruptionBehavior": "terminate",
            },
        }
    if place.subnet:
        asked["SubnetId"] = place.subnet
    elif place.zone:
        asked["Placement"] = {"AvailabilityZone": place.zone}
    if groups := words(settings.ec2_security_groups):
        asked["SecurityGroupIds"] = groups
    if settings.ec2_instance_profile:
        asked["IamInstanceProfile"] = _profile(settings.ec2_instance_profile)
    return asked


def words(text: str) -> list[str]:
    """What stands between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def _disk(image: Image, gib: int) -> dict[str, Any]:
    return {
        "DeviceName": image.device,
        "Ebs": {
            "VolumeType": "gp3",
            "VolumeSize": max(gib, image.gib),
            "Encrypted": True,
            "DeleteOnTermination": True,
        },
    }


def _profile(name: str) -> dict[str, str]:
    return {"Arn": name} if name.startswith("arn:") else {"Name": name}


def _checked(user_data: str) -> str:
    size = len(user_data.encode())
    if size > MOST_USER_DATA_BYTES:
        raise LaunchRefused(
            f"The bootstrap script has {size} bytes; EC2 takes {MOST_USER_DATA_BYTES}.",
            hint="Shorten the settings that it carries, such as JUPYTER_REMOTE_WORKER_URL.",
            kind="setting",
        )
    return user_data
