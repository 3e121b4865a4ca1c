"""Quotas of EC2 by family of instance types: their names and codes in Service Quotas."""

from __future__ import annotations

import re
from typing import NamedTuple


class Quota(NamedTuple):
    name: str
    code: str


_ON_DEMAND = {
    "g": Quota("Running On-Demand G and VT instances", "L-DB2E81BA"),
    "p": Quota("Running On-Demand P instances", "L-417A185B"),
    "standard": Quota(
        "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", "L-1216C47A"
    ),
}
_SPOT = {
    "g": Quota("All G and VT Spot Instance Requests", "L-3819A6DF"),
    "p": Quota("All P4, P3 and P2 Spot Instance Requests", "L-7212CCBC"),
    "p5": Quota("All P5 Spot Instance Requests", "L-C4BD4855"),
    "standard": Quota(
        "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", "L-34B43A08"
    ),
}
_KINDS = {"g": "g", "vt": "g", "p": "p"} | dict.fromkeys("acdhimrtz", "standard")


def quota_of(ec2_type: str, spot: bool) -> Quota | None:
    """The quota that instances of this type count in; None where it is not known here."""
    found = re.match(r"([a-z]+)(\d*)", ec2_type)
    kind = _KINDS.get(found[1]) if found else None
    if found is None or kind is None:
        return None
    if not spot:
        return _ON_DEMAND[kind]
    if kind == "p" and found[2] > "5":  # of its own, and its code not published
        return None
    return _SPOT["p5" if (kind, found[2]) == ("p", "5") else kind]


def how_to_ask(quota: Quota | None, region: str, vcpus: int) -> str:
    """The command that asks AWS for more, or that lists what can be asked for."""
    if quota is None:
        return (
            f"aws service-quotas list-service-quotas --service-code ec2 --region {region} "
            "--query \"Quotas[?contains(QuotaName,'Instance')].[QuotaName,QuotaCode,Value]\""
        )
    return (
        "aws service-quotas request-service-quota-increase --service-code ec2 "
        f"--quota-code {quota.code} --desired-value {vcpus} --region {region}"
    )
