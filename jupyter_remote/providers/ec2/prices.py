"""On-demand prices, from AWS' price list. It answers in few regions, for all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from jupyter_remote.providers.ec2.client import Clients

PRICE_LIST = "us-east-1"


def on_demand(clients: Clients, types: Sequence[str]) -> dict[str, float]:
    """USD an hour of these types with Linux, in the region of ``clients``."""
    facts = {
        "regionCode": clients.region,
        "operatingSystem": "Linux",
        "preInstalledSw": "NA",
        "tenancy": "Shared",
        "capacitystatus": "Used",
    }
    filters = [{"Type": "TERM_MATCH", "Field": k, "Value": v} for k, v in facts.items()]
    filters.append({"Type": "ANY_OF", "Field": "instanceType", "Value": ",".join(types)})
    found = clients.pages(
        "pricing",
        "get_products",
        "PriceList",
        region=PRICE_LIST,
        ServiceCode="AmazonEC2",
        Filters=filters,
    )
    return dict(_read(found, set(types)))


def _read(products: Iterable[str], types: set[str]) -> Iterable[tuple[str, float]]:
    for text in products:
        product = json.loads(text)
        type = product.get("product", {}).get("attributes", {}).get("instanceType")
        usd = [float(p) for p in _usd(product) if float(p) > 0]
        if type in types and len(usd) == 1:  # of several none is known to be the right one
            yield type, usd[0]


def _usd(product: dict[str, Any]) -> Iterable[str]:
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term.get("priceDimensions", {}).values():
            if dimension.get("unit") == "Hrs":
                yield dimension.get("pricePerUnit", {}).get("USD", "0")
