"""EC2 and S3 without AWS: moto behind :class:`tests.cloud.front.Front`, and machines that are real.

``python -m tests.cloud`` runs one by hand.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION", "true")
os.environ.setdefault("MOTO_ENABLE_AMI_VALIDATION", "true")

import boto3
from botocore.config import Config
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

from tests.cloud import many, namespaces
from tests.cloud.calls import Call
from tests.cloud.faults import Fault, Faults, Moment
from tests.cloud.fleet import Fleet, Make
from tests.cloud.front import Front
from tests.cloud.imds import ACCOUNT
from tests.cloud.machines import Machine, ProcessMachine, remove
from tests.cloud.namespaces import NamespaceMachine, Network
from tests.cloud.prices import Prices
from tests.cloud.proxy import Proxy
from tests.cloud.witness import Witness, twins

Mode = Literal["namespaces", "processes"]

REGION = "us-east-1"
KEYS = {
    "AWS_ACCESS_KEY_ID": "simulated",
    "AWS_SECRET_ACCESS_KEY": "simulated",
    "AWS_EC2_METADATA_DISABLED": "true",  # of the server's own credentials
}
ROOT_DISK = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 30, "SnapshotId": "snap-0"}}


def best_mode() -> Mode:
    """The nearest to a real machine that works here."""
    return "processes" if namespaces.why_not() else "namespaces"


class Simulator:
    """One region of one account. There is one at a time in a process: moto's state is global.

    ``make`` makes other machines than those of ``mode``, which then only says where they find
    this computer.
    """

    def __init__(self, mode: Mode, make: Make | None = None) -> None:
        from moto.ec2.models import ec2_backends

        self.mode = mode
        self.faults, self.prices, self.witness = Faults(), Prices(REGION), Witness()
        self._exit = contextlib.ExitStack()
        folder = Path(tempfile.mkdtemp(prefix="simulated-cloud-"))
        self._exit.callback(remove, folder)
        network = (
            self._exit.enter_context(contextlib.closing(Network()))
            if mode == "namespaces"
            else None
        )
        self.host = network.host if network else "127.0.0.1"
        """At which machines find this computer."""
        if make is None:
            make = partial(NamespaceMachine, network=network) if network else ProcessMachine
        moto = DomainDispatcherApplication(create_backend_app)
        _forget_all()
        backend = ec2_backends[ACCOUNT][REGION]
        many.look_up_tags(backend)
        self.fleet = Fleet(backend, make, folder, self.witness)
        self._exit.callback(self.fleet.close)
        self.front = Front(moto, self.fleet, self.faults, self.prices)
        self.url = self._serve()
        self.front.image = self._new_image()

    def _serve(self) -> str:
        quiet = type("Quiet", (MotoRequestHandler,), {"log_request": lambda *_: None})
        server = make_server(self.host, 0, self.front, threaded=True, request_handler=quiet)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        self._exit.callback(server.server_close)
        self._exit.callback(thread.join)
        self._exit.callback(server.shutdown)
        return f"http://{self.host}:{server.server_port}"

    def _new_image(self) -> str:
        found = self.client("ec2").register_image(
            Name="simulated", RootDeviceName="/dev/sda1", BlockDeviceMappings=[ROOT_DISK]
        )
        return str(found["ImageId"])

    def __enter__(self) -> Simulator:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """End the API and all machines."""
        self._exit.close()

    # -- how it is used
    def client(self, service: str, **config: Any) -> Any:
        """A client of boto3 that asks this API."""
        return _session().client(service, endpoint_url=self.url, config=Config(**config))

    def environment(self) -> dict[str, str]:
        """Of a backend that is to launch here."""
        return KEYS | {
            "JUPYTER_REMOTE_PROVIDERS": "ec2",
            "JUPYTER_REMOTE_EC2_ENDPOINT": self.url,
            "JUPYTER_REMOTE_EC2_REGION": REGION,
        }

    def proxy(self, port: int) -> Proxy:
        """What stands between machines and a server at this port of loopback."""
        proxy = Proxy(port, host=self.host, cut=self._is_cut)
        self._exit.callback(proxy.close)
        return proxy

    def _is_cut(self, port: int) -> bool:
        """Does a connection with this local port come from a machine without network?"""
        machines = [m for m in self.fleet.there() if isinstance(m, ProcessMachine) and m.cut]
        return any(machine.has_connection(port) for machine in machines)

    @property
    def machines(self) -> dict[str, Machine]:
        """By instance id, also those that have ended."""
        return self.fleet.machines

    def fail(self, action: str, code: str = "", **how: Any) -> Fault:
        """See :class:`tests.cloud.faults.Fault`."""
        return self.faults.add(Fault(action, code, **how))

    def at(self, moment: Moment, action: str, then: Callable[[Call], None]) -> None:
        """Call ``then`` before, within or after such calls."""
        self.faults.watch(moment, action, then)

    # -- what the witness says
    def alive(self) -> list[str]:
        return self.witness.alive()

    def intents(self, tag: str) -> dict[str, str]:
        """Of each instance that was ever launched, what this tag says."""
        return {id: self.fleet.tags[id].get(tag, id) for id in self.witness.instances()}

    def twins(self, tag: str) -> dict[str, list[str]]:
        """Values of a tag that several instances were launched with."""
        return twins(self.intents(tag))


@cache
def _session() -> Any:
    """It keeps what it read of services, which takes longest."""
    return boto3.Session(
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        region_name=REGION,
    )


def _forget_all() -> None:
    from moto.core.base_backend import BackendDict

    BackendDict.reset()
