"""What machines cost in the simulated region: on demand, and spot by zone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

ON_DEMAND_USD = {  # an hour, us-east-1
    "g4dn.xlarge": 0.526,
    "g5.xlarge": 1.006,
    "g5.12xlarge": 5.672,
    "g6.xlarge": 0.8048,
    "p4d.24xlarge": 21.958,
}
SPOT_SHARE = {"a": 0.42, "b": 0.40, "c": 0.44}  # of the price on demand, by zone


class Prices:
    """Both kinds, and what a test changes in them."""

    def __init__(self, region: str) -> None:
        self.on_demand = dict(ON_DEMAND_USD)
        self._spot = {
            (type, f"{region}{zone}"): round(usd * share, 4)
            for type, usd in ON_DEMAND_USD.items()
            for zone, share in SPOT_SHARE.items()
        }

    def set_spot(self, type: str, zone: str, usd_per_h: float) -> None:
        self._spot[type, zone] = usd_per_h

    def spot(self, types: Iterable[str]) -> Iterator[tuple[str, str, float]]:
        """Type, zone, USD an hour; of all types where none is named."""
        wanted = set(types)
        for (type, zone), usd in self._spot.items():
            if not wanted or type in wanted:
                yield type, zone, usd

    def products(self) -> list[str]:
        """As AWS' price list has them."""
        return [json.dumps(_product(type, usd)) for type, usd in self.on_demand.items()]


def _product(type: str, usd: float) -> dict[str, object]:
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": f"{usd:.10f}"}}
    return {
        "product": {"attributes": {"instanceType": type, "operatingSystem": "Linux"}},
        "terms": {"OnDemand": {"term": {"priceDimensions": {"dimension": dimension}}}},
    }
