"""Asking a simulator as boto3 does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cloud.simulator import Simulator
from tests.cloud.waiting import until


def launch(cloud: Simulator, script: str = "#!/bin/sh\n", token: str = "", **more: object) -> str:
    ec2 = cloud.client("ec2")
    how = {
        "ImageId": cloud.front.image,
        "InstanceType": "g5.xlarge",
        "UserData": script,
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpTokens": "required"},
    }
    if token:
        how["ClientToken"] = token
    found = ec2.run_instances(MinCount=1, MaxCount=1, **{**how, **more})
    return str(found["Instances"][0]["InstanceId"])


def described(cloud: Simulator, id: str) -> dict[str, Any]:
    found = cloud.client("ec2").describe_instances(InstanceIds=[id])
    return found["Reservations"][0]["Instances"][0]


def state(cloud: Simulator, id: str) -> str:
    return str(described(cloud, id)["State"]["Name"])


def says(cloud: Simulator, id: str, text: str) -> str:
    """The console, once it has this text."""

    def found() -> str:
        console = cloud.machines[id].console().decode()
        return console if text in console else ""

    return until(found)


class served:
    """A web server on loopback; gives its port."""

    def __init__(self, folder: Path) -> None:
        (folder / "word").write_text("word")
        self.folder = folder

    def __enter__(self) -> int:
        command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
        self.process = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        return int(self.process.stdout.readline().split("port ")[1].split()[0])

    def __exit__(self, *failure: object) -> None:
        self.process.kill()
        self.process.wait(10)
        self.process.stdout.close()
