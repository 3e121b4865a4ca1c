"""Lets moto's EC2 hold thousands of instances. By itself it compares all tags of all resources to
find those of one, and all instances with each value of a filter; it keeps for ever what ended."""

from __future__ import annotations

from typing import Any

from moto.ec2.models.tags import TagBackend
from moto.ec2.utils import filter_reservations

Filters = dict[str, list[str]]
TAG = "tag:"


def look_up_tags(backend: Any) -> None:
    """Where resources are asked for by id, or instances by tags, no others are compared."""
    of_all = backend.describe_tags

    def describe_tags(filters: Filters | None = None) -> Any:
        ids = (filters or {}).get("resource-id", ["*"])
        if _has_wildcards(ids):
            return of_all(filters)
        few = TagBackend()
        few.tags.update({id: backend.tags[id] for id in ids if id in backend.tags})
        return few.describe_tags(filters)

    def describe_instances(filters: Filters | None = None) -> Any:
        tags = {k.removeprefix(TAG): v for k, v in (filters or {}).items() if k.startswith(TAG)}
        exact = {key: set(values) for key, values in tags.items() if not _has_wildcards(values)}
        may_fit = [
            reservation
            for reservation in backend.all_reservations()
            if any(_has(backend.tags.get(i.id, {}), exact) for i in reservation.instances)
        ]
        return filter_reservations(may_fit, filters) if filters else may_fit

    backend.describe_tags = describe_tags
    backend.describe_instances = describe_instances


def _has(tags: dict[str, str], wanted: dict[str, set[str]]) -> bool:
    return all(tags.get(key) in values for key, values in wanted.items())


def _has_wildcards(values: list[str]) -> bool:
    return any(wild in value for value in values for wild in "*?[")


def forget(backend: Any, id: str) -> None:
    """It is described no more, and cannot be named."""
    for reservation in list(backend.reservations.values()):
        reservation.instances = [i for i in reservation.instances if i.id != id]
        if not reservation.instances:
            del backend.reservations[reservation.id]
    backend.tags.pop(id, None)
