"""The machine image: by id, or by the path of a parameter that names the latest."""

from __future__ import annotations

from jupyter_remote.errors import LaunchRefused
from jupyter_remote.providers.ec2.client import Clients
from jupyter_remote.providers.ec2.launching import Image
from jupyter_remote.providers.ec2.refusals import About

# Amazon's Deep Learning Base image: Ubuntu 24.04 with the drivers of NVIDIA and Python 3.12
DEFAULT = (
    "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
)


def find(clients: Clients, setting: str) -> Image:
    """The image of the setting ``ec2_image``. Raises LaunchRefused when it is not there."""
    name = setting.removeprefix("resolve:ssm:") or DEFAULT
    id = name if name.startswith("ami-") else _parameter(clients, name)
    images = clients.call("ec2", "describe_images", About(image=name), ImageIds=[id])["Images"]
    if not images:
        raise _absent(name, f"EC2 in {clients.region} shows no {id}")
    found = images[0]
    device = found.get("RootDeviceName", "")
    disks = [
        d["Ebs"] for d in found["BlockDeviceMappings"] if d["DeviceName"] == device and "Ebs" in d
    ]
    if not device or not disks:
        raise _absent(name, f"{id} has no root disk that can be encrypted and sized")
    return Image(id=id, device=device, gib=int(disks[0].get("VolumeSize", 0)))


def _parameter(clients: Clients, path: str) -> str:
    found = clients.call("ssm", "get_parameter", About(image=path), Name=path)
    id = str(found["Parameter"]["Value"])
    if not id.startswith("ami-"):
        raise _absent(path, f"the parameter holds {id[:40]!r}")
    return id


def _absent(name: str, why: str) -> LaunchRefused:
    return LaunchRefused(
        f"The machine image {name} cannot be used: {why}.",
        hint="Set JUPYTER_REMOTE_EC2_IMAGE to the id of an AMI of this region, to the path of a "
        "parameter that holds one, or leave it empty for a public image with drivers.",
        kind="image",
    )
