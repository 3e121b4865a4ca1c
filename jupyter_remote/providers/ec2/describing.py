"""What EC2 says about machines, and which of them are ours: pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from jupyter_remote.model import InstanceState
from jupyter_remote.providers.base import Seen
from jupyter_remote.providers.ec2.launching import BACKEND, INSTANCE, client_token, is_id

Described = dict[str, Any]  # one instance of DescribeInstances
ALIVE = ("pending", "running", "stopping", "stopped", "shutting-down")
# what a hand stopped runs no more, but is paid and can start again: it is to be terminated
_STATES = {
    "pending": InstanceState.PENDING,
    "running": InstanceState.READY,
    "stopping": InstanceState.READY,
    "stopped": InstanceState.READY,
    "shutting-down": InstanceState.TERMINATING,
    "terminated": InstanceState.TERMINATED,
}
_TAKEN = ("Server.SpotInstanceTermination", "Server.SpotInstanceShutdown")
_WHY = {
    "Server.SpotInstanceTermination": "AWS took the spot machine back",
    "Server.SpotInstanceShutdown": "AWS took the spot machine back",
    "Client.UserInitiatedShutdown": "it was terminated",
    "Client.InstanceInitiatedShutdown": "it ended itself",
    "Server.InsufficientInstanceCapacity": "AWS had no capacity for it",
    "Server.InternalError": "AWS failed while it started",
    "Server.ScheduledStop": "AWS retired the computer that it ran on",
    "Client.VolumeLimitExceeded": "the account may have no more disk space",
    "Client.InternalError": "its encrypted disk could not be made; look at the rights of the key "
    "that is the default for EBS in this region",
}


def tags_of(instance: Described) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in instance.get("Tags", ())}


def our_id(instance: Described, backend_id: str) -> str:
    """The id of the intent that launched it; empty for a machine that is not of this backend.

    Tags alone prove nothing: a machine that somebody copied in the console has them, too, but not
    the token of its launch.
    """
    tags = tags_of(instance)
    id = tags.get(INSTANCE, "")
    if not backend_id or tags.get(BACKEND) != backend_id or not is_id(id):
        return ""
    return id if instance.get("ClientToken") == client_token(backend_id, id) else ""


def seen_of(instance: Described, id: str) -> Seen:
    state = instance["State"]["Name"]
    reason = instance.get("StateReason") or {}
    code = reason.get("Code", "")
    return Seen(
        id=id,
        provider_id=instance["InstanceId"],
        state=_STATES.get(state, InstanceState.READY),
        detail=_detail(state, code, reason.get("Message", "")),
        zone=instance.get("Placement", {}).get("AvailabilityZone", ""),
        interrupted=code in _TAKEN,
    )


def _detail(state: str, code: str, message: str) -> str:
    if state in ("stopping", "stopped"):
        return "somebody stopped it; its disk is still paid"
    if state in ("pending", "running"):
        return ""
    return _WHY.get(code, message.removeprefix(f"{code}: "))


def one_each(found: Iterable[Seen]) -> list[Seen]:
    """One for each id: that which lives, if any does."""
    by_id: dict[str, Seen] = {}
    for seen in found:
        other = by_id.get(seen.id)
        if other is None or other.state is InstanceState.TERMINATED:
            by_id[seen.id] = seen
    return list(by_id.values())


def started_at(instance: Described) -> float:
    """When it was launched, Unix time."""
    at: datetime = instance["LaunchTime"]
    return at.timestamp()
