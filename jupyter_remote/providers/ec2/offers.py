"""Which machine types a region has, in which zones, at which price."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import TypeVar

import msgspec

from jupyter_remote.errors import LaunchRefused
from jupyter_remote.model import MachineType
from jupyter_remote.money.catalog import catalogue, refreshed
from jupyter_remote.providers.ec2 import prices
from jupyter_remote.providers.ec2.client import Clients
from jupyter_remote.providers.ec2.kept import Kept
from jupyter_remote.providers.ec2.launching import ec2_type, words

log = logging.getLogger(__name__)

PLACES_KEPT_S = 86_400.0
SPOT_KEPT_S = 600.0
PRICES_KEPT_S = 86_400.0

T = TypeVar("T")
Zoned = dict[str, dict[str, float]]  # type → zone → USD an hour


def rows() -> list[MachineType]:
    """The types of the catalogue that EC2 has, on demand and spot."""
    known = [m for m in catalogue() if m.id != "local"]
    return [msgspec.structs.replace(m, provider="ec2") for m in known]


class Offers:
    """What the region of ``clients`` has, of the types in the catalogue. Every method may ask."""

    def __init__(self, clients: Clients, subnets: str = "") -> None:
        self._clients = clients
        self._rows = rows()
        self._types = sorted({ec2_type(m.id) for m in self._rows})
        self._places = Kept(self._ask_places, PLACES_KEPT_S)
        self._spot = Kept(self._ask_spot, SPOT_KEPT_S)
        self._on_demand = Kept(self._ask_on_demand, PRICES_KEPT_S)
        self._subnets = Kept(lambda: self._ask_subnets(words(subnets)), PLACES_KEPT_S)

    def machines(self) -> list[MachineType]:
        """Rows with the prices of this region, where they can be read."""
        places = self._places.get()
        region = self._clients.region
        today = datetime.now(UTC).date()
        offered = [m for m in self._rows if ec2_type(m.id) in places]
        on_demand = {ec2_type(m.id): m for m in offered if not m.spot}
        usd = _or_none("on-demand prices", self._on_demand.get) or {}
        spot = _or_none("spot prices", self._spot.get)
        if spot is not None:
            offered = [m for m in offered if not m.spot or ec2_type(m.id) in spot]
        rows = [
            *_on_demand_rows(on_demand, usd, region, today),
            *_spot_rows(on_demand, spot or {}, region, today),
        ]
        found = refreshed(offered, rows, today)
        if found.refused:
            log.warning("prices of AWS that cannot be: %s", "; ".join(found.refused))
        return found.machines

    def zones(self, machine: str, spot: bool) -> list[str]:
        """Zones with this type where machines may be; for spot the cheapest first."""
        type = ec2_type(machine)
        zones = sorted(self._places.get().get(type, ()))
        if subnets := self._subnets.get():
            zones = [zone for zone in zones if zone in subnets]
        if spot:
            price = (_or_none("spot prices", self._spot.get) or {}).get(type, {})
            zones.sort(key=lambda zone: price.get(zone, float("inf")))
        return zones

    def subnet(self, zone: str) -> str:
        """The subnet of the setting in ``zone``, or the first; empty where none is set."""
        subnets = self._subnets.get()
        if not subnets:
            return ""
        if zone and zone not in subnets:
            raise LaunchRefused(
                f"No subnet of JUPYTER_REMOTE_EC2_SUBNETS is in {zone}.",
                hint=f"They are in {', '.join(subnets)}.",
                kind="setting",
            )
        return subnets[zone] if zone else next(iter(subnets.values()))

    def cpus(self, machine: str) -> int:
        """vCPUs of a type; 0 where the catalogue does not know it."""
        type = ec2_type(machine)
        return next((int(m.cpus) for m in self._rows if ec2_type(m.id) == type), 0)

    # -- questions
    def _ask_places(self) -> dict[str, set[str]]:
        found = self._clients.pages(
            "ec2",
            "describe_instance_type_offerings",
            "InstanceTypeOfferings",
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": self._types}],
        )
        places: dict[str, set[str]] = {}
        for offer in found:
            places.setdefault(offer["InstanceType"], set()).add(offer["Location"])
        return places

    def _ask_spot(self) -> Zoned:
        found = self._clients.pages(
            "ec2",
            "describe_spot_price_history",
            "SpotPriceHistory",
            InstanceTypes=self._types,
            ProductDescriptions=["Linux/UNIX"],
            StartTime=datetime.now(UTC),  # from now on: the price that holds
        )
        spot: Zoned = {}
        for row in sorted(found, key=lambda row: row["Timestamp"]):
            spot.setdefault(row["InstanceType"], {})[row["AvailabilityZone"]] = float(
                row["SpotPrice"]
            )
        return spot

    def _ask_on_demand(self) -> dict[str, float]:
        return prices.on_demand(self._clients, self._types)

    def _ask_subnets(self, ids: list[str]) -> dict[str, str]:
        if not ids:
            return {}
        found = self._clients.call("ec2", "describe_subnets", SubnetIds=ids)["Subnets"]
        zones = {subnet["SubnetId"]: subnet["AvailabilityZone"] for subnet in found}
        by_zone: dict[str, str] = {}
        for id in ids:  # in their order: the first of a zone is taken
            by_zone.setdefault(zones[id], id)
        return by_zone


def _on_demand_rows(
    machines: dict[str, MachineType], usd: dict[str, float], region: str, today: date
) -> list[MachineType]:
    return [
        msgspec.structs.replace(
            machines[type],
            usd_per_h=price,
            usd_per_h_low=price,
            priced_on=today.isoformat(),
            source=f"AWS price list, {region}",
        )
        for type, price in usd.items()
        if type in machines
    ]


def _spot_rows(
    on_demand: dict[str, MachineType], spot: Zoned, region: str, today: date
) -> list[MachineType]:
    return [
        msgspec.structs.replace(
            on_demand[type],
            id=type,
            spot=True,
            usd_per_h=max(zones.values()),
            usd_per_h_low=min(zones.values()),
            priced_on=today.isoformat(),
            source=f"AWS spot price history, {region}",
        )
        for type, zones in spot.items()
        if type in on_demand
    ]


def _or_none(what: str, ask: Callable[[], T]) -> T | None:
    """What can be done without: the catalogue has prices, with their date."""
    try:
        return ask()
    except (LaunchRefused, OSError) as error:
        log.info("%s of AWS cannot be read: %s", what, error)
        return None
