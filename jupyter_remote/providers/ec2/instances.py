"""Machines of ours in the region of an account, and of nobody else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jupyter_remote.errors import LaunchRefused
from jupyter_remote.providers.ec2.client import Clients
from jupyter_remote.providers.ec2.describing import ALIVE, Described, our_id, tags_of
from jupyter_remote.providers.ec2.launching import BACKEND, INSTANCE
from jupyter_remote.providers.ec2.refusals import code_of

PER_CALL = 200  # values in one filter, at most
ALL_ALIVE = {"Name": "instance-state-name", "Values": list(ALIVE)}
"""Filter: EC2 shows machines that ended for an hour or so, and there may be many"""


def of_backend(
    clients: Clients, backend_id: str, ids: Sequence[str] = ()
) -> list[tuple[str, Described]]:
    """Instances of this backend with the ids of their intents: those with these ``ids``, whatever
    became of them, or without any all that are alive.

    What comes is looked at again, for values of filters may have wildcards.
    """
    mine = {"Name": f"tag:{BACKEND}", "Values": [backend_id]}
    wanted, each = set(ids), sorted(set(ids))
    parts = [each[at : at + PER_CALL] for at in range(0, len(each), PER_CALL)]
    asked = [[mine, {"Name": f"tag:{INSTANCE}", "Values": part}] for part in parts]
    asked = asked or [[mine, ALL_ALIVE]]
    found = [i for filters in asked for i in _described(clients, filters)]
    named = [(our_id(instance, backend_id), instance) for instance in found]
    return [(id, instance) for id, instance in named if id and (not wanted or id in wanted)]


def of_all(clients: Clients) -> list[tuple[str, str, Described]]:
    """Instances alive of every backend: its id, that of the intent, what EC2 says."""
    filters = [{"Name": "tag-key", "Values": [BACKEND]}, ALL_ALIVE]
    found = [(tags_of(i).get(BACKEND, ""), i) for i in _described(clients, filters)]
    named = [(backend, our_id(instance, backend), instance) for backend, instance in found]
    return [(backend, id, instance) for backend, id, instance in named if id]


def terminate(clients: Clients, provider_id: str) -> None:
    """It is terminated when it is described so. One that EC2 does not find is fine: it is not to
    be seen yet, or no more."""
    try:
        clients.call("ec2", "terminate_instances", InstanceIds=[provider_id])
    except LaunchRefused as refusal:
        if code_of(refusal) != "InvalidInstanceID.NotFound":
            raise


def _described(clients: Clients, filters: list[dict[str, Any]]) -> list[Described]:
    reservations = clients.pages("ec2", "describe_instances", "Reservations", Filters=filters)
    return [instance for reservation in reservations for instance in reservation["Instances"]]
